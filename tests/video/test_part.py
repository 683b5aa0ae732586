"""A video translated in parts: the frames, their times and the file are those of one part."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_rt.errors import MediaError
from i2i_rt.video.frame_index import index_of
from i2i_rt.video.part import Part, VideoOptions, translate_part
from i2i_rt.video.probe import open_input, probe
from i2i_rt.video.reader import FrameReader, Place, Reader
from i2i_rt.video.segments import FRAMES_PER_SEGMENT, Segments
from i2i_rt.video.translate import finish, translate_video
from i2i_rt.video.writer import Encoding
from tests.video.clips import frames_of, picture, sound_packets, write_clip
from tests.video.conftest import MAKERS

pytest.importorskip("av")

UNREADABLE_BY_OPENCV = {"av1.mp4", "raw.h264"}


@pytest.mark.parametrize("reader", ["auto", "opencv", "pyav"])
@pytest.mark.parametrize("name", MAKERS)
def test_reading_from_a_place_gives_the_frames_of_reading_it_all(
    clip: Callable[[str], Path], name: str, reader: Reader
) -> None:
    if reader == "opencv" and name in UNREADABLE_BY_OPENCV:
        pytest.skip("OpenCV does not read it")
    video = probe(clip(name))
    index = index_of(video)
    whole = list(FrameReader(video, reader))
    if index is None:
        assert not video.has_times or video.interlaced or "edit-list" in name
        return
    assert len(index.times_s) == len(whole)
    assert [frame.time_s for frame in whole] == pytest.approx(index.times_s.tolist(), abs=1e-6)
    for first in (1, 6, 11, 19):
        later = FrameReader(video, reader, skip=first, place=index.place(first))
        frames = list(later)
        assert later.frames == len(whole) and later.missing() is None
        assert [frame.time_s for frame in frames] == [frame.time_s for frame in whole[first:]]
        assert all((a.image == b.image).all() for a, b in zip(frames, whole[first:], strict=True))


def test_reading_begins_at_a_key_frame(clip: Callable[[str], Path]) -> None:
    video = probe(clip("key-frames.mp4"))
    index = index_of(video)
    assert index is not None
    with open_input(video.path) as container:
        keys = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert len(keys) > 3 and index.keys.tolist() == keys
    assert [index.distance(frame) for frame in (0, keys[1] - 1, keys[1], keys[2] + 1)] == [0, keys[1] - 1, 0, 1]
    decoded: list[float] = []
    reader = FrameReader(video, "pyav", skip=12, place=index.place(12))
    original = reader._pyav

    def noted(begin_s: float | None) -> Iterator[Any]:
        for frame in original(begin_s):
            decoded.append(frame[0])
            yield frame

    reader._pyav = noted  # type: ignore[method-assign]
    assert len(list(reader)) == 8
    assert decoded[0] == pytest.approx((12 - index.distance(12)) / 25)


def test_a_place_that_is_missed_is_found_from_the_start(clip: Callable[[str], Path]) -> None:
    """As where a file's key frames are none: the seek comes out after the place."""
    video = probe(clip("plain.mp4"))
    reader = FrameReader(video, "pyav", skip=7, place=Place(7, 7 / 25, 6 / 25, 1 / 50))
    original = reader._pyav
    begins: list[float | None] = []

    def late(begin_s: float | None) -> Iterator[Any]:
        begins.append(begin_s)
        return (frame for frame in original(None) if begin_s is None or frame[0] > begin_s + 0.1)

    reader._pyav = late  # type: ignore[method-assign]
    assert [round(frame.time_s * 25) for frame in reader] == list(range(7, 20))
    assert begins == [7 / 25, None]


def test_a_place_that_is_not_there_is_an_error(clip: Callable[[str], Path]) -> None:
    video = probe(clip("plain.mp4"))
    with pytest.raises(MediaError, match="no frame"):
        list(FrameReader(video, skip=7, place=Place(7, 33.0, 32.0, 0.01)))


LOSSLESS = VideoOptions(encoding=Encoding(crf=0))
FRAMES = 3 * FRAMES_PER_SEGMENT + 20


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of varying duration, a key frame every 25, and sound."""
    ticks = [0, *np.cumsum([20 if step % 3 else 50 for step in range(FRAMES - 1)]).tolist()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.video.clips.FRAMES", FRAMES)
        return write_clip(
            tmp_path_factory.mktemp("long") / "in.mp4",
            ticks=ticks,
            sound=["aac"],
            options={"g": "25"},
            make=lambda index, height, width: picture(index % 64, height, width),
        )


def assert_same(output: Path, whole: Path) -> None:
    """Compares files that were compressed without loss: x264's choices differ at times from run to run."""
    before, after = frames_of(whole), frames_of(output)
    assert len(after) == FRAMES and [time for time, _ in after] == [time for time, _ in before]
    assert all((a == b).all() for (_, a), (_, b) in zip(after, before, strict=True))
    assert sound_packets(output) == sound_packets(whole)


