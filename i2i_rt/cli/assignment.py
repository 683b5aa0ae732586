"""`--set NAME=VALUE`, as several verbs take it."""

from i2i_rt.errors import I2IError


def assignment(text: str) -> tuple[str, str]:
    """Parts a name from its value.

    Raises:
        I2IError: where it is written otherwise.
    """
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise I2IError(f"--set {text}: write NAME=VALUE")
    return name, value
