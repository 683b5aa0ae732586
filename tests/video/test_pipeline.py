"""Stages run side by side, in order, with bounded queues; the first error comes out, and nothing is left running."""

import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.testing import FakeSession
from i2i_rt.translator import Translator
from i2i_rt.video import pipeline
from i2i_rt.video.probe import probe
from i2i_rt.video.translate import translate_video
from i2i_rt.video.writer import VideoWriter


def same(item: int) -> int:
    return item


def test_items_leave_in_order() -> None:
    written: list[int] = []
    times = pipeline.run(range(50), same, same, written.append, depth=2)
    assert written == list(range(50))
    assert {stage: len(seconds) for stage, seconds in times.items()} == dict.fromkeys(pipeline.STAGES, 50)


def test_stages_run_at_the_same_time() -> None:
    def slowly(item: int) -> int:
        time.sleep(0.01)
        return item

    def source() -> Iterator[int]:
        yield from map(slowly, range(30))

    begin = time.perf_counter()
    times = pipeline.run(source(), slowly, slowly, lambda item: slowly(item) and None)
    wall = time.perf_counter() - begin
    assert wall < 0.6 * sum(map(sum, times.values()))


def test_a_slow_writer_holds_the_reader_back() -> None:
    read, written, most = 0, 0, 0

    def source() -> Iterator[int]:
        nonlocal read, most
        for item in range(40):
            read += 1
            most = max(most, read - written)
            yield item

    def write(item: int) -> None:
        nonlocal written
        time.sleep(0.005)
        written += 1

    pipeline.run(source(), same, same, write, depth=2)
    assert most <= 3 * 2 + 4  # three queues, and one item in each stage


def test_inference_elsewhere_is_several_at_a_time_and_keeps_the_order() -> None:
    running, most, written = 0, 0, list[int]()
    lock = threading.Lock()

    def translate(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01 if item % 3 else 0.03)  # later ones are done sooner
        with lock:
            running -= 1
        return item

    with ThreadPoolExecutor(4) as pool:
        times = pipeline.run(range(40), same, lambda item: pool.submit(translate, item), written.append, depth=6)
    assert written == list(range(40))
    assert most == 4
    assert len(times["infer"]) == 40 and sum(times["infer"]) >= 40 * 0.01


def test_inference_elsewhere_is_bounded_by_the_queue() -> None:
    begun, written, most = 0, 0, 0

    def infer(item: int) -> "Future[int]":
        nonlocal begun, most
        begun += 1
        most = max(most, begun - written)
        future: Future[int] = Future()
        threading.Timer(0.002, future.set_result, [item]).start()
        return future

    def write(item: int) -> None:
        nonlocal written
        written += 1

    pipeline.run(range(60), same, infer, write, depth=3)
    assert most <= 3 + 2  # the queue, one that is written, and one that waits for room


def test_an_error_elsewhere_is_raised() -> None:
    written: list[int] = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        pipeline.run(range(50), same, lambda item: pool.submit(lambda: item + 0 // (item - 9)), written.append)
    assert written == list(range(9))


@pytest.mark.parametrize("stage", pipeline.STAGES)
def test_the_first_error_of_any_stage_is_raised(stage: str) -> None:
    def failing(item: int) -> int:
        if item == 7:
            raise ValueError(f"{stage} failed")
        return item

    stages = {name: failing if name == stage else same for name in pipeline.STAGES}
    before = threading.active_count()
    with pytest.raises(ValueError, match=f"{stage} failed"):
        pipeline.run(
            (stages["decode"](item) for item in range(1000)),
            stages["prepare"], stages["infer"], lambda item: stages["write"](item) and None, depth=2,
        )  # fmt: skip
    assert threading.active_count() == before


def test_an_interruption_writes_what_was_inferred() -> None:
    written: list[int] = []

    def infer(item: int) -> int:
        if item == 20:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(range(1000), same, infer, written.append)
    assert written == list(range(20))


def test_the_source_is_closed_after_an_error() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    with pytest.raises(ZeroDivisionError):
        pipeline.run(source(), same, lambda item: item // 0, lambda item: None)
    assert closed == [True]


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 frames at 256x256."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8).repeat(5, 0).repeat(5, 1)
    with VideoWriter(path, 256, 256) as writer:
        for index in range(300):
            writer.write(np.ascontiguousarray(noise[index // 10 : index // 10 + 256, :256]), index / 30)
    return path


def test_memory_stays_flat(long_clip: Path, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    process, seen = psutil.Process(), []

    def translate(frames: np.ndarray) -> np.ndarray:
        seen.append(process.memory_info().rss / 1e6)
        return frames.copy()

    gc.collect()
    translate_video(translate, long_clip, tmp_path / "out.mp4")
    assert len(seen) == 300
    assert seen[299] - seen[50] < 30  # 300 frames are 59 MB, and their results as much again


def test_a_video_takes_little_longer_than_its_network_alone(long_clip: Path, tmp_path: Path) -> None:
    """With a network that waits, as a GPU's does; the encoder's work hides behind it."""

    def slowly(frames: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        return frames

    summary = translate_video(Translator(FakeSession(slowly)), long_clip, tmp_path / "out.mp4")
    assert summary.frames == 300
    assert summary.seconds <= 1.2 * summary.stages["infer"]["total_s"]
    assert probe(tmp_path / "out.mp4").duration_s == pytest.approx(10, abs=0.01)
