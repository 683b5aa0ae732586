"""A few pictures that stand for a clip or for a folder of pictures, and others of it to judge by."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2i_rt.errors import MediaError
from i2i_rt.video import inputs, stills
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader
from i2i_rt.video.sizes import MAX_PIXELS, Size, resized, target_size

USED = 16  # pictures, at equal distances
MOTION = 24  # frames that follow one another


@dataclass(frozen=True)
class Sample:
    """Pictures `[H, W, 3]`, uint8 RGB, at the sizes at which they would be translated.

    Attributes:
        used: at equal distances, the first and the last among them.
        held_out: one between every two of `used`.
        motion: frames that follow one another, from the middle of a clip; none of a folder.
    """

    used: tuple[np.ndarray, ...]
    held_out: tuple[np.ndarray, ...]
    motion: tuple[np.ndarray, ...] = ()


def sample(path: Path, fixed: Size | None = None) -> Sample:
    """Reads a clip, or a folder of pictures in the order of their names; `fixed`: the only size that a model takes.

    Raises:
        MediaError: where there is no such file or folder, or it has fewer than 3 pictures that can be read.
    """
    count = sum(1 for _ in _pictures(path))
    if count < 3:
        raise MediaError(f"{path} has {count} pictures that can be read; 3 are needed, of which one is held out")
    used = np.unique(np.linspace(0, count - 1, min(USED, (count + 1) // 2)).round().astype(int))
    held_out = (used[:-1] + used[1:]) // 2
    start = max((count - MOTION) // 2, 0)
    motion = range(start, min(start + MOTION, count)) if path.is_file() else range(0)
    wanted = {*used.tolist(), *held_out.tolist(), *motion}
    found = {index: _sized(image, fixed) for index, image in enumerate(_pictures(path)) if index in wanted}
    used_frames, held_frames, motion_frames = (tuple(found[i] for i in part) for part in (used, held_out, motion))
    return Sample(used_frames, held_frames, motion_frames)


def _pictures(path: Path) -> Iterator[np.ndarray]:
    if not path.is_dir():
        if not path.is_file():
            raise MediaError(f"there is no file or folder {path}")
        for frame in FrameReader(probe(path)):
            yield frame.image
        return
    for file in sorted(path.iterdir(), key=inputs.natural):
        if file.is_file() and file.suffix.lower() in stills.SUFFIXES:
            yield stills.read_still(file).image


def _sized(image: np.ndarray, fixed: Size | None) -> np.ndarray:
    return resized(image, target_size(*image.shape[:2], size=None, max_pixels=MAX_PIXELS, fixed=fixed))
