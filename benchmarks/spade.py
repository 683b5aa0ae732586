"""What two stages save for SPADE: operations and times, dense and in two stages, for label maps of a folder.

    python -m i2i_rt.benchmarks.spade labels/ --instances instances/ -o benchmarks/results
    python -m i2i_rt.benchmarks.spade labels/ --instances instances/ --operations

The networks are those of the published configurations, with drawn weights, on which time does not depend. Labels of
another data set stand for the classes: what counts are the shapes. Without a folder, maps are drawn. Two stages
include the plan; each time a map is measured it is shifted a little, so that its tables have another length.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.inputs import drawn_labels
from i2i_rt.benchmarks.measure import Timing
from i2i_rt.benchmarks.report import Report, Row, markdown_table
from i2i_rt.bundle import Bundle, Provenance, write_json
from i2i_rt.errors import MediaError
from i2i_rt.export import build, formats
from i2i_rt.importers.base import Imported
from i2i_rt.importers.table import write_bundle
from i2i_rt.label_maps import UNKNOWN, edges_of, read_instances, resize
from i2i_rt.label_names import label_info
from i2i_rt.label_translator import LabelTranslator
from i2i_rt.layout import Level, Plan
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.runtime import backends
from i2i_rt.runtime.backends import BACKENDS, Choice
from i2i_rt.runtime.gates import GATES_DB
from i2i_rt.runtime.session import Session
from i2i_rt.spec import StyleInfo
from i2i_rt.stages.spade_layout import layout_spec, placed_norms

ROUNDS, QUICK_ROUNDS, QUICK_MAPS = 3, 1, 3
SHIFT_PX = 8  # of a map from one round to the next
PAINTED = 0.05  # of a map, by a square of one class
DRAWN_MAPS = 8

Map = tuple[np.ndarray, np.ndarray]  # labels and edges [H, W], uint8


@dataclass(frozen=True)
class Model:
    """A published configuration, the data set whose classes it has, its size, and the backends that are measured."""

    title: str
    config: SpadeGeneratorConfig
    data_set: str
    size: tuple[int, int]
    runs: tuple[tuple[str, str], ...]


OPENVINO = (("openvino", "fp32"), ("openvino", "bf16"))
MODELS = {
    "coco": Model("COCO-Stuff", SpadeGeneratorConfig(), "coco", (256, 256), (*OPENVINO, ("onnxruntime", "fp32"))),
    "coco-vae": Model(
        "COCO-Stuff, VAE", SpadeGeneratorConfig(style=256, first_size=(8, 8)), "coco", (256, 256), OPENVINO
    ),
    "ade20k": Model("ADE20K", SpadeGeneratorConfig(150, edges=False), "ade20k", (256, 256), ()),
    "cityscapes": Model(
        "Cityscapes", SpadeGeneratorConfig(35, unknown=False, upsampling="more"), "cityscapes", (256, 512), OPENVINO
    ),
}


def maps_of(model: Model, folders: Sequence[Path], instances: Sequence[Path]) -> list[Map]:
    """Reads a folder's label maps at a model's size, with instance maps of the same names; draws some without one.

    Raises:
        MediaError: where a folder has no map, or a map no instances.
    """
    classes, (height, width) = model.config.classes, model.size
    if not folders:
        drawn = drawn_labels(classes, height, width, DRAWN_MAPS)
        return [(labels, edges_of(labels) if model.config.edges else np.zeros_like(labels)) for labels in drawn]
    found = []
    for file in [file for folder in folders for file in sorted(folder.glob("*.png"))]:
        values = resize(read_instances(file), width, height)
        unknown = values == UNKNOWN if model.config.unknown else np.zeros(values.shape, bool)
        labels = np.where(unknown, UNKNOWN, values % classes).astype(np.uint8)
        edges = np.zeros_like(labels)
        if instances and model.config.edges:
            beside = [folder / file.name for folder in instances if (folder / file.name).is_file()]
            if not beside:
                raise MediaError(f"{file} has no instance map of its name in {' or '.join(map(str, instances))}")
            edges = edges_of(resize(read_instances(beside[0]), width, height))
        found.append((labels, edges))
    if not found:
        raise MediaError(f"{' and '.join(map(str, folders))} holds no label map (.png)")
    return found


# ---- operations


@dataclass(frozen=True)
class Operations:
    """Multiply-accumulates of one picture by how scales and shifts are computed, and the shares of the windows.

    Attributes:
        dense: as the network is written.
        columns: the first convolution as sums of weight columns.
        edges: beside that, rows of a table where all 5x5 symbols are one, convolutions elsewhere.
        distinct: beside the first, each different neighbourhood once.
        known: with the tables of the map at hand.
        distinct_shares: of different neighbourhoods among the positions, by resolution, lowest first.
    """

    dense: float
    columns: float
    edges: float
    distinct: float
    known: float
    distinct_shares: Mapping[int, float]


def operations(model: Model, maps: Sequence[Map]) -> Operations:
    """Counts for each map and gives the means."""
    config, (height, width) = model.config, model.size
    with torch.device("meta"):
        generator = SpadeGenerator(config)
    norms, taps = placed_norms(generator), config.kernel**2
    plan = Plan(layout_spec(generator))
    shares = {divisor: np.zeros(2) for divisor in plan.levels}  # of distinct, of mixed windows
    for labels, edges in maps:
        plan = Plan(layout_spec(generator))
        plan.update(labels[None], edges[None])
        for divisor, level in plan.levels.items():
            shares[divisor] += np.array(_shares(level)) / len(maps)
    positions = {divisor: height * width // divisor**2 for divisor in plan.levels}
    shared = sum(positions[p.divisor] * config.channels * config.hidden * taps for p in norms)
    second = {
        p.name: positions[p.divisor] * config.hidden * taps * 2 * p.norm.scale.out_channels for p in norms
    }  # fmt: skip
    known = _backbone(generator, positions)
    distinct, mixed = (sum(second[p.name] * shares[p.divisor][index] for p in norms) for index in (0, 1))
    whole = sum(second.values())
    return Operations(
        dense=known + shared + whole,
        columns=known + whole,
        edges=known + mixed,
        distinct=known + distinct,
        known=known,
        distinct_shares={divisor: float(share[0]) for divisor, share in shares.items()},
    )


def _shares(level: Level) -> tuple[float, float]:
    """Gives the shares of different windows, and of windows of several symbols, among a level's positions."""
    patches, patterns = level.patches.windows, level.patterns.windows
    one_symbol = (patterns == patterns[:, :1]).all(1) & (patterns[:, 0] >= 0)
    uniform = (patches == patches[:, :1]).all(1) & one_symbol[patches[:, 0]] & (patches[:, 0] >= 0)
    return len(patches) / level.patches.numbers.size, 1 - float(uniform[level.patches.numbers].mean())


