"""Sound goes along: the same packets where the container can hold them, and at the same moment of the picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_rt.video.probe import probe
from i2i_rt.video.translate import VideoSummary, translate_video
from tests.video.clips import frames_of, sound_packets, write_clip

av: Any = pytest.importorskip("av")

Clip = Callable[[str], Path]


def translated(source: Path, output: Path) -> VideoSummary:
    return translate_video(lambda frames: frames, source, output)


def sounding_at(path: Path) -> tuple[float, float]:
    """Gives when the sound begins and ends, in seconds after the first frame."""
    first_frame = frames_of(path)[0][0]
    times = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.abs(frame.to_ndarray().astype(float)).max(axis=0)
            peak = 32_768 if frame.format.name.startswith("s16") else 1
            samples = np.flatnonzero(loud > 0.02 * peak)
            times += (
                [frame.time + sample / frame.sample_rate - first_frame for sample in samples[[0, -1]]]
                if len(samples)
                else []
            )
    return times[0], times[-1]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("plain.mp4", "aac"),
        ("varying.mp4", "aac"),
        ("matroska.mkv", "aac"),
        ("late-sound.mp4", "aac"),
        ("late-pictures.mkv", "aac"),
        ("opus.webm", "opus"),
    ],
)
def test_sound_is_copied_and_stays_with_the_picture(clip: Clip, tmp_path: Path, name: str, codec: str) -> None:
    output = tmp_path / "out.mp4"
    summary = translated(clip(name), output)
    assert f"sound: {codec}, copied" in summary.kept
    assert sound_packets(output) == sound_packets(clip(name))
    assert sounding_at(output) == pytest.approx(sounding_at(clip(name)), abs=0.003)


def test_aac_of_a_transport_stream_keeps_its_moment(clip: Clip, tmp_path: Path) -> None:
    summary = translated(clip("transport.ts"), tmp_path / "out.mp4")
    assert "sound: aac, copied" in summary.kept
    assert sounding_at(tmp_path / "out.mp4") == pytest.approx(sounding_at(clip("transport.ts")), abs=0.003)
    before = sound_packets(clip("transport.ts"))
    assert [len(packet) for packet in sound_packets(tmp_path / "out.mp4")] == [len(packet) - 7 for packet in before]


def test_sound_before_an_edit_list_s_cut_is_not_heard(clip: Clip, tmp_path: Path) -> None:
    source = clip("edit-list.mp4")
    translated(source, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").duration_s == pytest.approx(probe(source).duration_s, abs=0.03)
    assert sounding_at(tmp_path / "out.mp4") == pytest.approx(sounding_at(source), abs=0.003)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_pcm_is_copied_where_it_can_be_and_else_becomes_aac(clip: Clip, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    summary = translated(clip("pcm.mov"), output)
    wanted = "sound: aac, made from pcm_s16le" if suffix == ".mp4" else "sound: pcm_s16le, copied"
    assert wanted in summary.kept
    assert sounding_at(output) == pytest.approx(sounding_at(clip("pcm.mov")), abs=0.03)


def test_vorbis_becomes_aac(tmp_path: Path) -> None:
    source = tmp_path / "vorbis.mkv"
    with av.open(str(source), "w") as container:
        pictures = container.add_stream("ffv1", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 16, 16, "yuv420p"
        sound = container.add_stream("vorbis", rate=48_000, layout="stereo", options={"strict": "-2"})
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), index, np.uint8), format="rgb24")
            container.mux(pictures.encode(frame.reformat(format="yuv420p")))
        for start in range(0, 19_200, 1024):
            tone = np.sin(np.arange(start, start + 1024) * 0.06).astype(np.float32) * 0.3
            piece = av.AudioFrame.from_ndarray(np.stack((tone, tone)), format="fltp", layout="stereo")
            piece.sample_rate, piece.pts = 48_000, start
            container.mux(sound.encode(piece))
        container.mux([*pictures.encode(None), *sound.encode(None)])
    summary = translated(source, tmp_path / "out.mp4")
    assert "sound: aac, made from vorbis" in summary.kept
    assert sounding_at(tmp_path / "out.mp4") == pytest.approx(sounding_at(source), abs=0.05)


def test_every_track_is_kept(clip: Clip, tmp_path: Path) -> None:
    summary = translated(clip("two-tracks.mp4"), tmp_path / "out.mp4")
    assert summary.kept[-2:] == ("sound: aac, copied", "sound: mp3, copied")
    for track in (0, 1):
        assert sound_packets(tmp_path / "out.mp4", track) == sound_packets(clip("two-tracks.mp4"), track)


def test_pictures_and_sound_lie_side_by_side_in_the_file(clip: Clip, tmp_path: Path) -> None:
    """A player that reads the file from the network must not need its end to begin; faststart puts the index first."""
    output = tmp_path / "out.mp4"
    translated(clip("plain.mp4"), output)
    content = output.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_sound_that_cannot_be_kept_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from i2i_rt.video import mux

    source = write_clip(tmp_path / "in.mp4", sound=["aac"])

    def broken(*arguments: Any) -> None:
        raise av.InvalidDataError(1, "no such sound")

    monkeypatch.setattr(mux, "_sound", broken)
    summary = translated(source, tmp_path / "out.mp4")
    assert summary.frames == 20
    assert "the sound is not kept" in summary.changed
    assert any("the sound could not be kept" in text for text in summary.warnings)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
