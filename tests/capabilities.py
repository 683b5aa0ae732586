"""What every system can do, as Markdown: `python -m tests.capabilities`, with `--write` into docs/systems.md.

Marks come from the tables of the package and from the stages of the small configurations in `tests/small`;
`tests/test_capabilities.py` runs each of them. Only the papers, the files and the meaning of options are written here.
"""

import argparse
import ast
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import ModuleType

from i2i_rt.bundle import Network
from i2i_rt.export.formats import FORMATS
from i2i_rt.importers.base import Imported
from i2i_rt.importers.table import IMPORTERS
from i2i_rt.models.table import describe
from i2i_rt.spec import LABEL_STAGES, StageSpec, StyleInfo, TensorSpec
from i2i_rt.stages.table import STAGES, stages_of
from i2i_rt.systems.table import SYSTEMS

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "systems.md"
# the formats that every system is tried in; compiling takes minutes a network, and has tests of its own
COMPARED = (FORMATS["onnx"], FORMATS["openvino"])
# what drawn weights say nothing about: 8 bits have tests of their own
TRAINED_ONLY = ("int8", "fp8")


@dataclass(frozen=True)
class Entry:
    """What no code tells of a system.

    Attributes:
        title: its name.
        paper: where it comes from.
        files: what `i2i-rt import` takes.
        options: the meaning of each option that `--set` can give.
        variants: what tells the small configurations apart, by their names; empty where there is one.
    """

    title: str
    paper: str
    files: str
    options: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)


TEST_MODE = {
    "eval": "batch norm with its running statistics, no dropout, as the official test script does with `--eval` "
    "(false); `--eval` for short",
    "no_dropout": "the U-Net was trained with `--no_dropout` (false); `--no-dropout` for short",
}
GENERATOR = (
    "`latest_net_G.pth` ({}), ResNet or U-Net, with or without low-pass filters, of any width and number of blocks, "
    "old files with unused statistics too"
)
DIRECTION = "`a2b` (the default) or `b2a`: from which domain to which"
NEW_SIZE = "to what the short side of a picture is resized, as in the official test (256)"
STARGAN_FILES = (
    "`100000_nets_ema.ckpt`; for faces also FAN's `wing.ckpt`, in any order, where the first file does not hold it"
)
STARGAN_OPTIONS = {
    "w_hpf": "weight of the high-pass filter of a generator with masks (1, or what the file holds)",
    "domains": "names of the domains in the order of their indices (cat, dog, wild; female, male; domain0 and so on)",
}

