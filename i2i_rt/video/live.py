"""The loop of `i2i-rt live`: the newest frame, translated, to windows and files, with its delay measured."""

import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from os import environ
from threading import Event
from typing import Protocol

import cv2
import numpy as np

from i2i_rt.video.camera import Arrival, LatestFrameReader
from i2i_rt.video.overlay import write_lines

RECENT_FRAMES = 150  # that the delay on screen is taken from
IN_FLIGHT = 2  # frames that are translated at once, elsewhere: one is on its way while the other is computed
POLL_S = 0.002  # how long a new frame is waited for before the one in flight is looked after


class Sink(Protocol):
    """Takes translated frames: a window, a file, a folder."""

    def write(self, frame: np.ndarray, time_s: float) -> None:
        """Takes an RGB frame `[H, W, 3]` uint8 that arrived `time_s` after the first one."""


@dataclass(frozen=True)
class Status:
    """What a viewer wants to know now; delays are those of the last few seconds."""

    frames: int
    dropped: int
    reconnects: int
    fps: float
    delay_p50_ms: float
    delay_p99_ms: float

    def lines(self) -> list[str]:
        reconnects = f", {self.reconnects} reconnects" if self.reconnects else ""
        return [
            f"{self.fps:.1f} fps",
            f"delay {self.delay_p50_ms:.0f} ms (p99 {self.delay_p99_ms:.0f})",
            f"{self.frames} frames, {self.dropped} dropped{reconnects}",
        ]


@dataclass(frozen=True)
class Summary:
    """The whole run; delays are from arrival to the window or, without one, to the file."""

    frames: int
    received: int
    dropped: int
    reconnects: int
    duration_s: float
    fps: float
    delay_p50_ms: float
    delay_p90_ms: float
    delay_p99_ms: float


class Meter:
    """Counts frames and their delays."""

    def __init__(self) -> None:
        self.delays_ms = array("f")
        self._recent: deque[float] = deque(maxlen=RECENT_FRAMES)
        self._interval_s = 0.0
        self._last_s: float | None = None

    def frame(self, arrived_s: float, shown_s: float) -> None:
        """Counts a frame by two times on one clock."""
        delay_ms = (shown_s - arrived_s) * 1000
        self.delays_ms.append(delay_ms)
        self._recent.append(delay_ms)
        if self._last_s is not None:
            interval_s = shown_s - self._last_s
            self._interval_s += (interval_s - self._interval_s) * (0.1 if self._interval_s else 1)
        self._last_s = shown_s

    @property
    def fps(self) -> float:
        """Gives an exponential moving average of the frames per second."""
        return 1 / self._interval_s if self._interval_s else 0.0

    def status(self, reader: LatestFrameReader) -> Status:
        p50, p99 = np.percentile(self._recent, [50, 99]) if self._recent else (0.0, 0.0)
        return Status(len(self.delays_ms), reader.dropped, reader.reconnects, self.fps, float(p50), float(p99))

    def summary(self, reader: LatestFrameReader, duration_s: float) -> Summary:
        frames = len(self.delays_ms)
        p50, p90, p99 = np.percentile(self.delays_ms, [50, 90, 99]).tolist() if frames else (0.0, 0.0, 0.0)
        fps = frames / duration_s if duration_s else 0.0
        return Summary(frames, reader.received, reader.dropped, reader.reconnects, duration_s, fps, p50, p90, p99)


class Window:
    """A window of OpenCV; Q, Escape or its close button set `stop`, and other `keys` do what they are given for."""

    def __init__(self, title: str, stop: Event, keys: Mapping[str, Callable[[], None]] | None = None) -> None:
        self._title, self._stop, self._keys = title, stop, keys or {}
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    def write(self, frame: np.ndarray, time_s: float) -> None:
        cv2.imshow(self._title, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        if key in (ord("q"), 27) or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self._stop.set()
        elif chr(key) in self._keys:
            self._keys[chr(key)]()

    def close(self) -> None:
        cv2.destroyWindow(self._title)


def window_problem() -> str | None:
    """Says why no window can be shown here; None where one can."""
    if sys.platform == "linux" and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return "there is no display"
    if any(line.split() == ["GUI:", "NONE"] for line in cv2.getBuildInformation().splitlines()):
        return "opencv-python-headless has no windows; replace it by the package opencv-python to get one"
    return None


def translate_live(
    reader: LatestFrameReader,
    translate: Callable[[np.ndarray], np.ndarray | Future[np.ndarray]],
    *,
    window: Sink | None,
    files: Sequence[Sink],
    overlay_in_files: bool,
    stop: Event,
    max_frames: int | None = None,
    duration_s: float | None = None,
    show_status: Callable[[Status], None] = lambda status: None,
) -> Summary:
    """Translates the newest frame again and again until the source ends, a limit is reached or `stop` is set.

    Where `translate` gives futures, two frames are under way at once; they are shown in their order. A frame's delay
    ends when the window has it or, without a window, when the files have it.
    """
    meter = Meter()
    started_s = time.perf_counter()
    first_s: float | None = None
    begun: deque[tuple[Arrival, np.ndarray | Future[np.ndarray]]] = deque()
    reader.start()
    while not stop.is_set():
        over = (
            reader.ended
            or len(meter.delays_ms) + len(begun) == max_frames
            or (duration_s is not None and time.perf_counter() - started_s >= duration_s)
        )
        if over and not begun:
            break
        if not over:
            arrival = reader.take(timeout_s=POLL_S if begun else 0.1)
            if arrival is not None:
                begun.append((arrival, translate(arrival.frame[None])))
            if not begun or (len(begun) < IN_FLIGHT and not _is_done(begun[0][1])):
                continue
        arrival, result = begun.popleft()
        translated = (result.result() if isinstance(result, Future) else result)[0]
        first_s = arrival.time_s if first_s is None else first_s
        status = meter.status(reader)
        if window is not None:
            window.write(write_lines(translated, status.lines()), arrival.time_s - first_s)
            meter.frame(arrival.time_s, time.perf_counter())
        for file in files:
            frame = write_lines(translated, status.lines()) if overlay_in_files else translated
            file.write(frame, arrival.time_s - first_s)
        if window is None:
            meter.frame(arrival.time_s, time.perf_counter())
        show_status(status)
    return meter.summary(reader, time.perf_counter() - started_s)


def _is_done(result: np.ndarray | Future[np.ndarray]) -> bool:
    return not isinstance(result, Future) or result.done()