def _backbone(generator: SpadeGenerator, positions: Mapping[int, int]) -> int:
    """Counts what does not depend on the label map: the blocks' convolutions, the first and the last layer."""
    divisor, total = generator.multiple, 0
    for index, block in enumerate(generator.blocks):
        divisor //= 2 if generator.doubles_before(index) else 1
        weights = (part.weight for part in block.children() if isinstance(part, nn.Conv2d))
        total += positions[divisor] * sum(weight.numel() for weight in weights)
    first = generator.first.weight
    assert isinstance(first, torch.Tensor)
    once = positions[generator.multiple] if first.ndim == 4 else 1
    return total + first.numel() * once + generator.last.weight.numel() * positions[1]


def operations_table(found: Mapping[str, Operations]) -> list[list[str]]:
    """Gives the counts as text: GMACs and how many times fewer they are than dense."""
    header = [
        "",
        "dense",
        "columns",
        "table + edges",
        "distinct windows",
        "known map",
        "distinct windows, % by resolution",
    ]
    lines = [header]
    for title, one in found.items():
        cells = [f"{one.dense / 1e9:.1f}"]
        for count in (one.columns, one.edges, one.distinct, one.known):
            cells.append(f"{count / 1e9:.1f} ({one.dense / count:.2f}x)")
        shares = ", ".join(f"1/{divisor}: {100 * share:.0f}" for divisor, share in one.distinct_shares.items())
        lines.append([title, *cells, shares])
    return lines


# ---- times


