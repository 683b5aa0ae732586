"""Refusals with a code of the server."""

from typing import Literal

from i2i_rt.errors import I2IError

# as `TritonError` of the server's Python backend calls them
Code = Literal["INVALID_ARG", "NOT_FOUND", "UNAVAILABLE", "CANCELLED", "INTERNAL"]

# how the server words that a queue is full, or that a request waited in it for too long
_BUSY = ("Exceeds maximum queue size", "Request timeout expired")


class Refusal(I2IError):
    """A request is not answered; the client gets the code and the sentence."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def refusal_of(code: int, message: str, names: dict[int, Code]) -> Refusal:
    """Gives the refusal for the error of a model that was asked inside the server.

    A full queue comes as an internal error there, and is told by its words.
    """
    if any(words in message for words in _BUSY):
        return Refusal("UNAVAILABLE", message)
    return Refusal(names.get(code, "INTERNAL"), message)
