"""The odd clips, each made when a test first asks for it."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.video.clips import FRAMES, picture, with_edit_list, write_clip

VARYING_MS = [0, *np.cumsum([20 if step % 3 else 117 for step in range(FRAMES - 1)]).tolist()]


def _rgba(index: int, height: int, width: int) -> np.ndarray:
    alpha = np.full((height, width, 1), 255, np.uint8)
    alpha[: height // 8] = 0
    return np.dstack((picture(index, height, width), alpha))


def _av1(path: Path) -> Path:
    """Writes a clip with SVT-AV1, which gives the thread that calls it real-time priority where it may, as for root.

    All that this process runs afterwards would go before everybody else's work, the servers' that it tests too.
    """
    usual = os.sched_getscheduler(0)
    try:
        return write_clip(path, codec="libsvtav1", options={"preset": "10", "crf": "10"})
    finally:
        os.sched_setscheduler(0, usual, os.sched_param(0))


MAKERS: dict[str, Callable[[Path], Path]] = {
    "plain.mp4": lambda path: write_clip(path, sound=["aac"]),
    "silent.mp4": write_clip,
    "varying.mp4": lambda path: write_clip(path, ticks=VARYING_MS, sound=["aac"]),
    "rotated-90.mp4": lambda path: write_clip(path, rotation=90),
    "rotated-180.mp4": lambda path: write_clip(path, rotation=180),
    "rotated-270.mp4": lambda path: write_clip(path, rotation=270),
    "wide-pixels.mp4": lambda path: write_clip(path, aspect=Fraction(2)),
    "matroska.mkv": lambda path: write_clip(path, sound=["aac"]),
    "transport.ts": lambda path: write_clip(path, sound=["aac"], format="mpegts"),
    "av1.mp4": _av1,
    "ten-bit.mp4": lambda path: write_clip(path, pixel_format="yuv420p10le"),
    "chroma-422.mp4": lambda path: write_clip(path, pixel_format="yuv422p"),
    "grey.mkv": lambda path: write_clip(path, codec="ffv1", pixel_format="gray"),
    "grey-16-bit.mkv": lambda path: write_clip(path, codec="ffv1", pixel_format="gray16le"),
    "alpha.webm": lambda path: write_clip(
        path, codec="libvpx-vp9", pixel_format="yuva420p", make=_rgba, source_format="rgba", options={"crf": "5"}
    ),
    "alpha.mov": lambda path: write_clip(path, codec="png", pixel_format="rgba", make=_rgba, source_format="rgba"),
    "interlaced.mp4": lambda path: write_clip(path, options={"x264-params": "tff=1"}),
    "odd-size.mp4": lambda path: write_clip(path, size=(49, 65), pixel_format="yuv444p"),
    "one-pixel.mkv": lambda path: write_clip(path, size=(1, 1), codec="ffv1", pixel_format="bgr0"),
    "bt709-limited.mp4": lambda path: write_clip(path, colours=(1, 1)),
    "bt709-full.mp4": lambda path: write_clip(path, colours=(1, 2)),
    "bt601-limited.mp4": lambda path: write_clip(path, colours=(5, 1)),
    "bt601-full.mp4": lambda path: write_clip(path, colours=(5, 2)),
    "untagged-hd.mp4": lambda path: write_clip(path, size=(720, 64), colours=(1, 1), tagged=False),
    "pcm.mov": lambda path: write_clip(path, sound=["pcm_s16le"]),
    "opus.webm": lambda path: write_clip(path, codec="libvpx-vp9", sound=["libopus"], options={"crf": "5"}),
    "two-tracks.mp4": lambda path: write_clip(path, sound=["aac", "libmp3lame"]),
    "late-sound.mp4": lambda path: write_clip(path, sound=["aac"], sound_delay_s=0.5),
    "late-pictures.mkv": lambda path: write_clip(path, sound=["aac"], picture_delay_s=0.5),
    "raw.h264": lambda path: write_clip(path, format="h264"),
    "ünï #1 %03d.mp4": write_clip,
    "motion-jpeg.avi": lambda path: write_clip(path, codec="mjpeg", pixel_format="yuvj420p"),
    "moving.gif": lambda path: write_clip(path, codec="gif", pixel_format="rgb8"),
    "edit-list.mp4": lambda path: with_edit_list(
        write_clip(path.with_stem("whole"), sound=["aac"]), path, start_s=0.32
    ),
    "key-frames.mp4": lambda path: write_clip(
        path, sound=["aac"], options={"g": "5"}, container_options={"movflags": "faststart"}
    ),
}


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the path of a clip in `MAKERS`."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name: str) -> Path:
        path = folder / name
        return path if path.exists() else MAKERS[name](path)

    return make
