"""What SPADE's scales and shifts cost at each resolution, convolved densely and once for each different window.

    python -m i2i_rt.benchmarks.spade_forms labels/ --instances instances/

Both in OpenVINO, as CPU time of one thread, which a busy neighbour does not change much. The share at which both cost
the same, were the rest of the windows equal, decides between the two forms: above 1, each window once always wins.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.benchmarks.report import markdown_table
from i2i_rt.benchmarks.spade import MODELS, Map, Model, add_map_options, maps_of
from i2i_rt.export import onnx, openvino
from i2i_rt.layout import Plan
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig, SpatialNorm, semantics_of
from i2i_rt.runtime.openvino import load
from i2i_rt.spec import Axis, StageSpec, TensorSpec
from i2i_rt.stages.base import Stage
from i2i_rt.stages.spade_layout import Level, divisors, layout_spec, placed_norms

RUNS = 3


class Convolved(nn.Module):
    """Labels and edges `[N, h, w]` to the maps of scales and shifts of some norms, as the network is written."""

    def __init__(self, config: SpadeGeneratorConfig, norms: Sequence[SpatialNorm]) -> None:
        super().__init__()
        self.config, self.norms = config, nn.ModuleList(norms)

    def forward(self, labels: Tensor, edges: Tensor) -> tuple[Tensor, ...]:
        semantics = semantics_of(labels, edges if self.config.edges else None, self.config, torch.float32)
        maps: list[Tensor] = []
        for norm in self.norms:
            assert isinstance(norm, SpatialNorm)
            hidden = functional.relu(norm.shared(semantics))
            maps += [norm.scale(hidden), norm.shift(hidden)]
        return tuple(maps)


def stages(generator: SpadeGenerator, divisor: int) -> tuple[Stage, Stage]:
    """Gives a resolution's scales and shifts as stages: convolved, and from lists of windows."""
    norms = [placed.norm for placed in placed_norms(generator) if placed.divisor == divisor]
    sides, window = (Axis("N"), Axis("h"), Axis("w")), Axis("window", size=generator.config.kernel**2)
    maps = [
        TensorSpec(f"map_{index}", "float32", (Axis("N"), Axis("C"), *sides[1:])) for index in range(2 * len(norms))
    ]
    tables = [TensorSpec(f"table_{index}", "float32", (Axis("U"), Axis("2C"))) for index in range(len(norms))]
    labels = (TensorSpec("labels", "uint8", sides), TensorSpec("edges", "uint8", sides))
    lists = (TensorSpec("patterns", "int32", (Axis("V"), window)), TensorSpec("patches", "int32", (Axis("U"), window)))
    return (
        Stage(StageSpec("convolved", labels, tuple(maps)), Convolved(generator.config, norms).eval()),
        Stage(StageSpec("listed", lists, tuple(tables)), Level(generator.config, norms).eval()),
    )


def measure(model: Model, maps: Sequence[Map], precision: str, width: int) -> list[list[str]]:
    """Gives a line for each resolution: the share of different windows, both times, and the share where they meet."""
    generator = SpadeGenerator(SpadeGeneratorConfig(**{**vars(model.config), "width": width})).eval()
    lines = [["resolution", "different windows", "dense, ms", "each window once, ms", "equal at a share of"]]
    for divisor in divisors(generator):
        with tempfile.TemporaryDirectory() as folder:
            requests = [_compiled(stage, Path(folder), precision) for stage in stages(generator, divisor)]
        taken = []
        for labels, edges in maps:
            plan = Plan(layout_spec(generator))
            plan.update(labels[None], edges[None] if model.config.edges else None)
            lists = plan.layout_inputs()
            windows = {name: lists[f"{name}_{divisor}"] for name in ("patterns", "patches")}
            part = {
                name: np.ascontiguousarray(array[None, ::divisor, ::divisor])
                for name, array in (("labels", labels), ("edges", edges))
            }
            dense, listed = (_seconds(request, given) for request, given in zip(requests, (part, windows), strict=True))
            taken.append((len(windows["patches"]) / part["labels"].size, dense * 1000, listed * 1000))
        share, dense, listed = np.median(taken, axis=0)
        even = np.median([share * dense / listed for share, dense, listed in taken])
        lines.append([f"1/{divisor}", f"{100 * share:.0f} %", f"{dense:.1f}", f"{listed:.1f}", f"{even:.2f}"])
    return lines


def _compiled(stage: Stage, folder: Path, precision: str) -> object:
    graph, file = folder / f"{stage.spec.name}.onnx", folder / f"{stage.spec.name}.xml"
    onnx.build(stage, graph, precision="fp32", metadata={})
    openvino.build(graph, file, metadata={})
    return load(file, precision, threads=1)


def _seconds(request: object, given: dict[str, np.ndarray]) -> float:
    request.infer(given)  # type: ignore[attr-defined]
    samples = []
    for _ in range(RUNS):
        started = time.process_time()
        request.infer(given)  # type: ignore[attr-defined]
        samples.append(time.process_time() - started)
    return float(np.median(samples))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.spade_forms",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_map_options(parser)
    parser.add_argument("--model", default="coco", choices=MODELS, help="the configuration (default: coco)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="default: fp32")
    arguments = parser.parse_args(words)
    model = MODELS[arguments.model]
    maps = maps_of(model, arguments.labels, arguments.instances)
    print(markdown_table(measure(model, maps, arguments.precision, arguments.width)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
