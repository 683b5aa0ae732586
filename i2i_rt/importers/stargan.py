"""StarGAN v2 and the systems with its networks: the official `*_nets_ema.ckpt`, and FAN's `wing.ckpt`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from i2i_rt.checkpoint import read_nested
from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Imported, Options, groups_of, load_weights
from i2i_rt.models import fan, stargan
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

READERS: Mapping[str, tuple[Any, type[nn.Module]]] = {
    "mapping_network": (stargan.read_mapping_network, stargan.MappingNetwork),
    "style_encoder": (stargan.read_style_encoder, stargan.StarGANStyleEncoder),
    "discriminator": (stargan.read_discriminator, stargan.StarGANDiscriminator),
    "fan": (fan.read_official, fan.FaceAlignment),
}


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads the networks of one official file; FAN may lie in a second one.

    Options: `w_hpf`, the weight of the high-pass filter of a generator with masks, as it was trained: 1 unless the
    file says otherwise. `domains`, the domains' names in the order of their indices.
    """
    given_w_hpf, names = options.text("w_hpf", ""), options.names("domains", ())
    if not 1 <= len(files) <= 2:
        raise I2IError(f"give one file of networks, or that and FAN's wing.ckpt, not {len(files)} files")
    contents = {str(file): read_nested(file) for file in files}
    # the files may come in any order: FAN's has no generator
    source = next((file for file, content in contents.items() if "generator" in content), str(files[0]))
    groups = groups_of(contents[source], ("generator", "mapping_network", "style_encoder"), source)
    networks = {name: load(name, groups[name], source) for name in ("mapping_network", "style_encoder")}
    notes = []
    w_hpf = 0.0
    if _has_masks(groups["generator"], networks["style_encoder"].config.image_size, source):
        stored = stargan.filter_of(groups["generator"])
        w_hpf = options.number("w_hpf", stored or 1.0)
        if w_hpf <= 0:
            raise CheckpointError(f"w_hpf is {w_hpf:g}, but the generator in {source} was trained with one above 0")
        if stored is None and not given_w_hpf:
            notes.append("the file does not tell w_hpf; 1 is taken, as the official CelebA-HQ model was trained")
        networks["fan"] = _face_alignment(contents, source)
    elif given_w_hpf and options.number("w_hpf"):
        raise CheckpointError(f"w_hpf is {given_w_hpf}, but the generator in {source} was trained with 0")
    elif len(files) > 1:
        other = next((file for file in contents if file != source), source)
        raise CheckpointError(f"the generator in {source} takes no masks of the face: leave {other} out")
    networks["generator"] = load_generator(groups["generator"], w_hpf, source)
    _check_agreement(networks, source)
    domains = networks["mapping_network"].config.domains
    image_size = networks["style_encoder"].config.image_size
    return Imported(
        networks,
        tuple(notes),
        Preprocessing("resize", image_size, image_size, resample="bilinear"),
        StyleInfo("network", _domain_names(names, domains, "fan" in networks), "linear"),
    )


def load(name: str, state: Mapping[str, Tensor], source: str) -> Any:
    """Makes one of the networks in `READERS` from its part of an official file.

    Raises:
        CheckpointError: where the weights are missing, left over, or of another shape.
    """
    reader, module = READERS[name]
    config, weights = reader(state)
    return load_weights(module(config), weights, f"{source} ({name})")


def load_generator(state: Mapping[str, Tensor], w_hpf: float, source: str) -> nn.Module:
    """Makes the generator from its part of an official file.

    Raises:
        CheckpointError: where the weights are missing, left over, or of another shape.
    """
    config, weights = stargan.read_generator(state, w_hpf)
    return load_weights(stargan.StarGANGenerator(config), weights, f"{source} (generator)")


def read_fan(file: Path) -> fan.FaceAlignment:
    """Reads the face alignment network from `wing.ckpt` or a file of networks that holds it.

    Raises:
        CheckpointError: where it is in none of the two.
    """
    network: fan.FaceAlignment = load("fan", fan_state(read_nested(file)), str(file))
    return network


def fan_state(content: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Finds FAN in a file of networks, in `wing.ckpt`, or in a file of its tensors alone."""
    for name in ("fan", "state_dict"):
        if isinstance(content.get(name), Mapping):
            return content[name]  # type: ignore[no-any-return]
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _has_masks(state: Mapping[str, Tensor], image_size: int, source: str) -> bool:
    """Tells from its depth whether a generator was trained with masks: it then reduces to 8x8 rather than 16x16."""
    levels = stargan.blocks_of(state) - stargan.BOTTLENECK
    side = image_size // 2**levels if levels > 0 else 0
    if side not in (8, 16):
        raise CheckpointError(
            f"{source}: the style encoder is one for images of {image_size}x{image_size}, which the generator's "
            f"{max(levels, 0)} reductions do not fit"
        )
    return side == 8


def _face_alignment(contents: Mapping[str, Mapping[str, Any]], source: str) -> Any:
    for file in contents:
        if file != source:
            return load("fan", fan_state(contents[file]), file)
    if "fan" not in contents[source]:
        raise CheckpointError(
            f"the generator in {source} needs masks of the face, but the file has no 'fan': "
            "give the official wing.ckpt as a second file"
        )
    return load("fan", contents[source]["fan"], source)


def _check_agreement(networks: Mapping[str, Any], source: str) -> None:
    """Refuses networks of several systems in one file."""
    sizes = {name: networks[name].config.style_dim for name in ("generator", "mapping_network", "style_encoder")}
    if len(set(sizes.values())) > 1:
        raise CheckpointError(
            f"{source}: the networks do not belong together, their styles have "
            f"{', '.join(f'{size} ({name})' for name, size in sizes.items())} numbers"
        )
    mapped, encoded = (networks[name].config.domains for name in ("mapping_network", "style_encoder"))
    if mapped != encoded:
        raise CheckpointError(f"{source}: the mapping network has {mapped} domains, the style encoder {encoded}")


def _domain_names(given: tuple[str, ...], count: int, faces: bool) -> tuple[str, ...]:
    if given and len(given) != count:
        raise CheckpointError(f"--set domains names {len(given)}, but the networks have {count} domains")
    if given:
        return given
    if faces and count == 2:
        return ("female", "male")
    if not faces and count == 3:
        return ("cat", "dog", "wild")
    return tuple(f"domain{index}" for index in range(count))
