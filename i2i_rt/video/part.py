"""Frames of a video, all or some, translated into segments: the part of the work that one process does.

`translate` does a video in one part, a farm in many. Segments begin at the same frames either way, so that the files
are the same.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from i2i_rt.video import pipeline
from i2i_rt.video.intake import Intake, Pictures
from i2i_rt.video.probe import Clip
from i2i_rt.video.reader import Frame, FrameReader, Place, Reader
from i2i_rt.video.segments import Segments
from i2i_rt.video.sizes import MAX_PIXELS, Size, target_size
from i2i_rt.video.writer import TICKS_PER_SECOND, Encoding, Segment

FRAMES_IN_A_QUEUE = 8

# what the intake gives, [N, …], to uint8 RGB [N, H, W, 3], or to the future of that
Translate = Callable[[np.ndarray], np.ndarray | Future[np.ndarray]]


@dataclass(frozen=True)
class VideoOptions:
    """How a video is translated.

    Attributes:
        size: the height and width at which it is translated and written; None: its own.
        fixed: the only size that the model takes; None: any.
        compare: writes the input to the left of the result.
    """

    batch: int = 1
    size: Size | None = None
    max_pixels: int = MAX_PIXELS
    fixed: Size | None = None
    compare: bool = False
    reader: Reader = "auto"
    encoding: Encoding = field(default_factory=Encoding)
    resume: bool = False

    @property
    def squares_pixels(self) -> bool:
        """Says whether the result's pixels are square whatever the input's are: a size that is named is a picture's."""
        return self.size is not None or self.fixed is not None

    def size_of(self, clip: Clip) -> Size:
        """Gives the height and width at which a clip is translated."""
        return target_size(clip.height, clip.width, **self.sizing)

    @property
    def sizing(self) -> dict[str, Any]:
        """What decides the size of the result."""
        return {"size": self.size, "max_pixels": self.max_pixels, "fixed": self.fixed}


@dataclass(frozen=True)
class Part:
    """Frames of a video that are translated by themselves; by default all.

    Attributes:
        first: the first of them.
        frames: how many there are; None: all up to the end.
        place: where reading begins, at `first` or before it; None: at the video's start.
        history: the frames between `place` and `first` have a say in the results, and are translated, not written.
    """

    first: int = 0
    frames: int | None = None
    place: Place | None = None
    history: bool = False


@dataclass(frozen=True)
class PartResult:
    """What came of a part.

    Attributes:
        segments: where its frames are.
        frames: how many there are, those of an earlier run among them.
        new_frames: how many this run made.
        end_s: when the last frame ends.
        steps: the shortest and the longest time between two frames, in seconds.
        readers: what decoded them.
        missing: what a damaged file did not give, in words; None where everything came. Known at the video's end.
        damaged: something of these frames could not be decoded as it was meant.
        first_seen, next_seen: which pictures, at what times, the first frame and the one after the last were; the
            second is empty at the video's end. The next part must begin with what this one ended at.
    """

    segments: tuple[Segment, ...]
    frames: int
    new_frames: int
    end_s: float
    steps: tuple[float, float]
    readers: tuple[str, ...]
    missing: str | None
    damaged: bool
    first_seen: str
    next_seen: str
    interrupted: bool
    times: pipeline.Times | None


