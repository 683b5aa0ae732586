"""Files that cannot be trained on: each is named once, and training goes on without them while they are few."""

import sys
import threading

from i2i_rt.errors import I2IError, MediaError

MOST = 0.05  # share of a set's files
NAMED = 20  # in the error; the others are on stderr


class BadFileError(MediaError):
    """A file of a training set cannot be used."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file} {reason}")
        self.file = file


class BadFiles:
    """Those of a set's `total` files that were found to be bad; filled by many threads."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.files: dict[str, None] = {}  # in the order in which they were met
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.files)

    def add(self, error: BadFileError) -> None:
        """Names a file on stderr, once.

        Raises:
            I2IError: where more than 5 % of the set are bad.
        """
        with self._lock:
            if error.file not in self.files:
                self.files[error.file] = None
                print(f"left out: {error}", file=sys.stderr, flush=True)
            if len(self) > MOST * self.total:
                raise I2IError(
                    f"{len(self)} of {self.total} files cannot be used, more than {MOST:.0%} of the set: "
                    f"{self._named()}; repair them or take them away"
                ) from error

    def _named(self) -> str:
        names = list(self.files)
        more = len(names) - NAMED
        return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
