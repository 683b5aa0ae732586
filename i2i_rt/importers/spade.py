"""SPADE (GauGAN): a generator for label maps and, where it was trained with a VAE, the encoder of its styles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from i2i_rt.checkpoint import read_state
from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Imported, Options, load_weights
from i2i_rt.label_names import label_info
from i2i_rt.models import multiscale, spade, spade_encoder
from i2i_rt.models.spade import DOUBLINGS, OfficialSpade, SpadeGenerator, SpadeGeneratorConfig, Upsampling
from i2i_rt.models.spade_encoder import SpadeEncoder
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo


@dataclass(frozen=True)
class Published:
    """The settings of a data set's published network, in the words of the official options."""

    label_nc: int
    contain_dontcare_label: bool
    no_instance: bool
    num_upsampling_layers: Upsampling = "normal"
    crop_size: int = 256
    aspect_ratio: float = 1.0

    @property
    def channels(self) -> int:
        return self.label_nc + self.contain_dontcare_label + (not self.no_instance)


# by the official `dataset_mode`; each has another number of channels
PUBLISHED = {
    "coco": Published(182, contain_dontcare_label=True, no_instance=False),
    "ade20k": Published(150, contain_dontcare_label=True, no_instance=True),
    "cityscapes": Published(35, False, False, num_upsampling_layers="more", crop_size=512, aspect_ratio=2.0),
}


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads `latest_net_G.pth` and, of a network that was trained with a VAE, `latest_net_E.pth`, in any order.

    Options, by the official names: `dataset_mode`, `label_nc`, `contain_dontcare_label`, `no_instance`,
    `num_upsampling_layers`, `crop_size`, `aspect_ratio`. None is needed for the three published networks, which the
    number of channels tells apart.
    """
    found, encoder, notes = _sort(files)
    data_set = options.text("dataset_mode", _published_as(found.channels))
    config = _config(found, data_set, options)
    source = str(files[0]) if len(files) == 1 else "the generator"
    networks: dict[str, nn.Module] = {"generator": _build_generator(config, found.weights, source)}
    if encoder is not None:
        if not config.style:
            raise CheckpointError("there is an encoder, but the generator was trained without a VAE and takes no style")
        if encoder.config.style != config.style:
            raise CheckpointError(
                f"the encoder's styles have {encoder.config.style} values, the generator's {config.style}; "
                "they are of different networks"
            )
        networks["encoder"] = encoder
        notes.append("a picture's style is the mean of its distribution; the official script draws one from it")
    elif config.style:
        notes.append("there was no encoder (latest_net_E.pth), so styles can be drawn but not taken from a picture")
    if data_set == "ade20k":
        notes.append("labels are those of ADE20K's files, 0 for unknown and classes from 1, as the released code runs")
    crop, aspect = options.integer("crop_size", _crop(data_set)), options.number("aspect_ratio", _aspect(data_set))
    return Imported(
        networks,
        tuple(notes),
        Preprocessing("resize", crop, crop) if aspect == 1 else Preprocessing("fixed", crop, crop, aspect_ratio=aspect),
        style=StyleInfo("normal", mixing="spherical") if config.style else None,
        labels=label_info(data_set, config.classes, unknown=config.unknown, edges=config.edges),
    )


def _sort(files: Sequence[Path]) -> tuple[OfficialSpade, SpadeEncoder | None, list[str]]:
    """Finds out which file holds what; a discriminator is left out."""
    generator: OfficialSpade | None = None
    encoder: SpadeEncoder | None = None
    notes = []
    for file in files:
        state = read_state(file)
        if (read_generator := spade.read_official(state)) is not None:
            if generator is not None:
                raise I2IError(f"{file} is a second generator; give one")
            generator = read_generator
        elif "fc_mu.weight" in state:
            if encoder is not None:
                raise I2IError(f"{file} is a second encoder; give one")
            encoder = read_encoder(state, str(file))
        elif multiscale.read_official(state) is not None:
            notes.append("the discriminator was left out: no translation needs it")
        else:
            keys = ", ".join(list(state)[:3])
            raise CheckpointError(f"{file} is no network of SPADE (its keys begin with {keys})")
    if generator is None:
        raise CheckpointError(f"{files[0]} holds no generator; in official checkpoints that is latest_net_G.pth")
    return generator, encoder, notes


def _published_as(channels: int) -> str:
    return next((name for name, known in PUBLISHED.items() if known.channels == channels), "custom")


def _crop(data_set: str) -> int:
    return PUBLISHED[data_set].crop_size if data_set in PUBLISHED else 256


def _aspect(data_set: str) -> float:
    return PUBLISHED[data_set].aspect_ratio if data_set in PUBLISHED else 1.0


def _config(found: OfficialSpade, data_set: str, options: Options) -> SpadeGeneratorConfig:
    """Joins what the keys tell and what the options say; both must agree."""
    classes, unknown, edges = _channels(found, data_set, options)
    upsampling = _upsampling(found, data_set, options)
    return SpadeGeneratorConfig(
        classes=classes,
        unknown=unknown,
        edges=edges,
        width=found.width,
        upsampling=upsampling,
        style=found.style,
        first_size=_first_size(found, upsampling, data_set, options),
        norm=found.norm,
        hidden=found.hidden,
        kernel=found.kernel,
    )


def _channels(found: OfficialSpade, data_set: str, options: Options) -> tuple[int, bool, bool]:
    """Gives the number of classes, and whether channels for the unknown and for edges follow."""
    known = PUBLISHED.get(data_set)
    classes = options.integer("label_nc", known.label_nc if known else None)
    spare = found.channels - classes
    if spare not in (0, 1, 2):
        raise CheckpointError(
            f"label_nc is {classes}, but the generator has {found.channels} channels for the label map; "
            "it can have up to two more than classes"
        )
    if spare != 1:  # the keys tell: both channels, or none
        unknown = options.flag("contain_dontcare_label", default=spare == 2)
        edges = not options.flag("no_instance", default=spare == 0)
    else:
        fits = known is not None and known.channels == found.channels
        default = known.no_instance if known and fits else None
        if options.text("contain_dontcare_label", ""):  # the one channel is that, or the other
            default = options.flag("contain_dontcare_label")
        edges = not _needed_flag(options, "no_instance", default)
        unknown = options.flag("contain_dontcare_label", default=not edges)
    if unknown + edges != spare:
        raise CheckpointError(
            f"the generator has {found.channels} channels for the label map, but label_nc {classes}, "
            f"contain_dontcare_label {unknown} and no_instance {not edges} make {classes + unknown + edges}"
        )
    return classes, unknown, edges


def _needed_flag(options: Options, name: str, default: bool | None) -> bool:
    options.text(name, None if default is None else str(default))  # raises where nothing tells
    return options.flag(name, default=bool(default))


def _upsampling(found: OfficialSpade, data_set: str, options: Options) -> Upsampling:
    known = PUBLISHED.get(data_set)
    default = "most" if found.most else known.num_upsampling_layers if known else None
    text = options.text("num_upsampling_layers", default)
    fitting: tuple[Upsampling, ...] = ("most",) if found.most else ("normal", "more")
    for upsampling in fitting:
        if text == upsampling:
            return upsampling
    if text in get_args(Upsampling):
        raise CheckpointError(
            f"num_upsampling_layers is {text}, but the generator's layers are those of {' or '.join(fitting)}"
        )
    raise I2IError(f"num_upsampling_layers is {text!r}; it must be one of {', '.join(get_args(Upsampling))}")


def _first_size(
    found: OfficialSpade, upsampling: Upsampling, data_set: str, options: Options
) -> tuple[int, int] | None:
    """Gives the size of the first tensor of a generator with a VAE, which the keys tell only the product of."""
    if not found.style:
        return None
    crop = options.integer("crop_size", _crop(data_set) if data_set in PUBLISHED else None)
    aspect = options.number("aspect_ratio", _aspect(data_set))
    if crop < 1 or aspect <= 0:
        raise I2IError(f"crop_size is {crop} and aspect_ratio {aspect:g}; both must be above 0")
    width = crop // 2 ** DOUBLINGS[upsampling]
    height = round(width / aspect)
    if height * width != found.positions:
        raise CheckpointError(
            f"the generator's first tensor has {found.positions} positions, but crop_size {crop}, aspect_ratio "
            f"{aspect:g} and num_upsampling_layers {upsampling} make {height}x{width}: give --set for those three"
        )
    return height, width


def _build_generator(config: SpadeGeneratorConfig, weights: dict[str, Tensor], source: str) -> nn.Module:
    with torch.device("meta"):  # the file's own tensors take the place of weights that are never drawn
        generator = SpadeGenerator(config)
    for key in generator.state_dict():
        if key.endswith("num_batches_tracked"):  # files older than PyTorch 0.4.1 have none; nothing reads it
            weights.setdefault(key, torch.zeros((), dtype=torch.int64))
    return load_weights(generator, weights, source)


def read_encoder(state: Mapping[str, Tensor], source: str) -> SpadeEncoder:
    """Makes the encoder of an official file's state dict.

    Raises:
        CheckpointError: where it is none, or not complete.
    """
    found = spade_encoder.read_official(state)
    if found is None:
        raise CheckpointError(f"{source} holds no image encoder of SPADE")
    config, weights = found
    with torch.device("meta"):
        encoder = SpadeEncoder(config)
    load_weights(encoder, weights, source)
    return encoder
