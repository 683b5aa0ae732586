"""Makes a bundle from an official checkpoint, set up as the official test script would run it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from i2i_rt.bundle import Bundle, Provenance, sha256_of
from i2i_rt.checkpoint import OfficialNetwork, identify, read_state
from i2i_rt.errors import CheckpointError, I2IError, closest
from i2i_rt.models import table
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.systems.stages import stages_of

# the kinds of generator that each system's official code can have
GENERATORS = {
    "cyclegan": ("resnet-generator", "unet-generator"),
    "cut": ("resnet-generator", "unet-generator"),
    "fastcut": ("resnet-generator", "unet-generator"),
    "sincut": ("sincut-generator",),
    "pix2pix": ("unet-generator", "resnet-generator"),
}


def import_checkpoint(
    system: str, file: str | Path, output: str | Path, *, evaluation_mode: bool = False, dropout: bool = True
) -> Bundle:
    """Reads a generator's checkpoint and writes a bundle.

    The official test scripts of CycleGAN, CUT and pix2pix leave the network in training mode: batch norm uses the
    statistics of the one test image, dropout stays on. The bundle does the same, with one fixed draw of dropout.

    Args:
        system: a key of `GENERATORS`.
        file: the official `latest_net_G.pth`, or a `.safetensors` file with the same keys.
        output: the bundle's folder.
        evaluation_mode: as the official option `--eval`: running statistics, no dropout.
        dropout: False for U-Nets that were trained with the official option `--no_dropout`, which leaves no trace
            in the file.

    Raises:
        I2IError: where the system is unknown.
        CheckpointError: where the file cannot be read or holds another network.
        BundleError: where `output` is taken by something else.
    """
    if system not in GENERATORS:
        raise I2IError(f"no system is called {system!r}; {closest(system, GENERATORS)}")
    file = Path(file)
    found = identify(read_state(file), str(file))
    if found.network.kind not in GENERATORS[system]:
        raise CheckpointError(_mismatch(system, file, found))
    # a U-Net's dropout leaves no trace: only pix2pix trains with it unless told otherwise
    dropout = dropout and (system == "pix2pix" or found.network.kind != "unet-generator")
    changes, notes = _test_time(found, evaluation_mode, dropout)
    generator = found.build(**changes)
    return Bundle.create(
        output,
        system=system,
        networks={"generator": table.describe(generator)},
        stages={name: stage.spec for name, stage in stages_of({"generator": generator}).items()},
        weights=table.weights_of({"generator": generator}),
        provenance=Provenance(file.name, sha256_of(file), (*found.notes, *notes)),
        preprocessing=asdict(preprocessing_of(system)),
    )


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
