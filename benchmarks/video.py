"""The translation of a video, from file to file, against the bare model on as many frames.

They alternate: pipeline, bare, bare, pipeline, so that a machine that grows slower or faster treats both alike. The
model is loaded and warm in both; opening the clip, decoding, encoding and joining the file count for the pipeline.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.inputs import sample_frames, sample_labels, sample_style
from i2i_rt.benchmarks.measure import Timing, current_memory_mib
from i2i_rt.benchmarks.report import Report, Row
from i2i_rt.bundle import Bundle
from i2i_rt.label_maps import colourise
from i2i_rt.runtime.backends import Fused
from i2i_rt.spec import LabelInfo
from i2i_rt.translator import Translator
from i2i_rt.video.intake import Intake, intake_of
from i2i_rt.video.part import VideoOptions
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader
from i2i_rt.video.sizes import MAX_PIXELS, Size, target_size
from i2i_rt.video.translate import translate_video
from i2i_rt.video.writer import VideoWriter

RATIO_TARGET = 1.2  # pipeline / bare model
GROWTH_TARGET_MIB = 30 * 1e6 / 2**20
SETTLED_FRAME = 50  # memory is compared from here on: queues and the encoder's look-ahead are full
FRAMES_IN_MEMORY = 32  # the bare model goes round these


@dataclass
class _Pass:
    """One pass through the clip: when each frame was done, and the memory then."""

    started: float = field(default_factory=time.perf_counter)
    times: list[float] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    cpu_started: float = field(default_factory=time.process_time)
    seconds: float = 0.0
    cpu_s: float = 0.0
    stages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def advance(self, frames: int) -> None:
        self.times.append(time.perf_counter())
        self.memory_mib.append(current_memory_mib() or 0.0)

    def end(self) -> None:
        self.seconds = time.perf_counter() - self.started
        self.cpu_s = time.process_time() - self.cpu_started

    def intervals(self) -> list[float]:
        return list(np.diff([self.started, *self.times]))

    def growth_mib(self) -> float:
        """Gives the most that memory rose above its value at the settled frame."""
        start = min(SETTLED_FRAME, len(self.memory_mib)) - 1
        return max(self.memory_mib[start:]) - self.memory_mib[start]


def measure(
    bundle: Bundle,
    clip: Path | None,
    *,
    frames: int,
    size: Size | None,
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    build: bool = True,
    fused: Fused = "auto",
    server: str | None = None,
    quick: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Report:
    """Measures a clip, or `frames` frames of a moving photograph at `size`; once instead of twice where `quick`.

    Raises:
        I2IError: where the bundle cannot be run as asked, or the clip not be read.
    """
    stamp = environment(bundle=bundle, threads=threads)
    intake = intake_of(bundle)
    fixed = bundle.stages["translate"].fixed_size if "translate" in bundle.stages else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if clip is None:
            progress(f"making a clip of {frames} frames")
            clip = folder / "clip.mp4"
            write_sample_clip(clip, frames, fixed or size or (256, 256), bundle.labels)
            source = f"{frames} frames of a moving {'label map' if bundle.labels else 'photograph'}"
        else:
            source = clip.name
        found = probe(clip)
        size = target_size(found.height, found.width, size=size, max_pixels=MAX_PIXELS, fixed=fixed)
        images = [frame.image for frame in itertools.islice(FrameReader(found), FRAMES_IN_MEMORY)]
        pictures = [intake.resized(intake.from_frame(image), size) for image in images]
        progress("loading the model")
        with Translator.load(
            bundle.path,
            backend=backend,
            precision=precision,
            threads=threads,
            build=build,
            fused=fused,
            server=server,
        ) as translator:
            if translator.has_style:
                translator.current_style = sample_style(bundle)
            translator.warm_up(*size)
            pipelines, bare = [], []
            for is_pipeline in (True, False) if quick else (True, False, False, True):
                progress(f"{'pipeline, from file to file' if is_pipeline else 'bare model'}: {source}")
                if is_pipeline:
                    options = VideoOptions(size=size, fixed=fixed)
                    pipelines.append(_pipeline(translator, clip, folder / "result.mp4", options, intake))
                else:
                    bare.append(_bare(translator, pictures, len(pipelines[0].times)))
            session, in_turn = translator.session, translator.session.workers is None
    rows = tuple(
        _row(f"{label} {session.backend}", session.precision, size, passes)
        for label, passes in (("pipeline,", pipelines), ("bare model,", bare))
    )
    rule = f"quick, once through {source}" if quick else f"twice through {source}"
    rule += f" at {size[0]}x{size[1]}{', the only size of the model' if fixed else ''}, alternating"
    title = f"Video through {bundle.path.resolve().name} ({bundle.system})"
    return Report(title, rule, stamp, rows, _figures(pipelines, bare, in_turn=in_turn))


def _pipeline(translator: Translator, clip: Path, output: Path, options: VideoOptions, intake: Intake) -> _Pass:
    done = _Pass()
    summary = translate_video(translator.begin, clip, output, options, intake=intake, advance=done.advance)
    done.end()
    done.stages = summary.stages
    return done


def _bare(translator: Translator, pictures: list[np.ndarray], frames: int) -> _Pass:
    done = _Pass()
    for picture in itertools.islice(itertools.cycle(pictures), frames):
        translator(picture)
        done.advance(1)
    done.end()
    return done


def _row(name: str, precision: str, size: Size, passes: list[_Pass]) -> Row:
    seconds, frames = sum(one.seconds for one in passes), sum(len(one.times) for one in passes)
    timing = Timing.of([one.intervals() for one in passes])
    return Row("video", name, precision, *size, batch=1, timing=timing, images_per_s=frames / seconds)


def _figures(pipelines: list[_Pass], bare: list[_Pass], *, in_turn: bool) -> dict[str, float | str]:
    seconds, bare_s = (sum(one.seconds for one in passes) for passes in (pipelines, bare))
    ratio = seconds / bare_s
    growth = pipelines[0].growth_mib()
    frames = len(pipelines[0].times)
    figures: dict[str, float | str] = {
        "frames": float(frames),
        "pipeline, s a pass": ", ".join(f"{one.seconds:.2f}" for one in pipelines),
        "bare model, s a pass": ", ".join(f"{one.seconds:.2f}" for one in bare),
        "pipeline / bare model": ratio,
        f"target: at most {RATIO_TARGET}": _mark(ratio <= RATIO_TARGET),
        "the same in CPU time": sum(one.cpu_s for one in pipelines) / sum(one.cpu_s for one in bare),
    }
    if ratio < 1:
        figures["a ratio below 1"] = (
            "other work on this machine disturbed the bare model: measure again when it is quiet"
            if in_turn
            else "the bare model waits for each frame; the pipeline has several at the server at once"
        )
    if frames > SETTLED_FRAME and current_memory_mib() is not None:
        figures[f"memory growth after frame {SETTLED_FRAME}, MiB"] = growth
        figures[f"target: below {GROWTH_TARGET_MIB:.1f} MiB"] = _mark(growth < GROWTH_TARGET_MIB)
    for stage in pipelines[0].stages:
        total = sum(one.stages[stage]["total_s"] for one in pipelines) / len(pipelines)
        figures[f"{stage}, s at work a pass (side by side)"] = total
    return figures


def _mark(reached: bool) -> str:
    return "[✓]" if reached else "[x]"


def write_sample_clip(file: Path, frames: int, size: Size, labels: LabelInfo | None = None) -> None:
    """Writes a clip at 30 frames a second in which the camera glides over a photograph, or a painted label map."""
    height, width = size
    room = height * 5 // 4 + 1, width * 5 // 4 + 1
    picture = sample_frames(*room, 1)[0] if labels is None else colourise(sample_labels(labels, *room, 1)[0], labels)
    way = cv2.INTER_LINEAR if labels is None else cv2.INTER_NEAREST
    with VideoWriter(file, height, width) as writer:
        for index in range(frames):
            angle = 2 * np.pi * index / 150
            shift = (np.sin(angle) + 1) * width / 8, (np.cos(angle) + 1) * height / 8
            matrix = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]], np.float32)
            writer.write(cv2.warpAffine(picture, matrix, (width, height), flags=way), index / 30, 1 / 30)
