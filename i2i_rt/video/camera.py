"""Frames from a camera or a stream as they arrive. A thread reads; only the newest frame is kept.

A queue would make the picture late by its length as soon as the network is slower than the camera; one slot keeps
the delay below two frames' time, and what nobody took is counted as dropped.
"""

import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from i2i_rt.errors import MediaError

OPEN_TIMEOUT_S = 5.0
BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)  # between attempts to reach a stream that broke; the last one repeats


class Source(Protocol):
    """Where frames come from; `read` waits for the next one.

    Attributes:
        recorded: whether it is a file with an end, which has to be held back to real time.
    """

    recorded: bool

    def read(self) -> tuple[np.ndarray, float] | None:
        """Gives the next frame, RGB `[H, W, 3]` uint8, and its time in a recording in seconds; None at the end."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Arrival:
    """A frame, RGB `[H, W, 3]` uint8, and when it arrived, on the clock of `time.perf_counter`."""

    frame: np.ndarray
    time_s: float


class OpenCVSource:
    """A camera by its number, or whatever stream or file OpenCV opens.

    Raises:
        MediaError: where it cannot be opened.
    """

    def __init__(self, where: int | str) -> None:
        with _silent_opencv():
            if isinstance(where, int):
                self._capture = cv2.VideoCapture(where)
            elif "://" in where:
                timeout_ms = int(OPEN_TIMEOUT_S * 1000)
                timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
                self._capture = cv2.VideoCapture(where, cv2.CAP_FFMPEG, timeouts)
            else:
                self._capture = cv2.VideoCapture(where)
        if not self._capture.isOpened():
            raise MediaError(_why_closed(where))
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a driver's queue would only add delay
        self.recorded = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0

    def read(self) -> tuple[np.ndarray, float] | None:
        done, frame = self._capture.read()
        if not done:
            return None
        time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), time_s

    def close(self) -> None:
        self._capture.release()


class LatestFrameReader:
    """Reads a source in a thread and hands out its newest frame. A broken stream is opened again, with back-off.

    Attributes:
        first: the first frame, read when the reader was made; it is handed out first.
        received: frames that came; those that were never taken are `dropped`.
        reconnects: how often a broken stream was opened again.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        *,
        name: str,
        say: Callable[[str], None],
        back_off_s: tuple[float, ...] = BACK_OFF_S,
    ) -> None:
        self._open, self._name, self._say, self._back_off_s = open_source, name, say, back_off_s
        self._source = open_source()
        first = self._source.read()
        if first is None:
            self._source.close()
            raise MediaError(
                f"{name} opens but gives no frame; another program may use it, or OpenCV may not know its codec"
            )
        self.first, self._first_s = first
        self.received = self.dropped = self.reconnects = 0
        self._slot: Arrival | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def start(self) -> None:
        """Begins to read; until then nothing is dropped, so that a slow warm-up costs no frame of a recording."""
        self._thread.start()

    def take(self, timeout_s: float) -> Arrival | None:
        """Takes the newest frame; None where none came in time, or none will (`ended` tells).

        Raises:
            MediaError: where the source failed in a way that is not worth another attempt.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self._ended, timeout_s)
            arrival, self._slot = self._slot, None
            if arrival is None and self._error is not None:
                raise self._error
            return arrival

    @property
    def ended(self) -> bool:
        """Whether the recording is over and its last frame was taken; a failure is raised by `take` instead."""
        with self._changed:
            return self._ended and self._slot is None and self._error is None

    def close(self) -> None:
        """Ends the thread; a read that hangs is left to its own timeout."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(OPEN_TIMEOUT_S)
        if not self._thread.is_alive():
            self._source.close()

    def _run(self) -> None:
        try:
            self._read_all()
        except Exception as error:  # handed to the thread that takes the frames
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read_all(self) -> None:
        start_s = time.perf_counter() - self._first_s
        self._put(self.first)
        while not self._stop.is_set():
            result = self._source.read()
            if result is None and not self._source.recorded:
                result = self._reconnected()
            if result is None:
                return
            frame, time_s = result
            if self._source.recorded:
                self._stop.wait(max(start_s + time_s - time.perf_counter(), 0))
            self._put(frame)

    def _put(self, frame: np.ndarray) -> None:
        with self._changed:
            self.received += 1
            self.dropped += self._slot is not None
            self._slot = Arrival(frame, time.perf_counter())
            self._changed.notify_all()

    def _reconnected(self) -> tuple[np.ndarray, float] | None:
        """Opens the source again and gives its first frame; None where the reader is closed meanwhile."""
        self._source.close()
        self._say(f"{self._name} broke off; trying to open it again")
        for attempt in itertools.count():
            if self._stop.wait(self._back_off_s[min(attempt, len(self._back_off_s) - 1)]):
                break
            try:
                self._source = self._open()
            except MediaError:
                continue
            result = self._source.read()
            if result is not None:
                self.reconnects += 1
                self._say(f"{self._name} is back")
                return result
            self._source.close()
        return None


def without_password(url: str) -> str:
    """Gives an address as it may be shown: without user name and password."""
    return re.sub(r"://[^/@]*@", "://", url)


def _why_closed(where: int | str) -> str:
    if isinstance(where, int):
        found = sorted(Path("/dev").glob("video*")) if sys.platform == "linux" else []
        here = f"found here: {', '.join(map(str, found))}" if found else "no camera was found"
        return f"camera {where} cannot be opened ({here}); connect it, close other programs that use it, or use --url"
    if "://" in where:
        return f"the stream {without_password(where)} cannot be opened; check the address and that it can be reached"
    if not Path(where).exists():
        return f"there is no file {where}; --url takes an address such as rtsp://… or http://…, or a video file"
    return f"{where} cannot be opened as a video; is it one?"


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """Keeps OpenCV's and FFmpeg's warnings from the terminal: one sentence of ours says what is wrong."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging: Any = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
