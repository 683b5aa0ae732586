"""A video file translated into a video file, with its times and its sound."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.errors import MediaError
from i2i_rt.video import mux, pipeline
from i2i_rt.video.intake import Intake, Pictures
from i2i_rt.video.probe import Clip, probe
from i2i_rt.video.reader import Frame, FrameReader, Reader
from i2i_rt.video.segments import Segments
from i2i_rt.video.sizes import MAX_PIXELS, Size, size_note, target_size
from i2i_rt.video.writer import TICKS_PER_SECOND, Encoding

FRAMES_IN_A_QUEUE = 8

Translate = Callable[[np.ndarray], np.ndarray]  # what the intake gives, [N, …], to uint8 RGB [N, H, W, 3]


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


@dataclass(frozen=True)
class VideoSummary:
    """What came of it. `stages` has, for each stage, its total in seconds and the percentiles per frame in ms."""

    output: Path
    frames: int
    height: int
    width: int
    duration_s: float
    seconds: float
    new_frames: int  # without those of an earlier run
    interrupted: bool
    kept: tuple[str, ...]
    changed: tuple[str, ...]
    warnings: tuple[str, ...]
    stages: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class _Batch:
    """Frames on their way; `images` `[N, H, W, …]` may repeat the last frame, so that every batch has one shape."""

    frames: list[Frame]
    images: np.ndarray
    results: np.ndarray | None = None


def translate_video(
    translate: Translate,
    source: str | Path,
    output: str | Path,
    options: VideoOptions | None = None,
    *,
    model: str = "",
    intake: Intake | None = None,
    warm_up: Callable[[int, int, int], None] | None = None,
    begin: Callable[[Clip, int], None] = lambda clip, kept: None,
    advance: Callable[[int], None] = lambda frames: None,
) -> VideoSummary:
    """Translates a video.

    Ctrl-C ends it early: what was written so far becomes `<name>.partial<suffix>`, and `resume` goes on from there.

    Args:
        translate: takes what the intake gives, `[N, …]`, and gives uint8 RGB frames `[N, H, W, 3]`.
        source: the video.
        output: the result, `.mp4`, `.mov` or `.mkv`; the name appears when it is complete.
        options: how it is done.
        model: what the frames are translated with, in words; `resume` goes on with the same only.
        intake: makes of frames what the network takes; by default they stay as they are.
        warm_up: is called with height, width and batch before the first frame.
        begin: is called with the clip and the number of its frames that an earlier run made, before any other.
        advance: is called with the number of frames that were written just now.

    Raises:
        MediaError: where the video cannot be read, or the result not be written.
    """
    started = time.perf_counter()
    options = options or VideoOptions()
    source, output = Path(source), Path(output)
    clip = probe(source)
    mux.check_output(output)
    if output.exists() and output.samefile(source):
        raise MediaError(f"{output} is the input itself; name another file with -o")
    job = _Job(translate, clip, output, options, model, intake or Pictures())
    with closing(job.segments):
        begin(clip, job.segments.kept)
        interrupted, times = False, None
        try:
            if warm_up is not None:
                warm_up(*job.size, options.batch)
            times = pipeline.run(
                _batches(job.reader, options.batch),
                job.prepare,
                job.infer,
                lambda batch: advance(job.write(batch)),
                depth=max(FRAMES_IN_A_QUEUE // options.batch, 2),
            )
        except KeyboardInterrupt:
            interrupted = True
        finally:
            job.segments.finish()
            if not job.segments.frames:
                job.segments.remove()
        if not job.segments.frames:
            raise KeyboardInterrupt
        end_s = job.segments.end_s if interrupted else job.reader.end_s
        *finished, last = job.segments.finished()
        finished.append(replace(last, end_ticks=round(end_s * TICKS_PER_SECOND)))
        target = output.with_stem(f"{output.stem}.partial") if interrupted else output
        sound = mux.join(finished, target, clip=clip, until_s=end_s if interrupted else None)
        if not interrupted:
            job.segments.remove()
            output.with_stem(f"{output.stem}.partial").unlink(missing_ok=True)
        return VideoSummary(
            output=target,
            frames=job.segments.frames,
            height=job.size[0],
            width=job.size[1] * (2 if options.compare else 1),
            duration_s=end_s,
            seconds=time.perf_counter() - started,
            new_frames=job.segments.frames - job.segments.kept,
            interrupted=interrupted,
            kept=tuple(job.kept(sound)),
            changed=tuple(job.changed(sound)),
            warnings=tuple(job.warnings(sound, complete=not interrupted)),
            stages=_stage_times(times, options.batch) if times is not None else {},
        )


class _Job:
    """One video on its way through the stages, and what can be said of it afterwards."""

    def __init__(
        self, translate: Translate, clip: Clip, output: Path, options: VideoOptions, model: str, intake: Intake
    ) -> None:
        self._translate, self._clip, self._options, self._intake = translate, clip, options, intake
        self._sizing: dict[str, Any] = {"size": options.size, "max_pixels": options.max_pixels, "fixed": options.fixed}
        self.size = target_size(clip.height, clip.width, **self._sizing)
        # an explicit size is the picture's own, so its pixels are square
        self._squared = options.size is not None or options.fixed is not None
        self._aspect = Fraction(1) if self._squared else clip.sample_aspect_ratio
        self.segments = Segments(output, self._identity(model), resume=options.resume)
        self.reader = FrameReader(clip, options.reader, skip=self.segments.kept)

    def _identity(self, model: str) -> dict[str, Any]:
        status, options = self._clip.path.stat(), self._options
        return {
            "input": str(self._clip.path.resolve()),
            "input's size": status.st_size,
            "input's time": status.st_mtime_ns,
            "model": model,
            "size": list(self.size),
            "compare": options.compare,
            "reader": options.reader,
            "crf": options.encoding.crf,
            "preset": options.encoding.preset,
        }

    def prepare(self, frames: list[Frame]) -> _Batch:
        images = [self._intake.resized(self._intake.from_frame(frame.image), self.size) for frame in frames]
        return _Batch(frames, np.stack(images + images[-1:] * (self._options.batch - len(images))))

    def infer(self, batch: _Batch) -> _Batch:
        return _Batch(batch.frames, batch.images, self._translate(batch.images))

    def write(self, batch: _Batch) -> int:
        """Writes a batch and gives the number of its frames."""
        assert batch.results is not None
        for frame, before, after in zip(batch.frames, batch.images, batch.results, strict=False):
            self.segments.write(
                np.concatenate((self._intake.shown(before), after), axis=1) if self._options.compare else after,
                frame.time_s,
                frame.duration_s,
                encoding=self._options.encoding,
                sample_aspect_ratio=self._aspect,
            )
        return len(batch.frames)

    def kept(self, sound: mux.Sound) -> Iterator[str]:
        clip = self._clip
        pace = "varying frame rate" if self.reader.varying else f"{float(clip.frame_rate):.6g} frames/s"
        yield f"{self.segments.frames} frames in order, each at its time ({pace})"
        if clip.rotation:
            yield f"rotation: turned upright by {clip.rotation}°, as the file asks"
        if self._aspect != 1:
            yield f"pixel shape {self._aspect.numerator}:{self._aspect.denominator}"
        for track in sound.tracks:
            yield f"sound: {track}"

    def changed(self, sound: mux.Sound) -> Iterator[str]:
        clip = self._clip
        if self.size != (clip.height, clip.width):
            yield size_note((clip.height, clip.width), self.size, **self._sizing)
        if self._squared and clip.sample_aspect_ratio != 1:
            yield "pixels are square now"
        if any(side % 2 for side in (self.size[0], self.size[1] * (1 + self._options.compare))):
            yield "an odd side was made even by repeating its last row or column"
        if clip.colour != "BT.709 limited":
            yield f"colours: {clip.colour}, became BT.709 limited and tagged so"
        if clip.transfer:
            yield f"high dynamic range ({clip.transfer}) is not kept; the picture looks flat"
        if clip.bits > 8:
            yield f"{clip.bits} bits a colour became 8"
        if clip.has_alpha:
            yield "transparency is not kept"
        if clip.interlaced:
            yield "interlaced fields were translated as whole frames"
        if clip.subtitles:
            yield "subtitles are not kept"
        if clip.tracks and not sound.tracks:
            yield "the sound is not kept"
        if not clip.tracks:
            yield "no sound: the input has none"

    def warnings(self, sound: mux.Sound, *, complete: bool) -> Iterator[str]:
        missing = self.reader.missing() if complete else None
        yield from (text for text in (missing, sound.problem) if text)


def _batches(frames: Iterable[Frame], count: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


def _stage_times(times: pipeline.Times, batch: int) -> dict[str, dict[str, float]]:
    stages = {}
    for stage, seconds in times.items():
        per_frame_ms = np.array(seconds) * 1000 / batch if seconds else np.zeros(1)
        p50, p90, p99 = (float(value) for value in np.percentile(per_frame_ms, (50, 90, 99)))
        stages[stage] = {"total_s": sum(seconds), "p50_ms": p50, "p90_ms": p90, "p99_ms": p99}
    return stages