ENTRIES = {
    "cyclegan": Entry(
        "CycleGAN",
        "Zhu et al. 2017, arXiv:1703.10593",
        GENERATOR.format("`latest_net_G_A.pth` and `latest_net_G_B.pth` for the two directions"),
        TEST_MODE,
    ),
    "cut": Entry("CUT", "Park et al. 2020, arXiv:2007.15651", GENERATOR.format("or another epoch's"), TEST_MODE),
    "fastcut": Entry(
        "FastCUT", "Park et al. 2020, arXiv:2007.15651", GENERATOR.format("or another epoch's"), TEST_MODE
    ),
    "sincut": Entry(
        "SinCUT",
        "Park et al. 2020, arXiv:2007.15651, section 3.3",
        "`latest_net_G.pth` of the StyleGAN2-type generator that one picture was translated with",
        TEST_MODE,
    ),
    "pix2pix": Entry(
        "pix2pix",
        "Isola et al. 2017, arXiv:1611.07004",
        GENERATOR.format("or another epoch's"),
        TEST_MODE,
        {"pix2pix": "imported without `--eval`", "pix2pix-eval": "imported with `--eval`"},
    ),
    "spade": Entry(
        "SPADE",
        "Park et al. 2019, arXiv:1903.07291",
        "`latest_net_G.pth` and, where it was trained with a VAE, `latest_net_E.pth`, in any order; without the second "
        "there is no style from an image. The three published networks (COCO-Stuff, ADE20K, Cityscapes) need no option",
        {
            "dataset_mode": "`coco`, `ade20k` or `cityscapes`: names, colours and settings of the classes; told by the "
            "number of channels where that is one of theirs",
            "label_nc": "number of classes",
            "contain_dontcare_label": "whether a channel for unknown pixels follows the classes",
            "no_instance": "whether the channel of the edges between instances is left out",
            "num_upsampling_layers": "`normal`, `more` or `most`",
            "crop_size": "width of the pictures of the training",
            "aspect_ratio": "width of the pictures of the training divided by their height",
        },
        {"spade": "without a VAE", "spade-vae": "with a VAE"},
    ),
    "cycada": Entry(
        "CyCADA",
        "Hoffman et al. 2018, arXiv:1711.03213",
        "one network at a time: the generator `latest_net_G_A.pth` or `latest_net_G_B.pth`, or a task network: "
        "`drn26-*.pth`, FCN8s, `LeNet_net_*.pth`, DTN, `adda_*.pth` (of which the target network is taken)",
        {**TEST_MODE, "fineSize": "side of the generator's training pictures (256)"},
        {
            "cycada": "the generator",
            "cycada-drn": "DRN-26",
            "cycada-fcn8s": "FCN8s",
            "cycada-lenet": "LeNet",
            "cycada-dtn": "DTN",
        },
    ),
    "swapping": Entry(
        "Swapping Autoencoder",
        "Park et al. 2020, arXiv:2007.00653",
        "`latest_checkpoint.pth`; discriminators in it are left out",
        {
            "netG_use_noise": "whether the generator adds noise (true)",
            "preprocess": "how a picture is brought to size: `scale_shortside` (the default), `scale_width`, `resize` "
            "or `none`",
            "load_size": "the size that it is brought to; by default that of the training",
        },
    ),
    "step": Entry(
        "StEP",
        "Meshry et al. 2021, CVPR",
        "TensorFlow 1 checkpoints (`model.ckpt-1234`, one of its files, or the folder), read without TensorFlow: the "
        "generator, which brings its style encoder; else the encoder of the pre-training; the mapper",
        {
            "use_scaling": "whether weights are scaled at run time, as in the official code (true)",
            "normalize_drit_Ez": "whether the style encoder normalises (true)",
        },
        {"step": "with the mapper", "step-fitted": "without the mapper"},
    ),
    "gpunit": Entry(
        "GP-UNIT",
        "Yang et al. 2022, arXiv:2204.03641",
        "`content_encoder.pt`, which all tasks share, and a task's file such as `dog2cat.pt`, in any order; the "
        "content encoder is also taken from `prior_distillation-45000.pt`",
        {"useskip": "false switches the dynamic skip connections off (true)"},
        {"gpunit": "with a style sampler in the file", "gpunit-fitted": "without a style sampler"},
    ),
    "egscit": Entry(
        "EGSC-IT",
        "Ma et al. 2019, arXiv:1805.11145",
        "the TensorFlow 1 checkpoints of both stages (`UNIT.model-0`, one of its files, or the folder), read without "
        "TensorFlow; one is enough where it holds both stages' networks",
        {
            "direction": DIRECTION,
            "noise": "false leaves the noise of the shared code out (true: one fixed draw)",
        },
        {"egscit": "street scenes and faces", "egscit-digits": "digits"},
    ),
    "starganv2": Entry(
        "StarGAN v2",
        "Choi et al. 2020, arXiv:1912.01865",
        STARGAN_FILES,
        STARGAN_OPTIONS,
        {"starganv2": "`w_hpf` 0", "starganv2-masks": "`w_hpf` above 0, with masks of the face"},
    ),
    "smoothing": Entry(
        "Smoothing the latent style space",
        "Liu et al. 2021, arXiv:2106.09016",
        STARGAN_FILES,
        STARGAN_OPTIONS,
        {"smoothing": "`w_hpf` 0", "smoothing-masks": "`w_hpf` above 0, with masks of the face"},
    ),
    "tunit": Entry(
        "TUNIT",
        "Baek et al. 2021, arXiv:2006.06500",
        "`model_*.ckpt`, of which the averaged generator and guiding network are taken",
    ),
    "munit": Entry(
        "MUNIT",
        "Huang et al. 2018, arXiv:1804.04732",
        "`gen_*.pt` with the generators of both domains",
        {"direction": DIRECTION, "new_size": NEW_SIZE},
    ),
    "unit": Entry(
        "UNIT",
        "Liu et al. 2017, arXiv:1703.00848",
        "`gen_*.pt` of the later code, or `*_gen_*.pkl` of the older code, whose domains share layers",
        {
            "direction": DIRECTION,
            "new_size": NEW_SIZE,
            "gen": "`COCOResGen` or `COCOResGen2`: the older code's generator, where the file does not tell",
        },
        {"unit": "later code", "unit-shared": "older code"},
    ),
    "bicyclegan": Entry(
        "BicycleGAN",
        "Zhu et al. 2017, arXiv:1711.11586",
        "`latest_net_G.pth` and, for styles from images, `latest_net_E.pth`, in any order",
        {
            "nz": "length of a style, where no encoder tells it (8)",
            "nl": "`relu` (the default), `lrelu` or `elu`",
            "norm": "`instance` (the default) or `none`, of a generator that takes the style in every layer",
        },
        {"bicyclegan": "imported with the encoder", "bicyclegan-drawings": "imported without the encoder"},
    ),
}