def drawn_bundle(model: Model, path: Path, width: int) -> Bundle:
    """Writes a model with drawn weights that keep its features in range."""
    config = SpadeGeneratorConfig(**{**vars(model.config), "width": width})
    torch.manual_seed(0)
    network = SpadeGenerator(config)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, 0.2)
            if name.endswith((".scale", ".shift", "last")):
                module.weight.data.mul_(0.3)
    info = label_info(model.data_set, config.classes, unknown=config.unknown, edges=config.edges)
    style = StyleInfo("normal", mixing="spherical") if config.style else None
    made = Imported({"generator": network.eval()}, (), Preprocessing("resize"), style=style, labels=info)
    return write_bundle(made, "spade", path, Provenance("drawn with seed 0", ""))


def measure(name: str, maps: Sequence[Map], width: int, rounds: int, folder: Path) -> list[Row]:
    """Exports a model and times its dense stage and the two stages in turns, a backend after the other."""
    model = MODELS[name]
    print(f"{model.title}: exporting", file=sys.stderr)
    bundle = drawn_bundle(model, folder / name, width)
    build.build(bundle, formats.plan(sorted({BACKENDS[run].format or "" for run, _ in model.runs}), ["fp32"]))
    rows = []
    for backend, precision in model.runs:
        if backends.problem(BACKENDS[backend], precision) is None:
            print(f"{model.title}: {backend} in {precision}", file=sys.stderr)
            with backends.open_session(bundle, Choice(BACKENDS[backend], precision, "")) as session:
                rows += _Comparison(name, session, model).rows(maps, rounds)
    return rows


