"""What a system can be told by `--set NAME=VALUE`: the fields of a dataclass."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from i2i_rt.errors import I2IError, closest


@dataclass(frozen=True)
class Settings:
    """The base of every system's settings, and those of a system that has none.

    A system's own is a frozen dataclass with fields of type int, float, str, bool, Literal[str, …] or
    tuple[int, ...], all with defaults, which checks its values in `__post_init__`.
    """

    @classmethod
    def parse(cls, system: str, given: Mapping[str, str]) -> Self:
        """Reads values that were given as text.

        Raises:
            I2IError: where a name is unknown or a value is of the wrong kind.
        """
        kinds = get_type_hints(cls)
        names = [field.name for field in fields(cls)]
        for name in given:
            if name not in names:
                known = closest(name, names) if names else "it has none"
                raise I2IError(f"--set {name}: {system} has no such setting; {known}")
        return cls(**{name: _value(name, text, kinds[name]) for name, text in given.items()})

    def at_least(self, least: int, *names: str) -> None:
        """Raises `I2IError` where one of the numbers of these names is less."""
        for name in names:
            if not getattr(self, name) >= least:
                wanted = f"be at least {least}" if least else "not be negative"
                raise I2IError(f"--set {name} is {getattr(self, name):g}; it must {wanted}")

    @classmethod
    def described(cls) -> str:
        """Gives the names with their defaults, as one line; empty where there are none."""
        return ", ".join(f"{field.name}={_text(field.default)}" for field in fields(cls))


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _value(name: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return tuple(_value(name, part, get_args(kind)[0]) for part in text.split(",") if part.strip())
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise I2IError(f"--set {name}={text}: it must be true or false")
        return text.lower() == "true"
    if get_origin(kind) is Literal and text not in get_args(kind):
        raise I2IError(f"--set {name}={text}: it must be one of {', '.join(get_args(kind))}")
    if kind not in (int, float):
        return text
    try:
        value = kind(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise I2IError(f"--set {name}={text}: it must be {wanted}") from error