@dataclass(frozen=True)
class Model:
    """A small configuration, by its name in `SMALL`."""

    name: str
    system: str
    networks: Mapping[str, Network]
    stages: Mapping[str, StageSpec]
    style: StyleInfo | None

    @property
    def main(self) -> StageSpec:
        return self.stages.get("translate", next(iter(self.stages.values())))

    def covers(self, other: "Model") -> bool:
        """Says whether the graphs of another configuration are among those of this one."""
        return STAGES[self.system] is STAGES[other.system] and other.networks.items() <= self.networks.items()


def small_configurations() -> dict[str, Callable[[], Imported]]:
    """Gives what makes each small configuration, by name: `<system>` or `<system>-<variant>`."""
    files = sorted(path for path in (ROOT / "tests" / "small").glob("*.py") if not path.name.startswith("_"))
    return {
        name: make for path in files for name, make in importlib.import_module(f"tests.small.{path.stem}").SMALL.items()
    }


@cache
def models() -> dict[str, Model]:
    """Gives all small configurations in the order of `ENTRIES`."""
    makers = small_configurations()
    found = {}
    for system in ENTRIES:
        for name in sorted(name for name in makers if name.split("-")[0] == system):
            made = makers[name]()
            stages = {key: stage.spec for key, stage in stages_of(system, made.networks).items()}
            networks = {key: describe(network) for key, network in made.networks.items()}
            found[name] = Model(name, system, networks, stages, made.style)
    return found


def takes_any_size(model: Model) -> str | None:
    return "" if all(axis.size is None for axis in model.main.inputs[0].axes if axis.name in ("H", "W")) else None


def draws_styles(model: Model) -> str | None:
    if model.style is None:
        return None
    return "after `i2i-rt style BUNDLE --fit FOLDER`" if model.style.prior == "fitted" else ""


def has(*stages: str) -> Callable[[Model], str | None]:
    return lambda model: "" if all(stage in model.stages for stage in stages) else None


# A column's title, and what gives None for no mark, else the condition of the mark, empty where there is none.
COLUMNS: dict[str, Callable[[Model], str | None]] = {
    "import": lambda model: "" if model.system in IMPORTERS else None,
    "train": lambda model: "" if model.system in SYSTEMS else None,
    **{
        f"{entry.name} {precision}": lambda model: "" if model.system in STAGES else None
        for entry in COMPARED
        for precision in entry.computes
        if precision not in TRAINED_ONLY
    },
    "any size": takes_any_size,
    "style from an image": has("style_from_image"),
    "style from a seed": draws_styles,
    "video": has("translate"),
    "editing": has("encode", "decode"),
}


def table() -> str:
    """Gives the systems by what they can do, and the footnotes."""
    rows = ["| system | " + " | ".join(COLUMNS) + " |", "|---|" + ":-:|" * len(COLUMNS)]
    notes: list[str] = []
    for system, entry in ENTRIES.items():
        marks = []
        for find in COLUMNS.values():
            conditions = {model.name: find(model) for model in models().values() if model.system == system}
            mark, note = "✓" if set(conditions.values()) != {None} else "–", _note(entry, conditions)
            if note:
                notes += [note] if note not in notes else []
                mark += f" [^{notes.index(note) + 1}]"
            marks.append(mark)
        rows.append(f"| [{system}](#{_anchor(entry.title)}) | " + " | ".join(marks) + " |")
    return "\n".join([*rows, "", *(f"[^{index}]: {note}" for index, note in enumerate(notes, 1))])


