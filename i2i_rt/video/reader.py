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

SEEK_MARGIN_S = 0.25  # OpenCV rounds


@dataclass(frozen=True)
class Frame:
    """A picture `[H, W, 3]` uint8 RGB; `time_s` counts from the first frame of its clip."""

    image: np.ndarray
    time_s: float
    duration_s: float


@dataclass(frozen=True)
class Place:
    """A frame inside a clip at which reading can begin; `frame_index.py` finds them.

    Attributes:
        frame: its number, from 0.
        time_s: when it is shown, counted from the first frame; `before_s`: the same of the frame before it.
        tolerance_s: times that differ by less are the same frame's.
    """

    frame: int
    time_s: float
    before_s: float
    tolerance_s: float


# A frame that was decoded but not yet converted: its time and duration in seconds, and how to get its picture.
_Decoded = tuple[float, float, Callable[[], np.ndarray]]


class FrameReader:
    """Iterates over a clip's frames, once; the first `skip` of them are not given.

    They are decoded, unless there is a `place`: then decoding begins at the key frame before that, and the frames
    before the place count as read.

    Attributes:
        used: the readers that were tried, in order.
        frames: how many frames were decoded.
        end_s: the time at which the last of them ends.
        steps: the shortest and the longest time between two frames, in seconds.
        lost: how many pieces of the file could not be decoded.
        damaged: how many frames came out of damaged data, as far as PyAV read them: OpenCV does not say it. They are
            given as the decoder mended them.
    """

    def __init__(self, clip: Clip, reader: Reader = "auto", *, skip: int = 0, place: Place | None = None) -> None:
        if reader not in get_args(Reader):
            raise MediaError(f"no reader is called {reader!r}; it must be one of {', '.join(get_args(Reader))}")
        self.clip = clip
        self._reader = reader
        self._skip = skip
        self._place = place
        self._last_s = place.before_s if place is not None else -1.0
        self.steps = (float("inf"), 0.0)
        self.used: list[str] = []
        self.frames = place.frame if place is not None else 0
        self.end_s = 0.0
        self.lost = 0
        self.damaged = 0

    def __iter__(self) -> Iterator[Frame]:
        begin = self.frames
        if self._reader == "opencv" or (self._reader == "auto" and _suits_opencv(self.clip)):
            yield from self._ordered(self._sought(self._opencv), "OpenCV")
        if self._reader != "opencv" and self.frames == begin:
            yield from self._ordered(self._sought(self._pyav), "PyAV")
        elif self._reader != "opencv" and self._ends_early():
            # half a frame: OpenCV's times are rounded
            after_s = self.end_s - 0.5 / float(self.clip.frame_rate)
            yield from self._ordered((frame for frame in self._pyav(None) if frame[0] >= after_s), "PyAV")
        if self.frames == begin:
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

    def _ordered(self, frames: Iterator[_Decoded], name: str) -> Iterator[Frame]:
        """Counts frames, and mends times that do not grow and sizes that change."""
        self.used.append(name)
        for time, duration, picture in frames:
            if self.frames and time <= self._last_s:
                time = self._last_s + 1 / float(self.clip.frame_rate)
            if self.frames:
                step = time - self._last_s
                self.steps = (min(self.steps[0], step), max(self.steps[1], step))
            self._last_s, self.end_s = time, time + duration
            self.frames += 1
            if self.frames > self._skip:
                yield Frame(resized(picture(), (self.clip.height, self.clip.width)), time, duration)

    def _sought(self, frames: Callable[[float | None], Iterator[_Decoded]]) -> Iterator[_Decoded]:
        """Gives a reader's frames from the place on; where its seek misses that, it decodes from the start."""
        place = self._place
        if place is None:
            yield from frames(None)
            return
        for begin_s in (place.time_s, None):
            self.lost = self.damaged = 0
            found = (frame for frame in frames(begin_s) if frame[0] > place.time_s - place.tolerance_s)
            first = next(found, None)
            if first is not None and first[0] < place.time_s + place.tolerance_s:
                yield first
                yield from found
                return

    def _opencv(self, begin_s: float | None) -> Iterator[_Decoded]:
        """Decodes from the start, or from a frame that is shown at `begin_s` or earlier."""
        # its FFmpeg writes decoding errors of damaged files to stderr; what is missing is said at the end instead
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        capture = cv2.VideoCapture(os.fspath(self.clip.path), cv2.CAP_FFMPEG)
        step = 1 / float(self.clip.frame_rate)
        first: float | None = None
        try:
            if begin_s is not None and capture.grab():
                first = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                # it reckons in frames of a constant rate, which is near enough; times tell where it came out
                capture.set(cv2.CAP_PROP_POS_MSEC, max(begin_s - SEEK_MARGIN_S, 0) * 1000)
            while capture.grab():
                time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                first = time if first is None else first
                yield time - first, step, lambda: cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
        finally:
            capture.release()

    def _pyav(self, begin_s: float | None) -> Iterator[_Decoded]:
        """Decodes from the start, or from a frame that is shown at `begin_s` or earlier."""
        convert = _to_rgb(self.clip)
        step = 1 / float(self.clip.frame_rate)
        faults: list[str] = []
        with open_input(self.clip.path) as container:
            stream = container.streams[self.clip.stream]
            base = Fraction(stream.time_base or 1)
            if begin_s is not None:
                container.seek(round((begin_s + self.clip.start_s) / base), stream=stream)
            try:
                for index, frame in enumerate(decoded(container, stream, faults)):
                    time = index * step if frame.pts is None else float(frame.pts * base) - self.clip.start_s
                    self.damaged += frame.is_corrupt
                    yield time, float(frame.duration * base) if frame.duration else step, partial(convert, frame)
            finally:  # whoever reads may stop early
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
