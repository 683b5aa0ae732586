"""MUNIT: one direction of a file of two domains' generators."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from i2i_rt.checkpoint import read_nested
from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Imported, Options, groups_of, load_weights, require_frames
from i2i_rt.models import munit
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

Found = TypeVar("Found")

STRETCH = (
    "the official test script stretches each picture from its own darkest to its own brightest value before it saves "
    "it; the bundle gives the colours that the network gives"
)


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads the official `gen_*.pt`: `{"a": …, "b": …}`.

    Options: `direction`, "a2b" (the default) or "b2a"; `new_size`, the short side of a picture in the official test.
    """
    source, target = direction(options)
    size = options.integer("new_size", 256)
    domains = read_domains("munit", files)
    content_encoder = read_content_encoder(domains[source], source)
    decoder = read_decoder(domains[target], target)
    require_match(content_encoder, decoder)
    networks = {
        "content_encoder": content_encoder,
        "style_encoder": read_style_encoder(domains[target], target),
        "decoder": decoder,
    }
    return Imported(networks, (STRETCH,), preprocessing(size), StyleInfo("normal"))


def direction(options: Options) -> tuple[str, str]:
    """Gives the names of the domains that are translated from and to."""
    text = options.text("direction", "a2b")
    if text not in ("a2b", "b2a"):
        raise I2IError(f"direction is {text!r}; it must be a2b or b2a")
    return text[0], text[2]


def preprocessing(size: int) -> Preprocessing:
    """Gives what the official test script does: the short side to `size`, the other in proportion."""
    return Preprocessing("short_side", size, size, resample="bilinear")


def read_domains(system: str, files: Sequence[Path]) -> dict[str, dict[str, dict[str, Tensor]]]:
    """Reads both domains' state dicts, each split into its networks by the first word of the keys.

    Raises:
        CheckpointError: where the file holds something else, of which it says what it is.
    """
    if len(files) != 1:
        raise I2IError(f"{system} keeps its generators in one file; give one, not {len(files)}")
    file = files[0]
    parts = {"munit": ("enc_content", "enc_style", "mlp", "dec"), "unit": ("enc", "dec")}
    domains = {}
    for name, state in groups_of(read_nested(file), ("a", "b"), str(file)).items():
        split: dict[str, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            part, _, rest = key.partition(".")
            split.setdefault(part, {})[rest] = tensor
        for other, names in parts.items():
            if other != system and set(split) == set(names):
                raise CheckpointError(f"{file} holds generators of {other}")
        if "cnns" in split:
            raise CheckpointError(f"{file} holds discriminators, which no translation needs; import gen_*.pt")
        if set(split) != set(parts[system]):
            raise CheckpointError(
                f"domain {name!r} of {file} has the networks {', '.join(sorted(split))}; "
                f"a generator of {system} has {', '.join(sorted(parts[system]))}"
            )
        domains[name] = split
    return domains


def read_content_encoder(parts: Mapping[str, Mapping[str, Tensor]], domain: str) -> munit.ContentEncoder:
    """Makes a domain's content encoder, which in UNIT is the only one."""
    name = "enc_content" if "enc_content" in parts else "enc"
    config, weights = _complete(lambda: munit.read_official_content_encoder(parts[name]), name, domain)
    network = munit.ContentEncoder(config)
    load_weights(network, weights, f"the content encoder of domain {domain!r}")
    return network


def read_style_encoder(parts: Mapping[str, Mapping[str, Tensor]], domain: str) -> munit.StyleEncoder:
    """Makes a domain's style encoder."""
    config, weights = _complete(lambda: munit.read_official_style_encoder(parts["enc_style"]), "enc_style", domain)
    network = munit.StyleEncoder(config)
    load_weights(network, weights, f"the style encoder of domain {domain!r}")
    return network


def read_decoder(parts: Mapping[str, Mapping[str, Tensor]], domain: str) -> munit.Decoder:
    """Makes a domain's decoder, with the perceptron of the style where there is one."""
    config, weights = _complete(lambda: munit.read_official_decoder(parts["dec"], parts.get("mlp")), "dec", domain)
    network = munit.Decoder(config)
    load_weights(network, weights, f"the decoder of domain {domain!r}")
    return network


def _complete(read: Callable[[], Found], name: str, domain: str) -> Found:
    """Reads a network's keys; says of which network and domain one is missing."""
    try:
        return read()
    except CheckpointError as error:
        raise CheckpointError(f"{name!r} of domain {domain!r}: {error}") from error


def require_match(encoder: munit.ContentEncoder, decoder: munit.Decoder) -> None:
    """Raises `CheckpointError` where one domain's decoder cannot take the other's content."""
    given, taken = encoder.config, decoder.config
    require_frames(given.in_channels, taken.out_channels)
    if (given.width, given.reductions) != (taken.width, taken.enlargements):
        raise CheckpointError(
            f"the encoder of one domain has width {given.width} and {given.reductions} reductions, the decoder of the "
            f"other width {taken.width} and {taken.enlargements} enlargements: they are not of one training"
        )
