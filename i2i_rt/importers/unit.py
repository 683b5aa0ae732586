"""UNIT: one direction of either official code, with networks of their own for each domain or with shared layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from i2i_rt.checkpoint import read_nested, read_state
from i2i_rt.errors import I2IError
from i2i_rt.importers import munit
from i2i_rt.importers.base import Imported, Options, load_weights, require_frames
from i2i_rt.models import unit
from i2i_rt.preprocessing import Preprocessing

NOISE = "the noise that training adds to the code is left out, as the official test scripts do"
# the official classes' names
VARIANTS: dict[str, unit.OuterNorm] = {"COCOResGen": "instance", "COCOResGen2": "none"}


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads the official `gen_*.pt`, `{"a": …, "b": …}`, or the older `*_gen_*.pkl` with layers that domains share.

    Options: `direction`, "a2b" (the default) or "b2a"; `new_size`, the short side of a picture in the later code's
    test; `gen`, the class of the older code's generator, where the file has no statistics that tell it.
    """
    if len(files) != 1:
        raise I2IError(f"unit keeps its generators in one file; give one, not {len(files)}")
    source, target = munit.direction(options)
    size = options.integer("new_size", 256)
    if not any(key.startswith(("encode_A.", "encode_B.")) for key in read_nested(files[0])):
        domains = munit.read_domains("unit", files)
        encoder = munit.read_content_encoder(domains[source], source)
        decoder = munit.read_decoder(domains[target], target)
        munit.require_match(encoder, decoder)
        return Imported({"encoder": encoder, "decoder": decoder}, (NOISE, munit.STRETCH), munit.preprocessing(size))
    state = read_state(files[0])
    norm = variant(state, options)
    shared_encoder = read_shared_encoder(state, "A" if source == "a" else "B", norm)
    shared_decoder = read_shared_decoder(state, "A" if target == "a" else "B", norm)
    require_frames(shared_encoder.config.in_channels, shared_decoder.config.out_channels)
    # the older code scales each data set by a factor of its own, which no file tells
    return Imported({"encoder": shared_encoder, "decoder": shared_decoder}, (NOISE,), Preprocessing("none"))


def variant(state: Mapping[str, Tensor], options: Options) -> unit.OuterNorm:
    """Tells which of the two generators a file of the older code holds."""
    found = unit.outer_norm(state)
    if found is not None:
        return found
    name = options.text("gen")
    if name not in VARIANTS:
        raise I2IError(f"gen is {name!r}; it must be one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


def read_shared_encoder(
    state: Mapping[str, Tensor], domain: Literal["A", "B"], norm: unit.OuterNorm
) -> unit.SharedEncoder:
    """Makes a domain's encoder of the older code, with the shared layers after it."""
    config, weights = unit.read_official_encoder(state, domain, norm)
    network = unit.SharedEncoder(config)
    load_weights(network, weights, f"the encoder of domain {domain}")
    return network


def read_shared_decoder(
    state: Mapping[str, Tensor], domain: Literal["A", "B"], norm: unit.OuterNorm
) -> unit.SharedDecoder:
    """Makes a domain's decoder of the older code, with the shared layers before it."""
    config, weights = unit.read_official_decoder(state, domain, norm)
    network = unit.SharedDecoder(config)
    load_weights(network, weights, f"the decoder of domain {domain}")
    return network