def _note(entry: Entry, conditions: Mapping[str, str | None]) -> str:
    """Says what a mark depends on: the same condition always, or one for each variant."""
    if len(set(conditions.values())) == 1:
        condition = next(iter(conditions.values()))
        return f"{condition[0].upper()}{condition[1:]}." if condition else ""
    words = {None: "no", "": "yes"}
    parts = [f"{entry.variants[name]}: {words.get(found, found)}" for name, found in conditions.items()]
    return f"{entry.title}, {'; '.join(parts)}."


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def section(system: str) -> str:
    """Gives what there is to know of one system."""
    entry = ENTRIES[system]
    lines = [f"## {entry.title}", "", f"`i2i-rt import {system}` · {entry.paper}", "", f"Files: {entry.files}.", ""]
    kinds = options_of(system)
    if kinds:
        lines += ["| `--set` | value | meaning (default) |", "|---|---|---|"]
        lines += [f"| `{name}` | {kinds[name]} | {meaning} |" for name, meaning in entry.options.items()]
        lines.append("")
    variants = [model for model in models().values() if model.system == system]
    shown: dict[str, list[str]] = {}
    for model in variants:
        for stage in model.stages.values():
            shown.setdefault(_stage(stage), []).append(model.name)
    for line, names in shown.items():
        only = "" if len(names) == len(variants) else f" ({', '.join(entry.variants[name] for name in names)})"
        lines.append(f"- {line}{only}")
    return "\n".join(lines)


def _stage(spec: StageSpec) -> str:
    if spec.name in LABEL_STAGES:
        return f"`{spec.name}`: a half of `translate`; [SPADE in two stages](spade.md) has its tensors"
    tensors = (", ".join(_tensor(tensor) for tensor in side) for side in (spec.inputs, spec.outputs))
    return f"`{spec.name}`: " + " → ".join(tensors)


def _tensor(tensor: TensorSpec) -> str:
    # lengths that widths decide are shown by their names: those of a small configuration say nothing
    own = ("N", "C", "moment", "M")
    axes = [str(axis.size) if axis.size is not None and axis.name in own else axis.name for axis in tensor.axes]
    fixed = any(axis.size is not None and axis.name in ("H", "W") for axis in tensor.axes)
    return f"{tensor.name} `[{', '.join(axes)}]` {tensor.dtype}{' of one size' if fixed else ''}"


KINDS = {
    "text": "text",
    "integer": "whole number",
    "number": "number",
    "flag": "true or false",
    "names": "names, separated by commas",
}


def options_of(system: str) -> dict[str, str]:
    """Finds the options that a system's importer asks for in its code, and in that of importers that it builds on."""
    importer = IMPORTERS[system]
    function = importer.func if isinstance(importer, partial) else importer
    module = inspect.getmodule(function)
    assert module is not None
    found: dict[str, str] = {}
    for part in _with_imported(module):
        for name, kind in _asked(ast.parse(inspect.getsource(part))):
            if kind != "text" or name not in found:
                found[name] = KINDS[kind]
    return found


def _with_imported(module: ModuleType) -> Iterator[ModuleType]:
    yield module
    for part in vars(module).values():
        if isinstance(part, ModuleType) and part.__name__.startswith("i2i_rt.importers."):
            yield part


def _asked(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Gives the names and kinds in calls such as `options.integer("load_size", 256)`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="options"), attr=kind), args=[ast.Constant(value=str(name)), *_]
            ) if kind in KINDS:
                yield name, kind


HEAD = """# Systems

What each system can do. The file is written by `python -m tests.capabilities --write`; `tests/test_capabilities.py`
runs what every mark says on a small network: the graphs against PyTorch at two sizes and two batches, styles, a clip,
a style baked in.

"""
MIDDLE = """

- Columns such as *onnx fp16* are export formats with what they compute in ([formats](formats.md)).
- *Any size*: frames of any height and width. Models that are bound to one size get frames resized to it.
- *Style from a seed* includes the mean style. A style can also be baked in: `i2i-rt export BUNDLE --bake-style FILE`.
- *Video* includes cameras (`i2i-rt live`). SPADE takes label maps in place of pictures, in videos too.
- *Editing* is `i2i-rt edit`: swapping, mixing, directions, components, regions.

Below, for each system: what it was published as, the official files that `i2i-rt import` takes (`.safetensors` with
the same keys too), the options that `--set NAME=VALUE` gives where neither files nor the official options file beside
them tell, by their official names, and its stages with their inputs and outputs. Letters stand for lengths: N frames of
H by W pixels.
"""


def markdown() -> str:
    """Gives the whole document."""
    return HEAD + table() + MIDDLE + "".join(f"\n{section(system)}\n" for system in ENTRIES)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.capabilities", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/systems.md instead of printing")
    if parser.parse_args().write:
        DOCUMENT.write_text(markdown())
    else:
        print(markdown(), end="")