def translate_part(
    translate: Translate,
    clip: Clip,
    segments: Segments,
    options: VideoOptions,
    part: Part | None = None,
    *,
    intake: Intake | None = None,
    warm_up: Callable[[int, int, int], None] | None = None,
    begin: Callable[[Clip, int], None] = lambda clip, kept: None,
    advance: Callable[[int], None] = lambda frames: None,
) -> PartResult:
    """Translates a part of a video into segments; `finish` of `translate.py` joins them.

    Args:
        translate: takes what the intake gives, `[N, …]`, and gives uint8 RGB frames `[N, H, W, 3]` or their future.
        clip: the video.
        segments: where its frames go, and those of an earlier run are.
        options: how it is done.
        part: which frames; by default all.
        intake: makes of frames what the network takes; by default they stay as they are.
        warm_up: is called with height, width and batch before the first frame.
        begin: is called with the clip and the number of the first frame that `translate` will be given.
        advance: is called with the number of frames that were written just now.

    Raises:
        MediaError: where the video cannot be read, or a segment not be written.
    """
    work = _Work(translate, clip, segments, options, part or Part(), intake or Pictures())
    begin(clip, work.begins)
    interrupted, times = False, None
    try:
        if warm_up is not None:
            warm_up(*options.size_of(clip), options.batch)
        times = pipeline.run(
            work.batches(),
            work.prepare,
            work.infer,
            lambda batch: advance(work.write(batch)),
            depth=max(FRAMES_IN_A_QUEUE // options.batch, 2),
        )
    except KeyboardInterrupt:
        interrupted = True
    finally:
        segments.finish()
        if not segments.frames:
            segments.remove()
    return work.result(times, interrupted=interrupted)


@dataclass(frozen=True)
class _Batch:
    """Frames on their way; `images` `[N, H, W, …]` may repeat the last frame, so that every batch has one shape."""

    frames: list[Frame]
    images: np.ndarray
    results: np.ndarray | None = None


class _Work:
    """A part on its way through the stages.

    Attributes:
        begins: the first frame that is translated.
    """

    def __init__(
        self,
        translate: Translate,
        clip: Clip,
        segments: Segments,
        options: VideoOptions,
        part: Part,
        intake: Intake,
    ) -> None:
        self._translate, self._segments, self._options, self._part = translate, segments, options, part
        self._intake = intake
        self._size = options.size_of(clip)
        self._aspect = Fraction(1) if options.squares_pixels else clip.sample_aspect_ratio
        self._writes_from = part.first + self._segments.kept
        if part.history:
            self.begins = part.place.frame if part.place is not None else 0
        else:
            self.begins = self._writes_from
        self._next = self.begins
        # the first frame of one part of many is looked at even where an earlier run has written it
        self._reads_from = self.begins if part == Part() else min(self.begins, part.first)
        self._reader = FrameReader(clip, options.reader, skip=self._reads_from, place=part.place)
        self._first_seen = self._next_seen = ""

    def batches(self) -> Iterator[list[Frame]]:
        batch: list[Frame] = []
        for frame in self._frames():
            batch.append(frame)
            if len(batch) == self._options.batch:
                yield batch
                batch = []
        if batch:
            yield batch

    def _frames(self) -> Iterator[Frame]:
        part = self._part
        end = None if part.frames is None else part.first + part.frames
        for number, frame in enumerate(self._reader, self._reads_from):
            if number == end:
                self._next_seen = _seen(frame)
                return
            if number == part.first and part != Part():
                self._first_seen = _seen(frame)
            if number >= self.begins:
                yield frame

    def prepare(self, frames: list[Frame]) -> _Batch:
        images = [self._intake.resized(self._intake.from_frame(frame.image), self._size) for frame in frames]
        return _Batch(frames, np.stack(images + images[-1:] * (self._options.batch - len(images))))

    def infer(self, batch: _Batch) -> _Batch | Future[_Batch]:
        results = self._translate(batch.images)
        if isinstance(results, Future):
            return pipeline.then(results, partial(_Batch, batch.frames, batch.images))
        return _Batch(batch.frames, batch.images, results)

    def write(self, batch: _Batch) -> int:
        """Writes a batch and gives the number of frames that were written."""
        assert batch.results is not None
        written = 0
        for frame, before, after in zip(batch.frames, batch.images, batch.results, strict=False):
            self._next += 1
            if self._next <= self._writes_from:
                continue
            self._segments.write(
                np.concatenate((self._intake.shown(before), after), axis=1) if self._options.compare else after,
                frame.time_s,
                frame.duration_s,
                encoding=self._options.encoding,
                sample_aspect_ratio=self._aspect,
            )
            written += 1
        return written

    def result(self, times: pipeline.Times | None, *, interrupted: bool) -> PartResult:
        is_last = self._part.frames is None and not interrupted
        return PartResult(
            segments=tuple(self._segments.finished()),
            frames=self._segments.frames,
            new_frames=self._segments.frames - self._segments.kept,
            end_s=self._reader.end_s if is_last else self._segments.end_s,
            steps=self._reader.steps,
            readers=tuple(self._reader.used),
            missing=self._reader.missing() if is_last else None,
            damaged=self._reader.lost + self._reader.damaged > 0,
            first_seen=self._first_seen,
            next_seen=self._next_seen,
            interrupted=interrupted,
            times=times,
        )


def _seen(frame: Frame) -> str:
    """Gives what tells a frame from all others: its time and its picture."""
    return f"{round(frame.time_s * TICKS_PER_SECOND)} {hashlib.sha256(frame.image.tobytes()).hexdigest()}"
