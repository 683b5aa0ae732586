"""GP-UNIT: the content encoder's file, which all tasks share, and the file of one task."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from i2i_rt.checkpoint import read_nested
from i2i_rt.errors import CheckpointError
from i2i_rt.importers.base import Imported, Options, load_weights
from i2i_rt.models import gpunit, gpunit_encoders
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

# part -> a key that tells it, and the end of the sentence when it is missing
PARTS = {
    "content encoder": "layer1.0.conv.bias",
    "generator": "model.0.reslayer.conv_0.weight",
    "sampler": "lin1.weight",
}
FILES = {
    "content encoder": "content_encoder.pt, which all tasks share",
    "generator": "the file of one translation task, such as dog2cat.pt",
}


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads `content_encoder.pt` and a task's file, in any order; a file with both is fine too.

    The content encoder is also taken out of a whole prior distillation. Discriminators and optimisers are left out.

    Options: `useskip`, as the official generator's argument: false switches the skip connections off.
    """
    skip = options.flag("useskip", default=True)
    parts: dict[str, tuple[Path, Mapping[str, Tensor]]] = {}
    for file in files:
        found = parts_of(read_nested(file))
        if not found:
            raise CheckpointError(f"{file} holds no network of GP-UNIT that a translation needs")
        for name, state in found.items():
            if name in parts:
                raise CheckpointError(f"both {parts[name][0]} and {file} hold a {name}; give one of them")
            parts[name] = file, state
    for name, wanted in FILES.items():
        if name not in parts:
            raise CheckpointError(f"GP-UNIT's {name} is missing: add {wanted}, to the files that are imported")
    networks = {
        "content_encoder": built(*parts["content encoder"], content_encoder),
        "style_encoder": built(*parts["generator"], style_encoder),
        "generator": built(*parts["generator"], lambda state: generator(state, skip=skip)),
    }
    notes = ["spectral norm of the content encoder was folded into its kernels"]
    if "sampler" in parts:
        networks["sampler"] = built(*parts["sampler"], sampler)
        notes.append(
            "batch norm of the style sampler uses its running statistics, so that a code can be drawn alone; "
            "the official scripts use those of the codes that are drawn together"
        )
    if not skip:
        notes.append("the dynamic skip connections are off, as the official generator does with useskip=False")
    _refuse_other_widths(networks)
    return Imported(
        networks,
        tuple(notes),
        Preprocessing("resize", resample="corners"),
        StyleInfo("network" if "sampler" in networks else "fitted"),
    )


def parts_of(content: Mapping[str, Any]) -> dict[str, Mapping[str, Tensor]]:
    """Gives what a file holds of `PARTS`; of several generators in training's files, the moving average."""
    found: dict[str, Mapping[str, Tensor]] = {}
    for state in _groups(content):
        for name, key in PARTS.items():
            if key in state:
                found.setdefault(name, state)
    return found


def _groups(content: Mapping[str, Any]) -> Iterator[Mapping[str, Tensor]]:
    """Gives the file itself and the groups in it, moving averages first."""
    yield content
    for _, group in sorted(content.items(), key=lambda entry: not entry[0].endswith("_ema")):
        if isinstance(group, Mapping):
            yield group
            prefix = "contentE."
            yield {key.removeprefix(prefix): group[key] for key in map(str, group) if key.startswith(prefix)}


def built(file: Path, state: Mapping[str, Tensor], build: Callable[[Mapping[str, Tensor]], nn.Module]) -> nn.Module:
    """Makes a network of a file.

    Raises:
        CheckpointError: where keys are missing or left over, or shapes differ; it names the file.
    """
    try:
        return build(state)
    except KeyError as error:
        raise CheckpointError(f"{file} holds no complete network of GP-UNIT: {error} is missing") from error
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error


def content_encoder(state: Mapping[str, Tensor]) -> nn.Module:
    """Makes the content encoder of an official state dict, with its weights, for use."""
    config, weights = gpunit_encoders.read_official_content_encoder(state)
    return load_weights(gpunit_encoders.ContentEncoder(config), weights, "the content encoder")


def read_content_encoder(file: Path) -> gpunit_encoders.ContentEncoder:
    """Reads the content encoder from `content_encoder.pt`, or from a prior distillation.

    Raises:
        CheckpointError: where it is in none of the two.
    """
    found = parts_of(read_nested(file))
    if "content encoder" not in found:
        raise CheckpointError(f"{file} holds no content encoder of GP-UNIT; give {FILES['content encoder']}")
    network = built(file, found["content encoder"], content_encoder)
    assert isinstance(network, gpunit_encoders.ContentEncoder)
    return network


def style_encoder(state: Mapping[str, Tensor]) -> nn.Module:
    """Makes the style encoder out of an official generator's state dict."""
    config, weights = gpunit_encoders.read_official_style_encoder(state)
    return load_weights(gpunit_encoders.StyleEncoder(config), weights, "the style encoder")


def generator(state: Mapping[str, Tensor], *, skip: bool = True) -> nn.Module:
    """Makes the generator of an official state dict, without its style encoder."""
    config, weights = gpunit.read_official(state, skip=skip)
    return load_weights(gpunit.Generator(config), weights, "the generator")


def sampler(state: Mapping[str, Tensor]) -> nn.Module:
    """Makes the style sampler of an official state dict."""
    config, weights = gpunit_encoders.read_official_sampler(state)
    return load_weights(gpunit_encoders.StyleSampler(config), weights, "the style sampler")


def _refuse_other_widths(networks: Mapping[str, nn.Module]) -> None:
    config: Any = {name: network.config for name, network in networks.items()}
    encoded, decoded = config["content_encoder"].width, config["generator"].width
    if config["generator"].skip and encoded != decoded:
        raise CheckpointError(
            f"the content encoder has width {encoded} and the generator {decoded}: they do not belong together"
        )
    for name in ("style_encoder", "sampler"):
        if name in config and config[name].style_dim != config["generator"].style_dim:
            raise CheckpointError(
                f"the {name.replace('_', ' ')} gives styles of {config[name].style_dim} values, "
                f"the generator takes {config['generator'].style_dim}: they do not belong together"
            )