def invert(frames: np.ndarray) -> np.ndarray:
    return 255 - frames


def test_parts_make_the_same_file_as_one(long_clip: Path, tmp_path: Path) -> None:
    video, results = probe(long_clip), []
    index = index_of(video)
    assert index is not None
    one, two = FRAMES_PER_SEGMENT, 3 * FRAMES_PER_SEGMENT
    for part in (Part(0, one), Part(one, two - one, index.place(one)), Part(two, None, index.place(two))):
        with closing(Segments(tmp_path / f"from-{part.first}", {}, resume=False)) as segments:
            results.append(translate_part(invert, video, segments, LOSSLESS, part))
    summary = finish(video, tmp_path / "parts.mp4", LOSSLESS, results)
    whole = translate_video(invert, long_clip, tmp_path / "whole.mp4", LOSSLESS)
    assert_same(tmp_path / "parts.mp4", tmp_path / "whole.mp4")
    assert [part.frames for part in results] == [60, 120, 20]
    assert (summary.kept, summary.changed, summary.duration_s) == (whole.kept, whole.changed, whole.duration_s)
    # each part saw the same frame after its last one as the next part did first
    assert [part.next_seen for part in results] == [results[1].first_seen, results[2].first_seen, ""]
    assert len({part.first_seen for part in results}) == 3


def test_frames_with_a_say_in_later_ones_are_translated_and_not_written(long_clip: Path, tmp_path: Path) -> None:
    class Sums:
        """Gives the sum of the frames so far, from the last multiple of 25 on."""

        def __init__(self, first: int) -> None:
            self.next, self.sum = first, 0

        def __call__(self, frames: np.ndarray) -> np.ndarray:
            self.sum = int(frames[0].sum()) // 1000 + (self.sum if self.next % 25 else 0)
            self.next += 1
            return np.full_like(frames, self.sum % 256)

    video = probe(long_clip)
    index = index_of(video)
    assert index is not None
    translate_video(Sums(0), long_clip, tmp_path / "whole.mp4", LOSSLESS)
    results = []
    for part in (Part(0, 60), Part(60, None, index.place(50), history=True)):
        begin = part.place.frame if part.place else 0
        with closing(Segments(tmp_path / f"from-{part.first}", {}, resume=False)) as segments:
            results.append(translate_part(Sums(begin), video, segments, LOSSLESS, part))
    finish(video, tmp_path / "parts.mp4", LOSSLESS, results)
    assert_same(tmp_path / "parts.mp4", tmp_path / "whole.mp4")


def test_a_part_that_was_killed_goes_on_after_its_last_segment(long_clip: Path, tmp_path: Path) -> None:
    video = probe(long_clip)
    index = index_of(video)
    assert index is not None
    part = Part(60, None, index.place(60))
    seen: list[int] = []

    def killed_at_the_100th(frames: np.ndarray) -> np.ndarray:
        seen.append(1)
        if len(seen) == 100:
            raise MemoryError
        return invert(frames)

    with pytest.raises(MemoryError), closing(Segments(tmp_path / "a", {}, resume=False)) as segments:
        translate_part(killed_at_the_100th, video, segments, LOSSLESS, part)
    (tmp_path / ".a.segments" / "progress.json").write_text(
        json.dumps({"identity": {}, "segments": segments._finished[:1]})
    )
    with closing(Segments(tmp_path / "a", {}, resume=True)) as segments:
        again = translate_part(invert, video, segments, LOSSLESS, part)
    with closing(Segments(tmp_path / "b", {}, resume=True)) as segments:
        once = translate_part(invert, video, segments, LOSSLESS, part)
    assert (again.frames, again.new_frames, once.new_frames) == (140, 80, 140)
    assert (again.first_seen, again.end_s, again.steps) == (once.first_seen, once.end_s, once.steps)
    for one, other in zip(again.segments, once.segments, strict=True):
        assert (one.first_ticks, one.end_ticks) == (other.first_ticks, other.end_ticks)
        assert all((a[1] == b[1]).all() for a, b in zip(frames_of(one.path), frames_of(other.path), strict=True))
