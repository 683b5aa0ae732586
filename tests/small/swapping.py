"""A Swapping Autoencoder of two reductions and widths around 8."""

from collections.abc import Callable

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.models.modulated import EqualizedLinear, StyledConv
from i2i_rt.models.swapping import (
    SwappingEncoder,
    SwappingEncoderConfig,
    SwappingGenerator,
    SwappingGeneratorConfig,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

STRUCTURE, TEXTURE = 4, 12


def networks() -> dict[str, nn.Module]:
    """Draws encoder and generator with a fixed seed; the texture moves colours, noise and biases are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = SwappingEncoder(
            SwappingEncoderConfig(
                widths=(6, 8, 10), texture_widths=(10, 12), structure_channels=STRUCTURE, texture_channels=TEXTURE
            )
        )
        generator = SwappingGenerator(
            SwappingGeneratorConfig(
                structure_channels=STRUCTURE, texture_channels=TEXTURE, head_widths=(8,), widths=(8, 6)
            )
        )
        for network in (encoder, generator):
            for name, parameter in network.named_parameters():
                if name.endswith("bias"):
                    parameter.data += 0.1 * torch.randn_like(parameter)
        for module in generator.modules():
            if isinstance(module, EqualizedLinear):
                module.weight.data *= 1.5
            if isinstance(module, StyledConv) and module.noise_strength is not None:
                module.noise_strength.data.fill_(0.1)
        generator.modulation.scale.bias.data += 3
        generator.to_rgb.weight.data *= 0.4
    return {"encoder": encoder.eval().requires_grad_(False), "generator": generator.eval().requires_grad_(False)}


def imported() -> Imported:
    preprocessing = Preprocessing("scale_shortside", 64, multiple=16, round_always=True, exact=True)
    return Imported(networks(), (), preprocessing, StyleInfo("fitted"))


SMALL: dict[str, Callable[[], Imported]] = {"swapping": imported}
