"""Where long clips are split."""

import math
from collections.abc import Iterator

from i2i_rt.video.frame_index import FrameIndex, index_of
from i2i_rt.video.part import Part, VideoOptions
from i2i_rt.video.probe import Clip
from i2i_rt.video.segments import FRAMES_PER_SEGMENT
from i2i_rt.video.stabilize import Strength

FRAMES_PER_PART = 300  # at the least: what a part costs besides (opening, seeking) is small against so many


def parts_of(clip: Clip, options: VideoOptions, stabilize: Strength) -> list[Part]:
    """Splits a clip into parts that can be translated at the same time, where that changes nothing.

    A part begins where a segment and a batch of the whole clip do, so that its frames are computed and compressed
    in the same company; among those places at one near after a key frame.

    A stabilised clip stays in one part, because every frame follows from the one before it.

    Raises:
        MediaError: where the file cannot be read.
    """
    if stabilize != "off":
        return [Part(history=True)]
    if (clip.expected_frames or 0) < 2 * FRAMES_PER_PART:
        return [Part()]
    index = index_of(clip)
    if index is None:
        return [Part()]
    firsts = list(_firsts(index, math.lcm(FRAMES_PER_SEGMENT, options.batch)))
    ends = [*firsts[1:], None]
    return [
        Part(first, None if end is None else end - first, index.place(first) if first else None)
        for first, end in zip(firsts, ends, strict=True)
    ]


def _firsts(index: FrameIndex, unit: int) -> Iterator[int]:
    """Gives the first frame of each part: multiples of `unit` that leave `FRAMES_PER_PART` or more to every part."""
    first, total, wanted = 0, len(index.times_s), FRAMES_PER_PART
    yield first
    while places := range(_rounded_up(first + wanted, unit), min(first + 2 * wanted + unit, total - wanted + 1), unit):
        first = min(places, key=index.distance)
        yield first


def _rounded_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
