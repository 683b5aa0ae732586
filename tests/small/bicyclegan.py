"""BicycleGAN for 16x16 pictures, with an encoder for 64x64 ones, and for drawings, with the style beside the image."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.models.bicyclegan import (
    BicycleGANEncoder,
    BicycleGANEncoderConfig,
    BicycleGANGenerator,
    BicycleGANGeneratorConfig,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

STYLE = 4


def drawn(module: nn.Module) -> nn.Module:
    """Gives layers without a norm after them weights that keep the contrast of a picture."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fan_in = layer.weight[0].numel() if not isinstance(layer, nn.ConvTranspose2d) else layer.in_channels * 4
            nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5)
            nn.init.normal_(layer.bias, std=0.1)
    return module.eval().requires_grad_(False)


def small(*, encoder: bool = True, residual: bool = True, **config: Any) -> Imported:
    """Draws the networks with a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = drawn(BicycleGANGenerator(BicycleGANGeneratorConfig(style_size=STYLE, width=4, depth=4, **config)))
        networks = {"generator": generator}
        if encoder:
            widths = (4, 8, 12) if residual else (4, 8, 16)
            networks["style_encoder"] = drawn(
                BicycleGANEncoder(BicycleGANEncoderConfig(3, STYLE, widths, residual=residual))
            )
    return Imported(networks, (), Preprocessing("resize", 64, 64), StyleInfo("normal", mixing="spherical"))


def drawings() -> Imported:
    """Draws the variant that takes grey pictures and the style beside them."""
    return small(encoder=False, in_channels=1, style_at="input", upsample="bilinear")


SMALL: dict[str, Callable[[], Imported]] = {"bicyclegan": small, "bicyclegan-drawings": drawings}