class _Comparison:
    """Times one session on label maps, dense and in two stages, each case's samples a list a round."""

    def __init__(self, name: str, session: Session, model: Model) -> None:
        self._name, self._session, self._model = name, session, model
        self._split = LabelTranslator(session)
        self._random = np.random.default_rng(0)
        self._cases = ["dense", "another map", f"{100 * PAINTED:.0f} % repainted"]
        self._cases += ["another style"] if model.config.style else []

    def rows(self, maps: Sequence[Map], rounds: int) -> list[Row]:
        psnr, largest = self._check(maps[0])
        samples: dict[str, list[list[float]]] = {case: [] for case in self._cases}
        for number in range(rounds):
            taken = [self._once(one, number) for one in maps]
            for case in self._cases:
                samples[case].append([times[case] for times in taken])
        dense, *split = (self._row(case, samples) for case in self._cases)
        split = [replace(row, psnr_db=psnr, largest_difference=largest) for row in split]
        split[0] = replace(split[0], note=self._parts(maps))
        return [dense, *split]

    def _inputs(self, one: Map, number: int) -> dict[str, np.ndarray]:
        labels, edges = (np.roll(part, SHIFT_PX * number, 1)[None] for part in one)
        inputs = {"labels": labels, "edges": edges} if self._model.config.edges else {"labels": labels}
        return self._styled(inputs)

    def _styled(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not self._model.config.style:
            return inputs
        return {**inputs, "style": self._random.standard_normal((1, self._model.config.style), np.float32)}

    def _painted(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        labels = inputs["labels"].copy()
        _, height, width = labels.shape
        side = round((PAINTED * height * width) ** 0.5)
        top, left = self._random.integers(0, height - side), self._random.integers(0, width - side)
        labels[0, top : top + side, left : left + side] = self._random.integers(0, self._model.config.classes)
        return {**inputs, "labels": labels}

    def _once(self, one: Map, number: int) -> dict[str, float]:
        inputs = self._inputs(one, number)
        self._split.forget()
        runs: dict[str, Callable[[], object]] = {
            "dense": lambda: self._session.run("translate", inputs),
            "another map": lambda: self._split(inputs),
        }
        if self._model.config.style:
            styled = self._styled(inputs)
            runs["another style"] = lambda: self._split(styled)
        painted = self._painted(inputs)
        runs[self._cases[2]] = lambda: self._split(painted)
        times = {}
        for case, run in runs.items():
            started = time.perf_counter()
            run()
            times[case] = time.perf_counter() - started
        return times

    def _check(self, one: Map) -> tuple[float | None, int]:
        """Compares the pictures: a wrong one has no time. Warms up too."""
        inputs = self._inputs(one, 0)
        dense = self._session.run("translate", inputs)["translated"].astype(np.float64)
        difference = self._split(inputs) - dense
        error = float(np.square(difference).mean())
        psnr = None if error == 0 else 10 * float(np.log10(255**2 / error))
        if psnr is not None and psnr < GATES_DB[self._session.precision]:
            raise AssertionError(f"{self._name}: two stages give another picture, {psnr:.1f} dB")
        return psnr, int(np.abs(difference).max())

    def _parts(self, maps: Sequence[Map]) -> str:
        """Says what the parts of another map take, medians over the maps."""
        times = []
        for one in maps:
            inputs = self._inputs(one, 0)
            labels, edges = inputs["labels"], inputs.get("edges")
            plan, ends = Plan(self._session.stages["layout"]), [time.perf_counter()]
            plan.update(labels, edges)
            lists = plan.layout_inputs()
            ends.append(time.perf_counter())
            tables = self._session.run("layout", lists)
            ends.append(time.perf_counter())
            given = {**inputs, **plan.render_inputs(labels, edges), **tables}
            self._session.run("render", {t.name: given[t.name] for t in self._session.stages["render"].inputs})
            ends.append(time.perf_counter())
            times.append(np.diff(ends))
        planned, layout, render = 1000 * np.median(times, axis=0)
        return f"plan {planned:.1f} ms, layout {layout:.0f} ms, render {render:.0f} ms"

    def _row(self, case: str, samples: Mapping[str, list[list[float]]]) -> Row:
        timing = Timing.of(samples[case])
        ratios = {}
        if case != "dense":
            # the median over the maps, each with the medians of its own rounds
            dense, split = (np.median(np.array(samples[which]), axis=0) for which in ("dense", case))
            ratios = {"dense": float(np.median(dense / split))}
        name, (height, width) = f"{self._name} {self._session.backend}", self._model.size
        return Row(
            case, name, self._session.precision, height, width, 1, timing, 1000 / timing.mean_ms, ratios=ratios
        )  # fmt: skip


def add_map_options(parser: argparse.ArgumentParser) -> None:
    """Adds what says which maps are drawn, and how wide the network is."""
    parser.add_argument("labels", nargs="*", type=Path, help="folders of label maps (default: maps are drawn)")
    parser.add_argument(
        "--instances", nargs="*", type=Path, default=[], help="folders with instance maps of their names"
    )
    parser.add_argument("--width", type=int, default=64, help="channels at full resolution (default: 64, the official)")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.spade",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_map_options(parser)
    parser.add_argument("--models", default="coco,coco-vae,cityscapes", help=f"comma-separated: {', '.join(MODELS)}")
    parser.add_argument("--operations", action="store_true", help="only count operations, for all models")
    parser.add_argument("--quick", action="store_true", help="fewer maps and rounds; the output says that it was quick")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-spade"), help="folder for the results")
    arguments = parser.parse_args(words)
    names = arguments.models.split(",")
    stamp = environment()
    maps = {name: maps_of(MODELS[name], arguments.labels, arguments.instances) for name in MODELS}
    counted = {
        f"{MODELS[name].title} {one[0][0].shape[0]}x{one[0][0].shape[1]}": operations(MODELS[name], one)
        for name, one in maps.items()
        if not MODELS[name].config.style
    }
    _write_operations(counted, len(maps["coco"]), arguments.output)
    if arguments.operations:
        return 0
    rounds = QUICK_ROUNDS if arguments.quick else ROUNDS
    taken = {name: one[:QUICK_MAPS] if arguments.quick else one for name, one in maps.items()}
    rows: list[Row] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(name, taken[name], arguments.width, rounds, Path(folder))
    rule = (
        f"{'quick, ' if arguments.quick else ''}in {rounds} rounds over {len(taken[names[0]])} label maps, all cases "
        "of a map in turns; ratios are medians over the maps"
    )
    report = Report("SPADE in two stages", rule, stamp, tuple(rows))
    record, view = report.write(arguments.output, "spade")
    print(report.markdown())
    print(f"wrote {record} and {view}")
    return 0


def _write_operations(counted: Mapping[str, Operations], maps: int, folder: Path) -> None:
    text = f"GMACs of a picture, means over {maps} label maps.\n\n{markdown_table(operations_table(counted))}\n"
    folder.mkdir(parents=True, exist_ok=True)
    record, view = folder / "spade-operations.json", folder / "spade-operations.md"
    view.write_text(f"# Operations of SPADE\n\n{text}")
    write_json(record, {title: vars(one) for title, one in counted.items()})
    print(f"{text}\nwrote {record} and {view}")


if __name__ == "__main__":
    sys.exit(main())
