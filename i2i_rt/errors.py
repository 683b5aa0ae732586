"""Errors that a user can cause. Each message is one sentence: what is wrong, where, and what to do.

    I2IError
      ├─ BundleError             the bundle's folder, or a file in it, is not what it should be
      ├─ CheckpointError         a checkpoint cannot be read, or is of no known network
      ├─ MediaError              an image, a video or a stream cannot be read or written
      ├─ UnsupportedError        this backend, precision or size cannot do it; the message says which can
      └─ MissingDependencyError  a package is not installed; the message says which extra has it

The command line prints the sentence and ends with exit code 2; `--debug` shows the traceback.
"""

import difflib
from collections.abc import Iterable


class I2IError(Exception):
    """Something that the user can put right; `str(error)` is one clear sentence."""


class BundleError(I2IError):
    """The bundle's folder, or a file in it, is not what it should be."""


class CheckpointError(I2IError):
    """A checkpoint cannot be read, or belongs to no network that is known here."""


class MediaError(I2IError):
    """An image, a video or a stream cannot be read or written."""


class UnsupportedError(I2IError):
    """This backend, precision or size cannot do what was asked; the message says which can."""


class MissingDependencyError(I2IError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'i2i-rt[{extra}]'")


def closest(name: str, known: Iterable[str]) -> str:
    """Gives the tail of a message about an unknown name: the closest match, or everything that is known."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
