"""CycleGAN, CUT, FastCUT, SinCUT, pix2pix, CyCADA: one generator, set up as the official test script would run it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from i2i_rt.checkpoint import OfficialNetwork, identify, read_state
from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Imported, Options, require_frames
from i2i_rt.preprocessing import Preprocessing

# the kinds of generator that each system's official code can have
GENERATORS = {
    "cyclegan": ("resnet-generator", "unet-generator"),
    "cut": ("resnet-generator", "unet-generator"),
    "fastcut": ("resnet-generator", "unet-generator"),
    "sincut": ("sincut-generator",),
    "pix2pix": ("unet-generator", "resnet-generator"),
    "cycada": ("resnet-generator",),
}


def read(system: str, files: Sequence[Path], options: Options) -> Imported:
    """Reads a generator's checkpoint: the official `latest_net_G.pth`, or `.safetensors` with the same keys.

    The official test scripts of CycleGAN, CUT and pix2pix leave the network in training mode: batch norm uses the
    statistics of the one test image, dropout stays on. The bundle does the same, with one fixed draw of dropout.

    Options: `eval`, as the official test script's `--eval`: running statistics, no dropout. `no_dropout`, for U-Nets
    that were trained with it, which leaves no trace in the file.
    """
    evaluation_mode, no_dropout = options.flag("eval"), options.flag("no_dropout")
    if len(files) != 1:
        raise I2IError(f"{system} has one generator; give one file, not {len(files)}")
    file = files[0]
    found = identify(read_state(file), str(file))
    if found.network.kind not in GENERATORS[system]:
        raise CheckpointError(_mismatch(system, file, found))
    require_frames(found.network.config["in_channels"], found.network.config["out_channels"])
    # a U-Net's dropout leaves no trace: only pix2pix trains with it unless told otherwise
    dropout = not no_dropout and (system == "pix2pix" or found.network.kind != "unet-generator")
    changes, notes = _test_time(found, evaluation_mode, dropout)
    return Imported({"generator": found.build(**changes)}, (*found.notes, *notes), preprocessing_of(system))


def preprocessing_of(system: str) -> Preprocessing:
    """Gives the defaults of a system's official test script."""
    if system == "sincut":
        return Preprocessing("none", round_always=True, resample="bilinear")
    return Preprocessing("resize", round_always=system in ("cut", "fastcut"))


def _test_time(found: OfficialNetwork, evaluation_mode: bool, dropout: bool) -> tuple[dict[str, Any], list[str]]:
    """Gives the changes of the config that make the network run as the official test script does, and says which."""
    config = found.network.config
    changes: dict[str, Any] = {}
    notes = []
    if config.get("norm") == "batch":
        changes["statistics"] = "running" if evaluation_mode else "image"
        notes.append(
            "batch norm uses its running statistics, as the official test script does with --eval"
            if evaluation_mode
            else "batch norm uses each image's own statistics, as the official test script does without --eval"
        )
    if config.get("dropout"):
        active = dropout and not evaluation_mode
        changes |= {"dropout": dropout, "dropout_seed": 0 if active else None}
        notes.append(
            "dropout stays on, as in the official test script without --eval, "
            "but with one fixed mask (seed 0), so that frames do not flicker"
            if active
            else "dropout is off"
        )
    if found.network.kind == "sincut-generator":
        notes.append("one fixed noise map (seed 0) is used; the official script draws a new one for every image")
    return changes, notes


def _mismatch(system: str, file: Path, found: OfficialNetwork) -> str:
    kind = found.network.kind
    if not kind.endswith("-generator"):
        return (
            f"{file} holds a {kind.replace('-', ' ')}, which no translation needs; "
            "import the generator, in official checkpoints latest_net_G.pth"
        )
    fitting = [name for name, kinds in GENERATORS.items() if kind in kinds]
    return f"{file} holds a {kind}, which {system} does not have; try: i2i-rt import {fitting[0]} {file}"
