"""Ctrl-C and a polite `kill` end training after the step that runs, not within it."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

# `torchrun` passes on the Ctrl-C that the terminal has sent to all, and a SIGTERM after it
ECHO_S = 2.0


class Interruption:
    """Notes SIGINT and SIGTERM while it is entered; who presses Ctrl-C again, later, ends the step itself."""

    def __init__(self) -> None:
        self.requested = False
        self._requested_at = 0.0
        self._before: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self._requested_at = now
        self.requested = True
        if number == signal.SIGINT and now - self._requested_at > ECHO_S:
            raise KeyboardInterrupt

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def __enter__(self) -> Self:
        # Python lets only the main thread handle signals
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
