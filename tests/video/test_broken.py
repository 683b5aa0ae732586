"""Broken files: what can be decoded is translated and what is missing is said; the rest gets one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from i2i_rt.errors import MediaError
from i2i_rt.video.part import VideoOptions
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader
from i2i_rt.video.translate import translate_video
from tests.video.clips import FRAMES, RATE, frames_of, music_with_cover, number, sound_only, write_clip

pytest.importorskip("av")

Clip = Callable[[str], Path]


def _cut_off(source: Path, path: Path) -> Path:
    content = source.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2])
    return path


def _holed(source: Path, path: Path) -> Path:
    content = bytearray(source.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("reader", ["auto", "opencv", "pyav"])
def test_a_file_that_is_cut_off_gives_what_it_has_and_says_so(clip: Clip, tmp_path: Path, reader: Any) -> None:
    source = _cut_off(clip("key-frames.mp4"), tmp_path / "cut.mp4")
    summary = translate_video(lambda frames: frames, source, tmp_path / "out.mp4", VideoOptions(reader=reader))
    after = frames_of(tmp_path / "out.mp4")
    assert 3 < summary.frames == len(after) < FRAMES
    # frames that refer to later ones can be lost before the cut; what is there has its own time
    assert [number(image) for _, image in after] == [round(time * RATE) for time, _ in after]
    assert any(f"{len(after)} of about {FRAMES} frames could be decoded" in text for text in summary.warnings)


def test_pyav_takes_over_where_opencv_ends_early(clip: Clip, tmp_path: Path) -> None:
    clip_ = probe(_holed(clip("key-frames.mp4"), tmp_path / "holed.mp4"))
    opencv, auto = FrameReader(clip_, "opencv"), FrameReader(clip_, "auto")
    by_opencv, by_auto = list(opencv), list(auto)
    assert opencv.missing() is not None and auto.missing() is not None
    times = [frame.time_s for frame in by_auto]
    assert times == sorted(set(times))
    assert len(by_auto) >= len(by_opencv)
    assert number(by_auto[-1].image) == FRAMES - 1
    if len(by_opencv) < len(by_auto):
        assert auto.used == ["OpenCV", "PyAV"]


def _text(path: Path) -> Path:
    path.write_text("this is a letter, not a video\n" * 50)
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _without_index(path: Path) -> Path:
    content = write_clip(path.with_stem("whole")).read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 8])
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        pytest.param("text.mp4", _text, "is no video that can be read", id="text"),
        pytest.param("empty.mp4", _empty, "is empty", id="empty"),
        pytest.param("noindex.mp4", _without_index, "is no video that can be read", id="no-index"),
        pytest.param("folder.mp4", _folder, "is a folder", id="folder"),
        pytest.param("missing.mp4", lambda path: path, "there is no file", id="missing"),
        pytest.param("song.mp3", music_with_cover, "sound with a cover picture", id="cover-art"),
        pytest.param("song.m4a", lambda path: sound_only(path, "aac"), "holds sound only", id="sound-only"),
        pytest.param(
            "list.m3u8", lambda path: _playlist(path), "is no video that can be read", id="playlist-of-addresses"
        ),
    ],
)
def test_what_is_no_video_gets_one_sentence(
    tmp_path: Path, name: str, make: Callable[[Path], Path], sentence: str
) -> None:
    source = make(tmp_path / name)
    with pytest.raises(MediaError, match=sentence) as caught:
        translate_video(lambda frames: frames, source, tmp_path / "out.mp4")
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.mp4").exists() and not (tmp_path / ".out.mp4.segments").exists()


def _playlist(path: Path) -> Path:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    return path


def test_a_reader_that_was_named_is_not_replaced(clip: Clip) -> None:
    with pytest.raises(MediaError, match=r"no frame of .* \(av1\) can be decoded by OpenCV; leave --reader out"):
        list(FrameReader(probe(clip("av1.mp4")), "opencv"))


def test_without_pyav_one_sentence_names_the_extra(clip: Clip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    source = clip("plain.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MediaError.__base__, match=r"needs the package 'av': pip install 'i2i-rt\[video\]'"):
        translate_video(lambda frames: frames, source, tmp_path / "out.mp4")
