"""The live loop on sources that deliver on a clock, break and come back."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from i2i_rt.errors import MediaError
from i2i_rt.testing import FakeSession
from i2i_rt.translator import Translator
from i2i_rt.video.camera import LatestFrameReader
from i2i_rt.video.live import Meter, Status, Summary, Window, translate_live
from i2i_rt.video.overlay import write_lines

INTERVAL_S = 1 / 30


class ClockedSource:
    """A camera that has a new frame every 1/30 s whether or not anybody reads; each frame carries its number."""

    recorded = False

    def __init__(self, frames: int | None = None) -> None:
        self._frames, self._number, self._start_s = frames, 0, time.perf_counter()
        self.closed = False

    def read(self) -> tuple[np.ndarray, float] | None:
        if self._number == self._frames:
            return None
        due_s = self._number * INTERVAL_S
        time.sleep(max(self._start_s + due_s - time.perf_counter(), 0))
        self._number += 1
        return np.full((12, 16, 3), self._number % 256, np.uint8), due_s

    def close(self) -> None:
        self.closed = True


class RecordedSource(ClockedSource):
    """A file: frames come as fast as they are read."""

    recorded = True

    def read(self) -> tuple[np.ndarray, float] | None:
        if self._number == self._frames:
            return None
        self._number += 1
        return np.full((12, 16, 3), self._number, np.uint8), (self._number - 1) * INTERVAL_S


class Kept:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []
        self.times_s: list[float] = []

    def write(self, frame: np.ndarray, time_s: float) -> None:
        self.frames.append(frame)
        self.times_s.append(time_s)


def slow_translator(seconds: float) -> Translator:
    def translate(frames: np.ndarray) -> np.ndarray:
        time.sleep(seconds)
        return frames

    return Translator(FakeSession(translate))


def run(
    source: ClockedSource,
    translator: Callable[..., np.ndarray | Future[np.ndarray]],
    kept: Kept,
    *,
    frames: int | None = None,
    duration_s: float = 30,
) -> Summary:
    reader = LatestFrameReader(lambda: source, name="the camera", say=print)
    try:
        return translate_live(
            reader,
            translator,
            window=None,
            files=[kept],
            overlay_in_files=False,
            stop=threading.Event(),
            max_frames=frames,
            duration_s=duration_s,
        )
    finally:
        reader.close()


def test_the_newest_frame_wins_and_the_delay_stays_bounded() -> None:
    kept = Kept()

    # 30 frames a second into a network that manages 20: a queue would be a second late after 60 frames
    summary = run(ClockedSource(), slow_translator(0.05), kept, frames=60)

    numbers = [int(frame[0, 0, 0]) for frame in kept.frames]
    assert summary.frames == len(numbers) == 60
    assert numbers == sorted(set(numbers))
    assert summary.dropped >= 15
    assert summary.received - summary.frames - summary.dropped in (0, 1)
    late_s = summary.delay_p99_ms / 1000
    assert late_s < 20 * 0.05, "the delay grows as that of a queue does"
    # at most one frame's wait and one translation each, on a machine that may be busy with other things
    assert summary.delay_p50_ms < 2 * (INTERVAL_S + 0.05) * 1000


def test_two_frames_are_under_way_elsewhere_and_the_newest_still_wins() -> None:
    kept, running, most = Kept(), 0, 0

    def answer(frames: np.ndarray) -> np.ndarray:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.1)
        running -= 1
        return frames

    with ThreadPoolExecutor(8) as pool:
        summary = run(ClockedSource(), lambda frames: pool.submit(answer, frames), kept, frames=60)

    numbers = [int(frame[0, 0, 0]) for frame in kept.frames]
    assert summary.frames == len(numbers) == 60 and numbers == sorted(set(numbers))
    assert most == 2
    assert summary.dropped >= 15  # of 30 frames a second, two at a time in 0.1 s are at most 20
    assert summary.fps > 12  # one at a time would be 10
    assert summary.delay_p50_ms < 2 * (INTERVAL_S + 0.1) * 1000


def test_a_fast_network_drops_next_to_nothing() -> None:
    kept = Kept()

    summary = run(ClockedSource(frames=None), slow_translator(0), kept, frames=20)

    assert summary.frames == 20
    assert summary.dropped <= 5


def test_a_recording_is_played_in_real_time_to_its_end() -> None:
    kept = Kept()

    summary = run(RecordedSource(frames=16), slow_translator(0), kept)

    assert kept.frames[-1][0, 0, 0] == 16
    assert summary.frames + summary.dropped == 16
    assert summary.duration_s >= 15 * INTERVAL_S
    assert kept.times_s[0] == 0
    assert kept.times_s[-1] >= 15 * INTERVAL_S * 0.9


def test_duration_ends_the_run() -> None:
    summary = run(ClockedSource(), slow_translator(0), Kept(), duration_s=0.3)

    assert 0 < summary.frames < 30
    assert summary.duration_s >= 0.3


def test_stop_ends_the_run() -> None:
    stop = threading.Event()
    reader = LatestFrameReader(ClockedSource, name="the camera", say=print)
    statuses: list[Status] = []

    def watch(status: Status) -> None:
        statuses.append(status)
        if len(statuses) == 5:
            stop.set()

    translate_live(
        reader,
        slow_translator(0),
        window=None,
        files=[],
        overlay_in_files=False,
        stop=stop,
        show_status=watch,
    )
    reader.close()

    assert len(statuses) == 5
    assert statuses[-1].frames == 4


def test_a_broken_stream_is_opened_again() -> None:
    opened: list[ClockedSource] = []
    said: list[str] = []

    def open_source() -> ClockedSource:
        if len(opened) in (1, 2):  # not back at the first attempts
            opened.append(ClockedSource(0))
            raise MediaError("nobody there")
        opened.append(ClockedSource(frames=4))
        return opened[-1]

    reader = LatestFrameReader(open_source, name="the stream", say=said.append, back_off_s=(0.01, 0.02))
    kept = Kept()
    summary = translate_live(
        reader,
        slow_translator(0),
        window=None,
        files=[kept],
        overlay_in_files=False,
        stop=threading.Event(),
        max_frames=6,
    )
    reader.close()

    assert summary.frames == 6
    assert summary.reconnects >= 1
    assert said[:2] == ["the stream broke off; trying to open it again", "the stream is back"]
    assert opened[0].closed


def test_a_stream_that_opens_without_frames_is_not_back() -> None:
    sources = iter([ClockedSource(frames=2), *(ClockedSource(frames=0) for _ in range(3)), ClockedSource()])
    said: list[str] = []
    reader = LatestFrameReader(lambda: next(sources), name="the stream", say=said.append, back_off_s=(0.01,))
    reader.start()
    deadline_s = time.perf_counter() + 20
    while reader.reconnects == 0 and time.perf_counter() < deadline_s:
        reader.take(0.05)
    reader.close()

    assert said == ["the stream broke off; trying to open it again", "the stream is back"]


def test_closing_ends_the_attempts() -> None:
    sources = iter([ClockedSource(frames=1)])

    def open_source() -> ClockedSource:
        for source in sources:
            return source
        raise MediaError("gone")

    reader = LatestFrameReader(open_source, name="the stream", say=print, back_off_s=(60.0,))
    reader.start()
    assert reader.take(5) is not None
    started_s = time.perf_counter()
    reader.close()

    assert time.perf_counter() - started_s < 5


def test_a_failure_in_the_thread_reaches_the_loop() -> None:
    class FailingSource(RecordedSource):
        def read(self) -> tuple[np.ndarray, float] | None:
            if self._number == 2:
                raise MediaError("the driver is gone")
            return super().read()

    with pytest.raises(MediaError, match="the driver is gone"):
        run(FailingSource(), slow_translator(0), Kept())


def test_a_source_without_frames_is_refused() -> None:
    source = ClockedSource(frames=0)

    with pytest.raises(MediaError, match="camera 0 opens but gives no frame"):
        LatestFrameReader(lambda: source, name="camera 0", say=print)
    assert source.closed


@pytest.fixture
def meter() -> Iterator[Meter]:
    meter = Meter()
    for number in range(100):
        meter.frame(number / 10, number / 10 + (0.02 if number < 90 else 0.2))
    yield meter


def test_the_meter_gives_percentiles_and_rate(meter: Meter) -> None:
    reader = LatestFrameReader(ClockedSource, name="the camera", say=print)
    summary = meter.summary(reader, duration_s=10)
    reader.close()

    assert meter.fps == pytest.approx(10, rel=0.1)
    assert summary.delay_p50_ms == pytest.approx(20, abs=0.1)
    assert summary.delay_p99_ms == pytest.approx(200, abs=0.1)
    assert summary.fps == 10
    assert meter.status(reader).lines()[1] == "delay 20 ms (p99 200)"


class FakeScreen:
    """Stands in for OpenCV's windows; Q is pressed at the third frame."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[np.ndarray] = []
        self.open = False
        monkeypatch.setattr(cv2, "namedWindow", lambda title, flags: setattr(self, "open", True))
        monkeypatch.setattr(cv2, "imshow", lambda title, image: self.shown.append(image))
        monkeypatch.setattr(cv2, "waitKey", lambda delay_ms: ord("q") if len(self.shown) == 3 else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, prop: 1.0)
        monkeypatch.setattr(cv2, "destroyWindow", lambda title: setattr(self, "open", False))


