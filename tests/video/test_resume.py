"""A video that was interrupted or killed: nothing of the final name, a playable part, and going on where it stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.errors import MediaError
from i2i_rt.video.part import VideoOptions
from i2i_rt.video.segments import FRAMES_PER_SEGMENT, Segments
from i2i_rt.video.translate import translate_video
from i2i_rt.video.writer import Encoding, VideoWriter
from tests.video.clips import BITS, frames_of, number, picture, sound_packets, write_clip

pytest.importorskip("av")

FRAMES = 2 * FRAMES_PER_SEGMENT + 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of varying duration, more than two segments."""
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    with VideoWriter(path, 48, 64) as writer:
        for index in range(FRAMES):
            writer.write(picture(index), index / 25 + (0.01 if index % 3 else 0))
    return path


class Interrupted:
    """Copies frames, and is interrupted at frame `at`."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        if self.calls == self.at:
            raise KeyboardInterrupt
        self.calls += 1
        return frames.copy()


def assert_whole(output: Path, source: Path) -> None:
    before, after = frames_of(source), frames_of(output)
    assert [number(image) for _, image in after] == [index % 2**BITS for index in range(FRAMES)]
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=1 / 90_000)


def test_ctrl_c_leaves_a_playable_part_and_resume_completes_it(clip: Path, tmp_path: Path) -> None:
    output, partial = tmp_path / "out.mp4", tmp_path / "out.partial.mp4"
    first = translate_video(Interrupted(at=77), clip, output)
    assert first.interrupted and first.output == partial and first.frames == 77
    assert [number(image) for _, image in frames_of(partial)] == [index % 2**BITS for index in range(77)]
    assert not output.exists()

    again = Interrupted(at=10_000)
    second = translate_video(again, clip, output, VideoOptions(resume=True))
    assert (second.interrupted, second.frames, second.new_frames) == (False, FRAMES, FRAMES - 77)
    assert again.calls == FRAMES - 77
    assert_whole(output, clip)
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_a_part_ends_its_sound_with_its_picture(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", sound=["aac"])
    translate_video(Interrupted(at=10), source, tmp_path / "out.mp4")
    whole, part = sound_packets(source), sound_packets(tmp_path / "out.partial.mp4")
    assert part == whole[: len(part)]
    assert 0.3 < len(part) * 1024 / 48_000 < 0.5  # 10 of 20 frames are 0.4 s


def test_nothing_is_left_where_no_frame_was_done(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        translate_video(Interrupted(at=0), clip, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_resume_wants_the_same_settings_and_input(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    translate_video(Interrupted(at=70), clip, output)
    with pytest.raises(MediaError, match=r"begun with crf 18, and now it is 30; .* leave --resume out"):
        translate_video(Interrupted(at=-1), clip, output, VideoOptions(resume=True, encoding=Encoding(crf=30)))
    with pytest.raises(MediaError, match="begun with model"):
        translate_video(Interrupted(at=-1), clip, output, VideoOptions(resume=True), model="another")
    status = clip.stat()
    os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns + 5_000_000_000))
    with pytest.raises(MediaError, match="input's time"):
        translate_video(Interrupted(at=-1), clip, output, VideoOptions(resume=True))


def test_without_resume_work_starts_again(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    translate_video(Interrupted(at=70), clip, output)
    again = Interrupted(at=10_000)
    translate_video(again, clip, output)
    assert again.calls == FRAMES


def test_an_error_leaves_no_file_of_the_final_name(clip: Path, tmp_path: Path) -> None:
    def failing(frames: np.ndarray) -> np.ndarray:
        if number(frames[0]) == 50:
            raise RuntimeError("out of memory")
        return frames

    with pytest.raises(RuntimeError, match="out of memory"):
        translate_video(failing, clip, tmp_path / "out.mp4")
    assert not list(tmp_path.glob("*.mp4"))


CHILD = """
import sys, time
from i2i_rt.cli import main
from i2i_rt.testing import FakeSession
from i2i_rt.translator import Translator

def slowly(frames):
    time.sleep(0.01)
    return frames.copy()

Translator.load = classmethod(lambda cls, path, **options: cls(FakeSession(slowly), "a stand-in"))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number_", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_a_signal_costs_at_most_a_segment(clip: Path, tmp_path: Path, bundle: object, number_: signal.Signals) -> None:
    output, progress = tmp_path / "out.mp4", tmp_path / ".out.mp4.segments" / "progress.json"
    words = ["translate", str(bundle.path), str(clip), "-o", str(output)]  # type: ignore[attr-defined]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    while child.poll() is None and not progress.exists():
        time.sleep(0.01)
    child.send_signal(number_)
    said = child.communicate(timeout=60)[0]
    assert not output.exists()
    kept = sum(entry["frames"] for entry in json.loads(progress.read_text())["segments"])
    if number_ == signal.SIGINT:
        assert child.returncode == 130, said
        assert len(frames_of(tmp_path / "out.partial.mp4")) == kept
        assert f"{tmp_path}/out.partial.mp4: {kept} frames" in said
        assert "with --resume goes on" in said and "Traceback" not in said
    else:
        assert child.returncode == -signal.SIGKILL
        assert kept % FRAMES_PER_SEGMENT == 0
    assert FRAMES_PER_SEGMENT <= kept < FRAMES

    rest = subprocess.run(
        [sys.executable, "-c", CHILD, *words, "--resume"], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert rest.returncode == 0, rest.stderr
    assert_whole(output, clip)
    assert not progress.parent.exists()


def test_a_second_run_of_the_same_output_is_refused_while_the_first_one_writes(tmp_path: Path) -> None:
    first = Segments(tmp_path / "out.mp4", {}, resume=False)
    with pytest.raises(MediaError, match="another run is writing"):
        Segments(tmp_path / "out.mp4", {}, resume=False)
    first.close()
    second = Segments(tmp_path / "out.mp4", {}, resume=False)
    second.remove()
    second.close()
    assert not list(tmp_path.iterdir())
