"""A video file translated into a video file, with its times and its sound."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.errors import MediaError
from i2i_rt.video import mux, pipeline
from i2i_rt.video.intake import Intake
from i2i_rt.video.part import PartResult, Translate, VideoOptions, translate_part
from i2i_rt.video.probe import Clip, probe
from i2i_rt.video.segments import Segments
from i2i_rt.video.sizes import size_note
from i2i_rt.video.writer import TICKS_PER_SECOND


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
    with closing(Segments(output, _identity(clip, options, model), resume=options.resume)) as segments:
        result = translate_part(
            translate, clip, segments, options, intake=intake, warm_up=warm_up, begin=begin, advance=advance
        )
        if not result.frames:
            raise KeyboardInterrupt
        summary = finish(clip, output, options, [result])
        if not result.interrupted:
            segments.remove()
            output.with_stem(f"{output.stem}.partial").unlink(missing_ok=True)
    return replace(summary, seconds=time.perf_counter() - started)


def _identity(clip: Clip, options: VideoOptions, model: str) -> dict[str, Any]:
    status = clip.path.stat()
    return {
        "input": str(clip.path.resolve()),
        "input's size": status.st_size,
        "input's time": status.st_mtime_ns,
        "model": model,
        "size": list(options.size_of(clip)),
        "compare": options.compare,
        "reader": options.reader,
        "crf": options.encoding.crf,
        "preset": options.encoding.preset,
    }


def finish(clip: Clip, output: Path, options: VideoOptions, parts: Sequence[PartResult]) -> VideoSummary:
    """Joins the parts of a video into its file, with the sound; the name appears when it is complete.

    Where the last part was interrupted, the file is `<name>.partial<suffix>`.

    Raises:
        MediaError: where the file cannot be written.
    """
    started = time.perf_counter()
    interrupted, end_s = parts[-1].interrupted, parts[-1].end_s
    *segments, last = (segment for part in parts for segment in part.segments)
    segments.append(replace(last, end_ticks=round(end_s * TICKS_PER_SECOND)))
    target = output.with_stem(f"{output.stem}.partial") if interrupted else output
    sound = mux.join(segments, target, clip=clip, until_s=end_s if interrupted else None)
    height, width = options.size_of(clip)
    times = parts[0].times if len(parts) == 1 else None
    return VideoSummary(
        output=target,
        frames=sum(part.frames for part in parts),
        height=height,
        width=width * (2 if options.compare else 1),
        duration_s=end_s,
        seconds=time.perf_counter() - started,
        new_frames=sum(part.new_frames for part in parts),
        interrupted=interrupted,
        kept=tuple(_kept(clip, options, parts, sound)),
        changed=tuple(_changed(clip, options, sound)),
        warnings=tuple(text for text in (parts[-1].missing, sound.problem) if text),
        stages=_stage_times(times, options.batch) if times is not None else {},
    )


def _kept(clip: Clip, options: VideoOptions, parts: Sequence[PartResult], sound: mux.Sound) -> Iterator[str]:
    frames = sum(part.frames for part in parts)
    shortest_s, longest_s = min(part.steps[0] for part in parts), max(part.steps[1] for part in parts)
    varying = frames > 2 and longest_s - shortest_s > 0.002  # containers round to milliseconds
    pace = "varying frame rate" if varying else f"{float(clip.frame_rate):.6g} frames/s"
    yield f"{frames} frames in order, each at its time ({pace})"
    if clip.rotation:
        yield f"rotation: turned upright by {clip.rotation}°, as the file asks"
    aspect = Fraction(1) if options.squares_pixels else clip.sample_aspect_ratio
    if aspect != 1:
        yield f"pixel shape {aspect.numerator}:{aspect.denominator}"
    for track in sound.tracks:
        yield f"sound: {track}"


def _changed(clip: Clip, options: VideoOptions, sound: mux.Sound) -> Iterator[str]:
    size = options.size_of(clip)
    if size != (clip.height, clip.width):
        yield size_note((clip.height, clip.width), size, **options.sizing)
    if options.squares_pixels and clip.sample_aspect_ratio != 1:
        yield "pixels are square now"
    if any(side % 2 for side in (size[0], size[1] * (1 + options.compare))):
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


def _stage_times(times: pipeline.Times, batch: int) -> dict[str, dict[str, float]]:
    stages = {}
    for stage, seconds in times.items():
        per_frame_ms = np.array(seconds) * 1000 / batch if seconds else np.zeros(1)
        p50, p90, p99 = (float(value) for value in np.percentile(per_frame_ms, (50, 90, 99)))
        stages[stage] = {"total_s": sum(seconds), "p50_ms": p50, "p90_ms": p90, "p99_ms": p99}
    return stages
