"""MUNIT and UNIT with width 4: the later code's networks, and the older code's with layers that domains share."""

from collections.abc import Callable

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.importers.munit import preprocessing
from i2i_rt.models import munit, unit
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

STYLE = 6


def drawn(make: Callable[[], dict[str, nn.Module]]) -> dict[str, nn.Module]:
    """Makes networks with weights of a fixed seed that keep each layer's size, and outputs off the ends of tanh."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = make()
        for network in networks.values():
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    nn.init.kaiming_normal_(module.weight)
                    nn.init.normal_(module.bias, 0, 0.2)  # type: ignore[arg-type]
            network.eval().requires_grad_(False)
            if isinstance(last := getattr(network, "last", None), nn.Conv2d | nn.ConvTranspose2d):
                last.weight.mul_(0.3)
    return networks


def small_munit() -> Imported:
    """Draws the three networks of one direction; the style moves scales and shifts alike."""

    def make() -> dict[str, nn.Module]:
        return {
            "content_encoder": munit.ContentEncoder(munit.ContentEncoderConfig(width=4, blocks=2)),
            "style_encoder": munit.StyleEncoder(munit.StyleEncoderConfig(widths=(4, 8, 8, 8), style=STYLE)),
            "decoder": munit.Decoder(munit.DecoderConfig(width=4, blocks=2, style=STYLE, perceptron=(8, 8))),
        }

    return Imported(drawn(make), (), preprocessing(256), StyleInfo("normal"))


def small_unit() -> Imported:
    """Draws the networks of the later code."""

    def make() -> dict[str, nn.Module]:
        return {
            "encoder": munit.ContentEncoder(munit.ContentEncoderConfig(width=4, blocks=2)),
            "decoder": munit.Decoder(munit.DecoderConfig(width=4, blocks=2, style=0, perceptron=())),
        }

    return Imported(drawn(make), (), preprocessing(256))


def small_shared(norm: unit.OuterNorm = "none") -> Imported:
    """Draws the networks of the older code."""

    def make() -> dict[str, nn.Module]:
        return {
            "encoder": unit.SharedEncoder(unit.SharedEncoderConfig(width=4, blocks=2, norm=norm)),
            "decoder": unit.SharedDecoder(unit.SharedDecoderConfig(width=4, blocks=2, norm=norm)),
        }

    return Imported(drawn(make), (), Preprocessing("none"))


SMALL: dict[str, Callable[[], Imported]] = {
    "munit": small_munit,
    "unit": small_unit,
    "unit-shared": small_shared,
}
