"""`i2i-rt eval video`: how steady a translated video is."""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from i2i_rt.bundle import write_json
from i2i_rt.cli.eval_report import add_json_option
from i2i_rt.metrics.temporal import Comparison, compare
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader

VIDEO = """Measures how steady a translated video is, beside its input.

warping error  levels (of 255) by which a frame differs from the one before, moved along the input's motion
tOF            pixels by which the motion differs from the input's
sharpness      variance of the Laplacian
"""


def add(measures: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    video = measures.add_parser(
        "video",
        help="temporal stability of a translated video: warping error, tOF and sharpness",
        description=VIDEO,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    video.add_argument("input", type=Path, help="the video that was translated")
    video.add_argument("output", type=Path, help="its translation, frame by frame, made without --compare")
    add_json_option(video)
    video.set_defaults(evaluate=_video)


def _video(arguments: argparse.Namespace) -> int:
    started_s = time.perf_counter()
    source, result = FrameReader(probe(arguments.input)), FrameReader(probe(arguments.output))
    inputs, outputs = (frame.image for frame in source), (frame.image for frame in result)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        total = source.clip.expected_frames
        comparison = compare(progress.track(inputs, total=total, description="comparing"), outputs)
    more = source.frames > comparison.frames or any(next(images, None) is not None for images in (inputs, outputs))
    _print_scores(comparison, arguments.input, arguments.output)
    if more:
        print(f"the videos differ in length: only the first {comparison.frames} frames were compared")
    for reader in (source, result):
        missing = reader.missing() if not more else None
        if missing:
            print(missing)
    if arguments.json is not None:
        names = {"input": str(arguments.input), "output": str(arguments.output)}
        write_json(arguments.json, {"measure": "video", "files": names, **asdict(comparison)})
        print(f"wrote {arguments.json}")
    print(f"compared {comparison.frames} frames in {time.perf_counter() - started_s:.1f} s")
    return 0


def _print_scores(comparison: Comparison, source: Path, result: Path) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("measure")
    table.add_column(source.name, justify="right")
    table.add_column(result.name, justify="right")
    rows = (
        ("warping error (levels)", "warping_error", ".2f"),
        ("tOF (pixels)", "tof_px", ".3f"),
        ("sharpness", "sharpness", ".0f"),
    )
    for name, field, style in rows:
        values = (format(getattr(scores, field), style) for scores in (comparison.input, comparison.output))
        table.add_row(name, *values)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    print(
        "Warping error alone rewards blur: it counts only beside the sharpness and the tOF, and the input's own values."
    )
