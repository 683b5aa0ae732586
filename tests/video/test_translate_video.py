"""Videos keep their frames, times, colours and proportions, whatever they are."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_rt.errors import MediaError
from i2i_rt.testing import FakeSession
from i2i_rt.translator import Translator
from i2i_rt.video.part import VideoOptions
from i2i_rt.video.probe import probe
from i2i_rt.video.translate import translate_video
from i2i_rt.video.writer import Encoding, VideoWriter
from tests.video.clips import COLOURS, FRAMES, HEIGHT, WIDTH, frames_of, number, patches, picture, write_clip

av: Any = pytest.importorskip("av")

Clip = Callable[[str], Path]

SHARP = VideoOptions(encoding=Encoding(crf=4))
TICK_S = 1 / 90_000


def identity() -> Translator:
    return Translator(FakeSession(lambda frames: frames.copy()))


@pytest.mark.parametrize("reader", ["opencv", "pyav", "auto"])
@pytest.mark.parametrize("name", ["plain.mp4", "varying.mp4", "matroska.mkv", "transport.ts", "edit-list.mp4"])
def test_frames_come_once_in_order_and_at_their_times(clip: Clip, tmp_path: Path, name: str, reader: Any) -> None:
    source, output = clip(name), tmp_path / "out.mp4"
    summary = translate_video(identity(), source, output, VideoOptions(reader=reader))
    before, after = frames_of(source), frames_of(output)
    assert summary.frames == len(after) == len(before)
    assert [number(image) for _, image in after] == [number(image) for _, image in before]
    for (time_before, _), (time_after, _) in zip(before, after, strict=True):
        assert time_after - after[0][0] == pytest.approx(time_before - before[0][0], abs=TICK_S)
    assert summary.duration_s == pytest.approx(probe(output).duration_s, abs=0.002)


@pytest.mark.parametrize("reader", ["opencv", "pyav", "auto"])
def test_a_long_last_frame_is_no_damage_and_stays_long(tmp_path: Path, reader: Any) -> None:
    source = tmp_path / "slides.mp4"
    with VideoWriter(source, HEIGHT, WIDTH) as writer:
        for index in range(8):
            writer.write(picture(index), index / 10, 0.1 if index < 7 else 1.5)
    summary = translate_video(identity(), source, tmp_path / "out.mp4", VideoOptions(reader=reader))
    assert len(frames_of(tmp_path / "out.mp4")) == 8
    assert not summary.warnings
    assert summary.duration_s == pytest.approx(2.2)
    assert probe(tmp_path / "out.mp4").duration_s == pytest.approx(2.2, abs=0.001)


@pytest.mark.parametrize(
    "name",
    [
        "av1.mp4",
        "ten-bit.mp4",
        "chroma-422.mp4",
        "alpha.webm",
        "alpha.mov",
        "interlaced.mp4",
        "raw.h264",
        "ünï #1 %03d.mp4",
        "motion-jpeg.avi",
        "bt709-limited.mp4",
        "bt709-full.mp4",
        "bt601-limited.mp4",
        "bt601-full.mp4",
        "untagged-hd.mp4",
        "opus.webm",
    ],
)
def test_frames_and_colours_of_every_kind_of_video_arrive(clip: Clip, tmp_path: Path, name: str) -> None:
    output = tmp_path / "out.mp4"
    summary = translate_video(identity(), clip(name), output, SHARP)
    after = frames_of(output)
    assert summary.frames == FRAMES
    assert [number(image) for _, image in after] == list(range(FRAMES))
    assert np.abs(patches(after[10][1]) - COLOURS).max() <= (6 if name == "motion-jpeg.avi" else 3)
    assert not summary.warnings


@pytest.mark.parametrize("name", ["grey.mkv", "grey-16-bit.mkv"])
def test_grey_videos_look_as_in_another_decoder(clip: Clip, tmp_path: Path, name: str) -> None:
    output = tmp_path / "out.mp4"
    translate_video(identity(), clip(name), output, SHARP)
    for (_, before), (_, after) in zip(frames_of(clip(name)), frames_of(output), strict=True):
        assert np.abs(patches(before) - patches(after)).max() <= 3


def test_moving_gifs_are_videos(clip: Clip, tmp_path: Path) -> None:
    translate_video(identity(), clip("moving.gif"), tmp_path / "out.mp4", SHARP)
    for (_, before), (_, after) in zip(frames_of(clip("moving.gif")), frames_of(tmp_path / "out.mp4"), strict=True):
        assert number(before) == number(after)
        assert abs(before.mean() - after.mean()) < 1  # its dithering is finer than the chroma of 4:2:0


def test_the_result_is_tagged_bt709_limited(clip: Clip, tmp_path: Path) -> None:
    translate_video(identity(), clip("bt601-full.mp4"), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert context.codec.canonical_name == "h264"


@pytest.mark.parametrize("reader", ["opencv", "pyav"])
@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotated_videos_become_upright(clip: Clip, tmp_path: Path, angle: int, turns: int, reader: Any) -> None:
    output = tmp_path / "out.mp4"
    summary = translate_video(
        identity(), clip(f"rotated-{angle}.mp4"), output, VideoOptions(reader=reader, encoding=Encoding(crf=4))
    )
    image = frames_of(output)[13][1]
    assert image.shape == ((WIDTH, HEIGHT, 3) if angle != 180 else (HEIGHT, WIDTH, 3))
    assert number(np.rot90(image, -turns)) == 13  # the file asks for a turn against the clock
    assert any("turned upright" in text for text in summary.kept)
    assert probe(output).rotation == 0


def test_pixels_that_are_not_square_stay_so(clip: Clip, tmp_path: Path) -> None:
    summary = translate_video(identity(), clip("wide-pixels.mp4"), tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").sample_aspect_ratio == Fraction(2)
    assert "pixel shape 2:1" in summary.kept
    translate_video(identity(), clip("wide-pixels.mp4"), tmp_path / "square.mp4", VideoOptions(size=(48, 128)))
    assert probe(tmp_path / "square.mp4").sample_aspect_ratio == 1


@pytest.mark.parametrize(
    ("name", "size"), [("odd-size.mp4", (49, 65)), ("one-pixel.mkv", (1, 1))], ids=["odd", "one-pixel"]
)
def test_no_row_of_an_odd_size_is_lost(clip: Clip, tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    seen = []
    summary = translate_video(
        lambda frames: seen.append(frames.shape[1:3]) or identity()(frames), clip(name), tmp_path / "out.mp4", SHARP
    )
    height, width = size
    assert set(seen) == {size}
    image = frames_of(tmp_path / "out.mp4")[3][1]
    assert image.shape[:2] == (height + 1, width + 1)
    assert any("made even" in text for text in summary.changed)


def test_a_change_of_size_within_a_video_is_brought_to_the_first_size(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.h264", format="h264")
    second = write_clip(tmp_path / "b.h264", format="h264", size=(96, 80))
    both = tmp_path / "both.h264"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    summary = translate_video(identity(), both, tmp_path / "out.mp4")
    after = frames_of(tmp_path / "out.mp4")
    assert summary.frames == len(after) == 2 * FRAMES
    assert [number(image) for _, image in after] == [*range(FRAMES), *range(FRAMES)]


def test_the_summary_says_what_is_not_kept(clip: Clip, tmp_path: Path) -> None:
    def changed(name: str) -> str:
        return "; ".join(translate_video(identity(), clip(name), tmp_path / "out.mp4").changed)

    assert "10 bits a colour became 8" in changed("ten-bit.mp4")
    assert "transparency is not kept" in changed("alpha.mov")
    assert "interlaced fields" in changed("interlaced.mp4")
    assert "BT.601 full, became BT.709 limited" in changed("bt601-full.mp4")
    assert "no sound" in changed("silent.mp4")


def test_compare_puts_the_input_to_the_left(clip: Clip, tmp_path: Path) -> None:
    translate_video(
        Translator(FakeSession()), clip("plain.mp4"), tmp_path / "out.mp4",
        VideoOptions(compare=True, encoding=Encoding(crf=4)),
    )  # fmt: skip
    image = frames_of(tmp_path / "out.mp4")[6][1]
    assert image.shape == (HEIGHT, 2 * WIDTH, 3)
    assert np.abs(patches(image[:, :WIDTH]) - COLOURS).max() <= 3
    assert np.abs(patches(image[:, WIDTH:]) - (255 - COLOURS.astype(int))).max() <= 3


@pytest.mark.parametrize("batch", [3, 7, 32])
def test_batches_have_one_shape_and_give_every_frame_once(clip: Clip, tmp_path: Path, batch: int) -> None:
    session = FakeSession(lambda frames: frames.copy())
    translate_video(Translator(session), clip("plain.mp4"), tmp_path / "out.mp4", VideoOptions(batch=batch))
    assert {shape[0] for shape in session.calls} == {batch}
    assert [number(image) for _, image in frames_of(tmp_path / "out.mp4")] == list(range(FRAMES))


def test_large_frames_are_reduced_with_a_word(clip: Clip, tmp_path: Path) -> None:
    summary = translate_video(identity(), clip("plain.mp4"), tmp_path / "out.mp4", VideoOptions(max_pixels=800))
    assert (summary.height, summary.width) == (24, 32)
    assert any("48x64 became 24x32" in text and "--max-pixels" in text for text in summary.changed)


def test_the_session_is_warm_before_the_first_frame(clip: Clip, tmp_path: Path) -> None:
    order: list[Any] = []
    translate_video(
        lambda frames: order.append("frame") or frames.copy(), clip("plain.mp4"), tmp_path / "out.mp4",
        warm_up=lambda height, width, batch: order.append((height, width, batch)),
    )  # fmt: skip
    assert order[:2] == [(HEIGHT, WIDTH, 1), "frame"]


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".m4v"])
def test_other_containers_hold_the_same(clip: Clip, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    translate_video(identity(), clip("plain.mp4"), output)
    assert [number(image) for _, image in frames_of(output)] == list(range(FRAMES))


def test_an_output_that_cannot_be_is_refused_before_work(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"suffix '\.txt'; videos are written as \.mp4"):
        translate_video(identity(), clip("plain.mp4"), tmp_path / "out.txt")
    with pytest.raises(MediaError, match="is the input itself"):
        translate_video(identity(), clip("plain.mp4"), clip("plain.mp4"))
