"""What a baked style saves: StarGAN v2 and the Swapping Autoencoder at 256x256, baked and not, side by side.

    python -m i2i_rt.benchmarks.baked -o benchmarks/results

The networks have the official widths and drawn weights, on which time does not depend.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.inputs import sample_inputs
from i2i_rt.benchmarks.measure import FULL, QUICK, Rule
from i2i_rt.benchmarks.pairs import RUNS, timed
from i2i_rt.benchmarks.report import Report, Row
from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.export import bake, build, flops, formats
from i2i_rt.importers.base import Imported
from i2i_rt.importers.table import write_bundle
from i2i_rt.models import stargan, swapping
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.runtime import backends
from i2i_rt.runtime.backends import BACKENDS, Choice
from i2i_rt.spec import StyleInfo

SIZE = 256


def starganv2(width: int) -> Imported:
    networks: dict[str, nn.Module] = {
        "generator": stargan.StarGANGenerator(stargan.StarGANGeneratorConfig(width=width, max_width=8 * width)),
        "mapping_network": stargan.MappingNetwork(stargan.MappingNetworkConfig()),
        "style_encoder": stargan.StarGANStyleEncoder(stargan.StarGANStyleEncoderConfig(width, 8 * width)),
    }
    return Imported(networks, (), Preprocessing(), StyleInfo("network", ("cat", "dog")))


def swapping_autoencoder(width: int) -> Imported:
    widths = tuple(width * factor // 2 for factor in (1, 2, 4, 8, 16))
    networks: dict[str, nn.Module] = {
        "encoder": swapping.SwappingEncoder(
            swapping.SwappingEncoderConfig(widths=widths, texture_widths=(16 * width, 32 * width))
        ),
        "generator": swapping.SwappingGenerator(
            swapping.SwappingGeneratorConfig(
                head_widths=(4 * width, 8 * width), widths=(8 * width, 8 * width, 4 * width, 2 * width)
            )
        ),
    }
    return Imported(networks, (), Preprocessing(), StyleInfo("fitted"))


SYSTEMS: dict[str, Callable[[int], Imported]] = {"starganv2": starganv2, "swapping": swapping_autoencoder}


def measure(system: str, width: int, folder: Path, rule: Rule) -> list[Row]:
    """Exports a system and its baked twin, and times their `translate` in turns, a backend after the other."""
    torch.manual_seed(0)
    model = write_bundle(SYSTEMS[system](width), system, folder / system, Provenance("drawn with seed 0", ""))
    inputs = sample_inputs(model, SIZE, SIZE, 1)
    constant = bake.bake(model, folder / f"{system}-baked", {"style": inputs["style"]}, "a drawn style is baked in")
    pairs = formats.plan(["onnx", "openvino"], ["fp32"])
    for bundle in (model, constant):
        build.build(bundle, pairs)
    cost = {bundle.path: _multiplications(bundle, inputs) for bundle in (model, constant)}
    rows = []
    for name, precision in RUNS:
        if backends.problem(BACKENDS[name], precision) is None:
            timings = timed(model, constant, inputs, Choice(BACKENDS[name], precision, ""), rule)
            for label, bundle, timing in zip((system, f"{system} baked"), (model, constant), timings, strict=True):
                ratios = {} if bundle is model else {"not baked": timings[0].p50_ms / timing.p50_ms}
                note = f"{cost[bundle.path] / 1e9:.4f} G multiply-accumulates"
                rows.append(
                    Row(name, label, precision, SIZE, SIZE, 1, timing, 1000 / timing.mean_ms, ratios=ratios, note=note)
                )
    return rows


def _multiplications(bundle: Bundle, inputs: dict[str, np.ndarray]) -> int:
    (file,) = (
        artifact.file for artifact in bundle.artifacts() if artifact.format == "onnx" and artifact.stage == "translate"
    )
    shapes = {tensor.name: inputs[tensor.name].shape for tensor in bundle.stages["translate"].inputs}
    return flops.count(bundle.path / file, shapes)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.baked",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs; the output says that it was quick")
    parser.add_argument("--width", type=int, default=64, help="channels at full resolution (default: 64, the official)")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-baked"), help="folder for the results")
    arguments = parser.parse_args(words)
    stamp, rule = environment(), QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for system in SYSTEMS for row in measure(system, arguments.width, Path(folder), rule)]
    report = Report("Baked styles", str(rule), stamp, tuple(rows))
    record, view = report.write(arguments.output, "baked")
    print(report.markdown())
    print(f"wrote {record} and {view}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
