"""Refusals with a code of the server."""

import re
from typing import Literal, cast, get_args

from i2i_rt.errors import I2IError
from i2i_rt.serving.errors import TRITON_BUSY

# as `TritonError` of the server's Python backend calls them
Code = Literal["INVALID_ARG", "NOT_FOUND", "UNAVAILABLE", "CANCELLED", "INTERNAL"]


class Refusal(I2IError):
    """A request is not answered; the client gets the code and the sentence."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


# models that ask each other give this parameter; the code of an error would be lost on the way, so it is in the words
CODED = "coded"


def coded(code: Code, message: str) -> str:
    """Gives the message of an error with its code."""
    return f"[{code}] {message}"


def refusal_of(message: str) -> Refusal:
    """Gives the refusal for the error of a model that was asked inside the server: coded, or told by its words."""
    if any(words in message for words in TRITON_BUSY):
        return Refusal("UNAVAILABLE", message)
    match = re.search(rf"\[({'|'.join(get_args(Code))})\] (.*)", message, re.DOTALL)
    return Refusal(cast(Code, match[1]), match[2]) if match else Refusal("INTERNAL", message)
