"""Swapping Autoencoder: encoder and generator out of one file of four networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from i2i_rt.checkpoint import read_state
from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Imported, Options, load_weights
from i2i_rt.models import swapping, swapping_discriminators
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

# the official file's networks; `num_discriminator_iters` counts, and is nothing to translate with
PARTS = {"E": "encoder", "G": "generator", "D": "discriminator", "Dpatch": "patch discriminator"}


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads the official `latest_checkpoint.pth`, or `.safetensors` with the same keys; needs `E.` and `G.` of it.

    Options: `netG_use_noise`, whether the blocks above the structure's resolution add noise, which they do unless
    they were trained otherwise: the keys are the same. `preprocess` and `load_size`, of the official test options:
    how a picture is brought to size; by default the short side to the size that the networks were trained on.
    """
    noise = options.flag("netG_use_noise", default=True)
    if len(files) != 1:
        raise I2IError(f"swapping has all its networks in one file; give one, not {len(files)}")
    source = str(files[0])
    parts = split(read_state(files[0]), source)
    encoder = read_encoder(parts, source)
    generator = read_generator(parts, source, noise=noise)
    for code in ("structure_channels", "texture_channels"):
        made, taken = getattr(encoder.config, code), getattr(generator.config, code)
        if made != taken:
            raise CheckpointError(
                f"{source} has an encoder that makes {made} {code.replace('_', ' ')} and a generator that takes {taken}"
            )
    if encoder.multiple != generator.multiple:
        raise CheckpointError(
            f"{source} has an encoder that reduces by {encoder.multiple} "
            f"and a generator that enlarges by {generator.multiple}"
        )
    preprocessing = Preprocessing(
        options.text("preprocess", "scale_shortside"),  # type: ignore[arg-type]
        options.integer("load_size", default_size(parts, encoder)),
        multiple=max(16, encoder.multiple),
        round_always=True,
        exact=True,
    )
    notes = [
        "one fixed noise map a layer (seed 0) is used; the official script draws new ones for every run",
    ]
    left_out = [PARTS[part] for part in ("D", "Dpatch") if part in parts]
    if left_out:
        notes.append(f"{' and '.join(left_out)} left out: only training needs them")
    return Imported(
        {"encoder": encoder, "generator": generator},
        tuple(notes),
        preprocessing,
        StyleInfo(prior="fitted", mixing="linear"),
    )


def split(state: Mapping[str, Tensor], source: str) -> dict[str, dict[str, Tensor]]:
    """Splits the official state dict into its networks, by their prefix.

    Raises:
        CheckpointError: where there are other keys.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        part, _, rest = key.partition(".")
        if part in PARTS:
            parts.setdefault(part, {})[rest] = tensor
        elif key != "num_discriminator_iters":
            raise CheckpointError(
                f"{source} has {key!r}, which no Swapping Autoencoder has; its keys begin with E., G., D. and Dpatch."
            )
    return parts


def read_encoder(parts: Mapping[str, Mapping[str, Tensor]], source: str) -> swapping.SwappingEncoder:
    config, weights = swapping.read_official_encoder(_part(parts, "E", source))
    network = swapping.SwappingEncoder(config)
    load_weights(network, weights, source)
    return network


def read_generator(
    parts: Mapping[str, Mapping[str, Tensor]], source: str, *, noise: bool
) -> swapping.SwappingGenerator:
    config, weights = swapping.read_official_generator(_part(parts, "G", source), noise=noise)
    network = swapping.SwappingGenerator(config)
    load_weights(network, weights, source)
    return network


def read_discriminator(parts: Mapping[str, Mapping[str, Tensor]], source: str) -> nn.Module:
    """Reads the discriminator of pictures, which translation does not need."""
    state = {key.removeprefix("stylegan2_D."): tensor for key, tensor in _part(parts, "D", source).items()}
    config, weights = swapping_discriminators.read_official_discriminator(state)
    return load_weights(swapping_discriminators.SwappingDiscriminator(config), weights, source)


def read_patch_discriminator(
    parts: Mapping[str, Mapping[str, Tensor]], source: str
) -> swapping_discriminators.SwappingPatchDiscriminator:
    """Reads the discriminator of patches, which translation does not need."""
    config, weights = swapping_discriminators.read_official_patch_discriminator(_part(parts, "Dpatch", source))
    network = swapping_discriminators.SwappingPatchDiscriminator(config)
    load_weights(network, weights, source)
    return network


def default_size(parts: Mapping[str, Mapping[str, Tensor]], encoder: swapping.SwappingEncoder) -> int:
    """Gives the side that the networks were trained on.

    More than four reductions are for 1024 pixels. Else encoder and generator are the same for all sizes, and the
    discriminator, where there is one, tells.
    """
    if encoder.multiple > 16:
        return 1024
    state = {key.removeprefix("stylegan2_D."): tensor for key, tensor in parts.get("D", {}).items()}
    if not state:
        return 256
    config, _ = swapping_discriminators.read_official_discriminator(state)
    return config.side << (len(config.widths) - 1)


def _part(parts: Mapping[str, Mapping[str, Tensor]], part: str, source: str) -> Mapping[str, Tensor]:
    if part not in parts:
        raise CheckpointError(f"{source} has no {PARTS[part]}: no key begins with '{part}.'")
    return parts[part]
