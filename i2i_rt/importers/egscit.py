"""EGSC-IT: the TensorFlow 1 bundles of its two stages, `UNIT.model-0` each, as one direction of translation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Imported, Options, load_weights, require_frames
from i2i_rt.models.egscit import (
    Domain,
    EgscitGenerator,
    EgscitStyleEncoder,
    read_official_generator,
    read_official_style_encoder,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo
from i2i_rt.tf_checkpoint import bundle_files, find_bundle, read_bundle

DIRECTIONS: dict[str, tuple[Domain, Domain]] = {"a2b": ("A", "B"), "b2a": ("B", "A")}


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads the bundle of the second stage and, where that does not hold the first stage's too, both in any order.

    Options: `direction`, `a2b` or `b2a`. `noise=false` leaves the noise in the shared code out, which the official
    code draws anew for each picture, and takes its mean: smoother pictures from a code that was never trained on.
    """
    prefixes = [find_bundle(file) for file in files]
    direction = options.text("direction", "a2b")
    if direction not in DIRECTIONS:
        raise I2IError(f"direction is {direction!r}; it must be a2b or b2a")
    noisy = options.flag("noise", default=True)
    state, source = read_variables(prefixes), ", ".join(map(str, prefixes))
    content, style = DIRECTIONS[direction]
    generator = read_generator(state, source, content, style, noise_seed=0 if noisy else None)
    require_frames(generator.config.in_channels, generator.config.out_channels)
    encoder = read_style_encoder(state, source, style)
    if encoder.style_size != generator.style_size:
        raise CheckpointError(
            f"{source}: styles have {encoder.style_size} numbers and the generator takes {generator.style_size}; the "
            "files are of different trainings"
        )
    return Imported(
        {"generator": generator, "style_encoder": encoder},
        (
            f"from domain {content} to domain {style}; --set direction=… gives the other one",
            "one fixed draw of noise (seed 0) is used; the official script draws anew for every picture"
            if noisy
            else "the noise in the shared code is left out; the official script draws it anew for every picture",
        ),
        Preprocessing("none", multiple=generator.multiple, resample="bilinear"),
        StyleInfo(prior="fitted"),
        files=tuple(file for prefix in prefixes for file in bundle_files(prefix)),
    )


def read_variables(prefixes: Sequence[Path]) -> dict[str, Tensor]:
    """Reads several bundles as one; what is in more than one comes from the second stage's."""
    states = [read_bundle(prefix) for prefix in prefixes]
    merged: dict[str, Tensor] = {}
    for state in sorted(states, key=lambda state: any(name.startswith("UNIT/") for name in state)):
        merged |= state
    return merged


def read_generator(
    state: Mapping[str, Tensor], source: str, content: Domain, style: Domain, **changes: Any
) -> EgscitGenerator:
    """Makes the way from domain `content` to domain `style`; `changes` replace fields of the config.

    Raises:
        CheckpointError: where it is not complete.
    """
    config, weights = complete(lambda: read_official_generator(state, content, style), source)
    generator = EgscitGenerator(replace(config, **changes))
    load_weights(generator, weights, source)
    return generator


def read_style_encoder(state: Mapping[str, Tensor], source: str, domain: Domain) -> EgscitStyleEncoder:
    """Makes the network that gives exemplars' styles.

    Raises:
        CheckpointError: where it is not complete.
    """
    config, weights = complete(lambda: read_official_style_encoder(state, domain), source)
    encoder = EgscitStyleEncoder(config)
    load_weights(encoder, weights, source)
    return encoder


def complete(read: Callable[[], tuple[Any, dict[str, Tensor]]], source: str) -> tuple[Any, dict[str, Tensor]]:
    """Reads variables, and says so where one is missing."""
    try:
        return read()
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{source} is not complete: {error} is missing") from error
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
