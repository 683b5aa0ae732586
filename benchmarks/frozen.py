"""What frozen statistics save, and what they cost: `translate` with and without, side by side.

    python -m i2i_rt.benchmarks.frozen
    python -m i2i_rt.benchmarks.frozen demo/bundle demo/output/clip.mp4 -o benchmarks/results

The networks have the official widths and drawn weights, on which time does not depend; what it costs can be said of a
trained model and a clip only.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from i2i_rt.benchmarks.baked import starganv2
from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.inputs import sample_frames, sample_inputs
from i2i_rt.benchmarks.measure import FULL, QUICK, Rule
from i2i_rt.benchmarks.pairs import RUNS, timed
from i2i_rt.benchmarks.report import Report, Row
from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.export import build, formats, freeze
from i2i_rt.importers.base import Imported
from i2i_rt.importers.table import write_bundle
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.runtime import backends
from i2i_rt.runtime.backends import BACKENDS, Choice
from i2i_rt.video.sample import Sample, sample

SIZE = 256


def cyclegan(width: int) -> Imported:
    networks: dict[str, nn.Module] = {"generator": ResnetGenerator(ResnetGeneratorConfig(width=width))}
    return Imported(networks, (), Preprocessing())


SYSTEMS: dict[str, Callable[[int], Imported]] = {"cyclegan": cyclegan, "starganv2": starganv2}


def measure(name: str, model: Bundle, pictures: Sample, folder: Path, rule: Rule) -> tuple[list[Row], freeze.Cost]:
    """Freezes a model, exports both, and times their `translate` in turns, a backend after the other."""
    statistics, cost = freeze.calibrate(model, pictures)
    constant = freeze.write(model, folder / f"{name}-frozen", statistics, "for a benchmark")
    pairs = formats.plan(["onnx", "openvino"], ["fp32"])
    for bundle in (model, constant):
        build.build(bundle, pairs)
    height, width = pictures.used[0].shape[:2]
    inputs = sample_inputs(model, height, width, 1)
    rows = []
    for backend, precision in RUNS:
        if backends.problem(BACKENDS[backend], precision) is None:
            timings = timed(model, constant, inputs, Choice(BACKENDS[backend], precision, ""), rule)
            for label, timing in zip((name, f"{name} frozen"), timings, strict=True):
                ratios = {} if label == name else {"live": timings[0].p50_ms / timing.p50_ms}
                rows.append(
                    Row(backend, label, precision, height, width, 1, timing, 1000 / timing.mean_ms, ratios=ratios)
                )
    return rows, cost


def _figures(cost: freeze.Cost) -> dict[str, float | str]:
    mean = sum(cost.psnr_db) / len(cost.psnr_db)
    figures: dict[str, float | str] = {
        "frames that statistics were taken from": float(cost.frames),
        f"PSNR to live statistics, mean of {len(cost.psnr_db)} other frames (dB)": mean,
        "PSNR to live statistics, worst of them (dB)": cost.worst_db,
    }
    if cost.live is not None and cost.frozen is not None:
        for name, scores in (
            ("the clip itself", cost.live.input),
            ("live", cost.live.output),
            ("frozen", cost.frozen.output),
        ):
            figures[f"warping error, {name} (levels)"] = scores.warping_error
            figures[f"tOF, {name} (pixels)"] = scores.tof_px
            figures[f"sharpness, {name}"] = scores.sharpness
    return figures


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.frozen",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("trained", nargs="*", metavar="BUNDLE CLIP", help="a trained model, and a clip for it")
    parser.add_argument("--quick", action="store_true", help="fewer runs; the output says that it was quick")
    parser.add_argument("--width", type=int, default=64, help="channels at full resolution (default: 64, the official)")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-frozen"), help="folder for the results")
    arguments = parser.parse_args(words)
    if len(arguments.trained) not in (0, 2):
        parser.error("name both a bundle and a clip, or neither")
    stamp, rule = environment(), QUICK if arguments.quick else FULL
    rows: list[Row] = []
    figures: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = list(sample_frames(SIZE, SIZE, 3))
        for system, make in SYSTEMS.items():
            torch.manual_seed(0)
            model = write_bundle(make(arguments.width), system, folder / system, Provenance("drawn with seed 0", ""))
            rows += measure(system, model, Sample(tuple(photographs[:2]), (photographs[2],)), folder, rule)[0]
        if arguments.trained:
            source, clip = Bundle.open(arguments.trained[0]), Path(arguments.trained[1])
            shutil.copytree(source.path, folder / "trained")
            model = Bundle.open(folder / "trained")
            more, cost = measure("trained", model, sample(clip, freeze.fixed_size(model)), folder, rule)
            rows, figures = rows + more, _figures(cost)
    report = Report("Frozen statistics", str(rule), stamp, tuple(rows), figures)
    record, view = report.write(arguments.output, "frozen")
    print(report.markdown())
    print(f"wrote {record} and {view}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
