"""StEP: TensorFlow 1 bundles of the generator with its style encoder, of the encoder alone, and of the mapper."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from i2i_rt.errors import CheckpointError
from i2i_rt.importers.base import Imported, Options, load_weights, require_frames
from i2i_rt.models.step import (
    StepEncoder,
    StepGenerator,
    StepMapper,
    averaged,
    read_official_encoder,
    read_official_generator,
    read_official_mapper,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo
from i2i_rt.tf_checkpoint import bundle_files, find_bundle, read_bundle

Found = TypeVar("Found")


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads bundles in any order: a prefix such as `model.ckpt-1234`, one of its files, or its folder.

    The generator's bundle also holds the style encoder, fine-tuned with it, which wins over one given by itself.

    Options: `use_scaling` and `normalize_drit_Ez`, which leave no trace in the files; both are on by default.
    """
    prefixes = [find_bundle(file) for file in files]
    generator, encoder, mapper = None, None, None
    for prefix in prefixes:
        state = read_variables(prefix)
        found_generator = read_generator(state, str(prefix), options)
        found_encoder = read_encoder(state, str(prefix), options)
        found_mapper = read_mapper(state, str(prefix))
        if found_generator is None and found_encoder is None and found_mapper is None:
            raise CheckpointError(
                f"{prefix} holds no network of StEP (its variables begin with {', '.join(sorted(state)[:3])})"
            )
        if found_encoder is not None and (encoder is None or found_generator is not None):
            encoder = found_encoder
        generator, mapper = found_generator or generator, found_mapper or mapper
    if generator is None:
        raise CheckpointError(f"{', '.join(map(str, prefixes))}: no generator is there, no variable g_model_enc/…")
    if encoder is None and mapper is None:
        raise CheckpointError(
            f"{', '.join(map(str, prefixes))}: there is neither a style encoder (appearance_net/…) nor a mapper, so "
            "there are no styles; give the bundle of the style pre-training too"
        )
    size = generator.config.style_size
    networks: dict[str, nn.Module] = {"generator": generator}
    notes = []
    if encoder is not None:
        _check_size("style encoder", encoder.config.style_size, size)
        networks["style_encoder"] = encoder
        notes.append("a picture's style is the mean plus the standard deviation, as in the official code")
    if mapper is not None:
        _check_size("mapper", mapper.config.widths[-1], size)
        networks["mapper"] = mapper
    require_frames(generator.config.in_channels, generator.config.out_channels)
    return Imported(
        networks,
        tuple(notes),
        Preprocessing("none", multiple=generator.multiple),
        StyleInfo(prior="fitted" if mapper is None else "network"),
        files=tuple(file for prefix in prefixes for file in bundle_files(prefix)),
    )


def _check_size(name: str, given: int, needed: int) -> None:
    if given != needed:
        raise CheckpointError(f"the {name} gives styles of {given} numbers and the generator takes {needed}")


def read_variables(prefix: Path) -> dict[str, Tensor]:
    """Reads a bundle's variables, their moving averages where there are any."""
    return averaged(read_bundle(prefix))


def read_generator(state: Mapping[str, Tensor], source: str, options: Options) -> StepGenerator | None:
    """Makes the generator of a bundle's variables; None where there is none.

    Raises:
        CheckpointError: where it is not complete.
    """
    scaled = options.flag("use_scaling", default=True)
    found = complete(lambda: read_official_generator(state, scaled=scaled), source)
    return None if found is None else _loaded(StepGenerator(found[0]), found[1], source)


def read_encoder(state: Mapping[str, Tensor], source: str, options: Options) -> StepEncoder | None:
    """Makes the style encoder of a bundle's variables; None where there is none.

    Raises:
        CheckpointError: where it is not complete.
    """
    scaled = options.flag("use_scaling", default=True)
    normalize = options.flag("normalize_drit_Ez", default=True)
    found = complete(lambda: read_official_encoder(state, scaled=scaled, normalize=normalize), source)
    return None if found is None else _loaded(StepEncoder(found[0]), found[1], source)


def read_mapper(state: Mapping[str, Tensor], source: str) -> StepMapper | None:
    """Makes the mapper of a bundle's variables; None where there is none.

    Raises:
        CheckpointError: where it is not complete.
    """
    found = complete(lambda: read_official_mapper(state), source)
    return None if found is None else _loaded(StepMapper(found[0]), found[1], source)


Module = TypeVar("Module", bound=nn.Module)


def _loaded(module: Module, weights: Mapping[str, Tensor], source: str) -> Module:
    load_weights(module, weights, source)
    return module


def complete(read: Callable[[], Found], source: str) -> Found:
    """Reads variables, and says so where one is missing."""
    try:
        return read()
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{source} is not complete: {error} is missing") from error