def test_the_window_shows_figures_and_q_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, stop, kept = FakeScreen(monkeypatch), threading.Event(), Kept()
    red = np.full((1, 240, 320, 3), (200, 0, 0), np.uint8)
    reader = LatestFrameReader(ClockedSource, name="the camera", say=print)
    window = Window("result", stop)

    summary = translate_live(reader, lambda frames: red, window=window, files=[kept], overlay_in_files=False, stop=stop)
    reader.close()
    window.close()

    assert summary.frames == len(kept.frames) == 3
    assert not screen.open
    assert (screen.shown[0][-1, -1] == (0, 0, 200)).all(), "OpenCV shows BGR"
    assert screen.shown[0][:60].max() == 255, "white text"
    assert (kept.frames[0] == (200, 0, 0)).all(), "files have no overlay unless asked for"


@pytest.mark.parametrize(
    ("height", "width"), [(480, 640), (256, 256), (1080, 1920)], ids=["webcam", "square", "full-hd"]
)
def test_the_overlay_fits_the_frame_and_leaves_the_rest(height: int, width: int) -> None:
    frame = np.full((height, width, 3), 120, np.uint8)

    written = write_lines(frame, ["29.9 fps", "delay 1041 ms (p99 1207)", "12345 frames, 6789 dropped, 3 reconnects"])

    changed = np.argwhere((written != frame).any(axis=2))
    assert changed[:, 0].max() < height * 0.25
    text = np.argwhere(written.min(axis=2) > 200)
    assert text[:, 1].max() < width - 2
    assert (frame == 120).all()


def test_an_overlay_that_nobody_could_read_is_left_out() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)

    assert (write_lines(frame, ["29.9 fps"]) == frame).all()
