"""Pictures whose style `i2i-rt live` draws in, read again when they change."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from i2i_rt.errors import MediaError
from i2i_rt.video.stills import read_still

INTERVAL_S = 0.5  # between two looks at the file


class References:
    """Watches one of several pictures in a thread and hands it out when it is another one or has changed.

    The thread looks and decodes; whoever translates takes the picture between two frames, so that nobody waits for a
    disk. A file that cannot be read, say because it is half written, changes nothing; that is said once.
    """

    def __init__(self, paths: Sequence[Path], *, say: Callable[[str], None]) -> None:
        """Begins with `paths[0]`, whose first content its user reads."""
        self._paths, self._say = tuple(paths), say
        self._seen = _stamp(self._paths[0])
        self._index = 0
        self._picture: tuple[Path, np.ndarray] | None = None
        self._failed = False
        self._lock = threading.Lock()
        self._wake, self._stop, self._again = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="references", daemon=True)
        self._thread.start()

    def again(self) -> None:
        """Reads the picture again, changed or not."""
        self._again.set()
        self._wake.set()

    def next(self) -> None:
        """Goes to the next picture; after the last one comes the first."""
        with self._lock:
            self._index = (self._index + 1) % len(self._paths)
        self.again()

    def take(self) -> tuple[Path, np.ndarray] | None:
        """Gives a picture `[H, W, 3]`, uint8, that was not taken yet, with its file; None where there is none."""
        with self._lock:
            taken, self._picture = self._picture, None
        return taken

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._wake.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(INTERVAL_S)
            self._wake.clear()
            if not self._stop.is_set():
                self._look()

    def _look(self) -> None:
        asked = self._again.is_set()
        self._again.clear()
        with self._lock:
            path = self._paths[self._index]
        stamp = _stamp(path)
        if not asked and stamp == self._seen:
            return
        self._seen = stamp
        try:
            image = read_still(path).image
        except MediaError as error:
            if asked or not self._failed:
                self._say(f"the style stays as it was: {error}")
            self._failed = True
            return
        self._failed = False
        with self._lock:
            self._picture = path, image


def _stamp(path: Path) -> tuple[int, int] | None:
    """Gives what changes with a file: its time and its size; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
