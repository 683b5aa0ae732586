"""Frames of a video file, upright, in RGB, with their times: through OpenCV, and PyAV where OpenCV cannot.

OpenCV ends without a word where a file is damaged, has no decoder for AV1, takes untagged HD colours for BT.601,
and gives black frames for interlaced ones.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Literal, get_args

import cv2
import numpy as np

from i2i_rt.errors import MediaError
from i2i_rt.video.probe import HD_HEIGHT, Clip, decoded, load_av, open_input
from i2i_rt.video.sizes import resized

Reader = Literal["auto", "opencv", "pyav"]


@dataclass(frozen=True)
class Frame:
    """A picture `[H, W, 3]` uint8 RGB; `time_s` counts from the first frame of its clip."""

    image: np.ndarray
    time_s: float
    duration_s: float


# A frame that was decoded but not yet converted: its time and duration in seconds, and how to get its picture.
_Decoded = tuple[float, float, Callable[[], np.ndarray]]


class FrameReader:
    """Iterates over a clip's frames, once; the first `skip` of them are decoded but not given.

    Attributes:
        used: the readers that were tried, in order.
        frames: how many frames were decoded.
        end_s: the time at which the last of them ends.
        varying: whether frames were shown for different times.
        lost: how many pieces of the file could not be decoded.
        damaged: how many frames came out of damaged data, as far as PyAV read them: OpenCV does not say it. They are
            given as the decoder mended them.
    """

    def __init__(self, clip: Clip, reader: Reader = "auto", *, skip: int = 0) -> None:
        if reader not in get_args(Reader):
            raise MediaError(f"no reader is called {reader!r}; it must be one of {', '.join(get_args(Reader))}")
        self.clip = clip
        self._reader = reader
        self._skip = skip
        self._last_s = -1.0
        self._steps = (float("inf"), 0.0)  # the shortest and the longest time between two frames
        self.used: list[str] = []
        self.frames = 0
        self.end_s = 0.0
        self.lost = 0
        self.damaged = 0

    def __iter__(self) -> Iterator[Frame]:
        if self._reader == "opencv" or (self._reader == "auto" and _suits_opencv(self.clip)):
            yield from self._ordered(self._opencv(), "OpenCV")
        if self._reader != "opencv" and (not self.frames or self._ends_early()):
            yield from self._ordered(self._pyav(after_s=self.end_s if self.frames else None), "PyAV")
        if not self.frames:
            raise MediaError(
                f"no frame of {self.clip.path} ({self.clip.codec}) can be decoded by {' or '.join(self.used)}"
                + ("; leave --reader out" if self._reader == "opencv" else "")
            )
        stated = self.clip.duration_s
        if stated is not None and stated > self._last_s and not self.clip.duration_is_rough and not self._ends_early():
            self.end_s = stated  # readers only guess how long the last frame is shown

    def missing(self) -> str | None:
        """Says in words what a damaged file did not give; None where everything came. Asked after the last frame."""
        parts = []
        if self._ends_early():
            total = max(self.clip.expected_frames or 0, self.frames + 1)
            parts.append(f"{self.frames} of about {total} frames could be decoded")
        elif self.lost:
            parts.append(f"{self.lost} pieces could not be decoded")
        if self.damaged:
            parts.append(f"{self.damaged} frames come from damaged data")
        return f"{self.clip.path} is damaged or cut off: {', '.join(parts)}" if parts else None

    def _ends_early(self) -> bool:
        if self.clip.duration_s is None or (self.clip.indexed_frames or self.frames + 1) <= self.frames:
            return False  # the last frame may be shown for long, which decoders do not say reliably
        # stated durations are rounded, and may leave out the last frame's own
        tolerance_s = 1.0 if self.clip.duration_is_rough else 1.5 / float(self.clip.frame_rate)
        return self.end_s < self.clip.duration_s - tolerance_s

    @property
    def varying(self) -> bool:
        return self.frames > 2 and self._steps[1] - self._steps[0] > 0.002  # containers round to milliseconds

    def _ordered(self, frames: Iterator[_Decoded], name: str) -> Iterator[Frame]:
        """Counts frames, and mends times that do not grow and sizes that change."""
        self.used.append(name)
        for time, duration, picture in frames:
            if self.frames and time <= self._last_s:
                time = self._last_s + 1 / float(self.clip.frame_rate)
            if self.frames:
                step = time - self._last_s
                self._steps = (min(self._steps[0], step), max(self._steps[1], step))
            self._last_s, self.end_s = time, time + duration
            self.frames += 1
            if self.frames > self._skip:
                yield Frame(resized(picture(), (self.clip.height, self.clip.width)), time, duration)

    def _opencv(self) -> Iterator[_Decoded]:
        # its FFmpeg writes decoding errors of damaged files to stderr; what is missing is said at the end instead
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        capture = cv2.VideoCapture(os.fspath(self.clip.path), cv2.CAP_FFMPEG)
        step = 1 / float(self.clip.frame_rate)
        first: float | None = None
        try:
            while capture.grab():
                time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                first = time if first is None else first
                yield time - first, step, lambda: cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
        finally:
            capture.release()

    def _pyav(self, after_s: float | None) -> Iterator[_Decoded]:
        """Decodes from the start; frames that begin before `after_s` were given already."""
        convert = _to_rgb(self.clip)
        step = 1 / float(self.clip.frame_rate)
        faults: list[str] = []
        with open_input(self.clip.path) as container:
            stream = container.streams[self.clip.stream]
            base = Fraction(stream.time_base or 1)
            for index, frame in enumerate(decoded(container, stream, faults)):
                time = index * step if frame.pts is None else float(frame.pts * base) - self.clip.start_s
                self.damaged += frame.is_corrupt
                # half a frame: OpenCV's times are rounded
                if after_s is None or time >= after_s - step / 2:
                    yield time, float(frame.duration * base) if frame.duration else step, partial(convert, frame)
        self.lost += len(faults)


def _suits_opencv(clip: Clip) -> bool:
    return (
        clip.codec != "av1"
        and clip.has_times
        and not clip.interlaced
        and clip.leading_stream
        and (clip.matrix is not None or clip.height < HD_HEIGHT)
    )


def _to_rgb(clip: Clip) -> Any:
    """Gives a function that turns PyAV's frames into upright RGB arrays."""
    av = load_av()
    flags = av.video.reformatter.Interpolation
    reformatter = av.video.reformatter.VideoReformatter()
    options = {"format": "rgb24", "interpolation": int(flags.BILINEAR | flags.ACCURATE_RND | flags.FULL_CHR_H_INT)}
    if clip.matrix is None:
        space = av.video.reformatter.Colorspace
        options["src_colorspace"] = space.ITU709 if clip.height >= HD_HEIGHT else space.ITU601
    turns = {90: 3, 180: 2, 270: 1}.get(clip.rotation, 0)  # np.rot90 turns against the clock

    def convert(frame: Any) -> np.ndarray:
        image = reformatter.reformat(frame, **options).to_ndarray()
        return np.ascontiguousarray(np.rot90(image, turns))

    return convert
