"""Any size, and files with any fault: they work, or one sentence says why not. Never another exception."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from i2i_rt.errors import MediaError
from i2i_rt.testing import FakeSession
from i2i_rt.translator import Translator
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader
from i2i_rt.video.sizes import target_size
from i2i_rt.video.stills import is_still, read_still
from i2i_rt.video.translate import translate_video
from i2i_rt.video.writer import VideoWriter
from tests.video.clips import write_clip

pytest.importorskip("av")

few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
sides = st.integers(1, 70)
# where a file is hit, as a share of its length; how much of it; with what; and where it ends
faults = st.tuples(st.floats(0, 1), st.integers(0, 200), st.binary(min_size=1, max_size=8), st.floats(0.05, 1))


def damaged(content: bytes, fault: tuple[float, int, bytes, float]) -> bytes:
    where, length, pattern, end = fault
    begin = round(where * len(content))
    filling = (pattern * length)[:length]
    return (content[:begin] + filling + content[begin + length :])[: max(round(end * len(content)), 1)]


@few
@given(height=sides, width=sides, frames=st.integers(1, 3), batch=st.integers(1, 3))
def test_videos_of_any_size(tmp_path: Path, height: int, width: int, frames: int, batch: int) -> None:
    from i2i_rt.video.part import VideoOptions

    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    with VideoWriter(source, height, width) as writer:
        for index in range(frames):
            writer.write(np.full((height, width, 3), 80, np.uint8), index / 10)
    summary = translate_video(Translator(FakeSession()), source, output, VideoOptions(batch=batch))
    assert summary.frames == frames
    images = [frame.image for frame in FrameReader(probe(output))]
    assert len(images) == frames
    assert images[0].shape == (height + height % 2, width + width % 2, 3)
    assert abs(float(images[0].mean()) - 175) < 3


@given(height=st.integers(1, 20_000), width=st.integers(1, 20_000), most=st.integers(1, 10_000_000))
def test_reduced_sizes_fit_and_keep_proportions(height: int, width: int, most: int) -> None:
    new_height, new_width = target_size(height, width, size=None, max_pixels=most)
    assert 1 <= new_height <= height and 1 <= new_width <= width
    assert new_height * new_width <= max(most, new_height, new_width)
    if height * width <= most:
        assert (new_height, new_width) == (height, width)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "in.mp4"
    options = {"movflags": "faststart"}
    return write_clip(path, sound=["aac"], options={"g": "5"}, container_options=options).read_bytes()


@few
@given(fault=faults)
def test_damaged_videos(tmp_path: Path, video: bytes, fault: tuple[float, int, bytes, float]) -> None:
    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    source.write_bytes(damaged(video, fault))
    output.unlink(missing_ok=True)
    try:
        summary = translate_video(lambda frames: frames, source, output)
    except MediaError as error:
        assert "\n" not in str(error) and not output.exists()
        return
    times = [frame.time_s for frame in FrameReader(probe(output), "pyav")]
    assert len(times) == summary.frames and times == sorted(set(times))


@few
@given(fault=faults, kind=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"]))
def test_damaged_images(tmp_path: Path, fault: tuple[float, int, bytes, float], kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)).save(buffer, kind)
    path = tmp_path / "in.png"
    path.write_bytes(damaged(buffer.getvalue(), fault))
    is_still(path)
    try:
        still = read_still(path)
    except MediaError as error:
        assert str(path) in str(error)
        return
    assert still.image.dtype == np.uint8 and still.image.shape[2] == 3
