"""BicycleGAN: the official `latest_net_G.pth` and, for styles of pictures, `latest_net_E.pth`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from i2i_rt.checkpoint import read_state
from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Imported, Options, load_weights
from i2i_rt.models.bicyclegan import (
    BicycleGANEncoder,
    BicycleGANGenerator,
    read_official_discriminator,
    read_official_encoder,
    read_official_generator,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads the generator and the encoder, in any order; without the encoder there is no style from a picture.

    Options: `nz`, the style's size, asked for where the generator takes it beside the image and no encoder tells it;
    `nl` and, where the style enters everywhere, `norm`, which leave no trace in the files.
    """
    encoder, states, notes = None, {}, []
    for file in files:
        state = read_state(file)
        found = read_encoder(state, str(file))
        if found is not None:
            encoder = found
        else:
            states[file] = state
    style_size = encoder.config.style_size if encoder is not None else options.integer("nz", 8)
    generator = None
    for file, state in states.items():
        found_generator = read_generator(state, str(file), options, style_size)
        if found_generator is not None and generator is not None:
            raise I2IError(f"several files hold generators, {file} being one of them; give one")
        if found_generator is not None:
            generator = found_generator
        elif read_official_discriminator(state) is not None:
            notes.append(f"{file.name} holds a discriminator, which no translation needs; it was left out")
        else:
            raise CheckpointError(
                f"{file} holds no network of BicycleGAN; its files are called latest_net_G.pth and latest_net_E.pth"
            )
    if generator is None:
        raise CheckpointError(
            f"{', '.join(map(str, files))}: there is no generator of BicycleGAN; official ones are called "
            "latest_net_G.pth"
        )
    config = generator.config
    if config.in_channels not in (1, 3) or config.out_channels != 3:
        raise CheckpointError(
            f"the generator makes {config.out_channels} channels from {config.in_channels}; "
            "frames have 3, and can be made grey for a generator that takes 1"
        )
    networks: dict[str, BicycleGANGenerator | BicycleGANEncoder] = {"generator": generator}
    if config.in_channels == 1:
        notes.append("the network takes grey pictures: frames are converted as the official loader does")
    if encoder is None:
        notes.append("no encoder was given (latest_net_E.pth), so there is no style from a picture")
    else:
        if encoder.config.style_size != config.style_size:
            raise CheckpointError(
                f"the generator takes styles of {config.style_size} numbers and the encoder gives "
                f"{encoder.config.style_size}; they are of different systems"
            )
        if encoder.config.in_channels not in (1, 3):
            raise CheckpointError(f"the encoder takes {encoder.config.in_channels} channels; frames have 3")
        networks["style_encoder"] = encoder
        notes.append("the style of a picture is the mean that the encoder gives, as in the official test script")
    side = min(256, generator.multiple)  # of the crops that the network was trained on
    return Imported(
        networks,
        tuple(notes),
        Preprocessing("resize", side, side),
        StyleInfo(prior="normal", mixing="spherical"),
    )


def read_generator(
    state: dict[str, Tensor], source: str, options: Options, style_size: int
) -> BicycleGANGenerator | None:
    """Makes the generator of an official state dict; None where it is none.

    Raises:
        CheckpointError: where it is not complete.
    """
    found = _complete(read_official_generator, state, source, style_size)
    if found is None:
        return None
    config, weights = found
    config = replace(config, activation=options.text("nl", "relu"))
    if config.norm == "instance" and config.style_at == "all":
        config = replace(config, norm=options.text("norm", "instance"))
    generator = load_weights(BicycleGANGenerator(config), weights, source)
    assert isinstance(generator, BicycleGANGenerator)
    return generator


def read_encoder(state: dict[str, Tensor], source: str) -> BicycleGANEncoder | None:
    """Makes the encoder of an official state dict; None where it is none.

    Raises:
        CheckpointError: where it is not complete.
    """
    found = _complete(read_official_encoder, state, source)
    if found is None:
        return None
    encoder = load_weights(BicycleGANEncoder(found[0]), found[1], source)
    assert isinstance(encoder, BicycleGANEncoder)
    return encoder


def _complete(
    read: Callable[..., tuple[Any, dict[str, Tensor]] | None], state: Mapping[str, Tensor], source: str, *more: Any
) -> tuple[Any, dict[str, Tensor]] | None:
    """Reads a state dict, and says so where it breaks off."""
    try:
        return read(state, *more)
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{source} is not complete: {error} is missing") from error
