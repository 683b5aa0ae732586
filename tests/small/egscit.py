"""EGSC-IT for street scenes, with two reductions, and for digits, without any."""

from collections.abc import Callable

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.models.egscit import (
    EgscitGenerator,
    EgscitGeneratorConfig,
    EgscitStyleEncoder,
    EgscitStyleEncoderConfig,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo


def small(reductions: int = 2) -> Imported:
    """Draws the networks with a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks: dict[str, nn.Module] = {
            "generator": EgscitGenerator(
                EgscitGeneratorConfig(width=4, reductions=reductions, encoder_blocks=1, decoder_blocks=1)
            ),
            "style_encoder": EgscitStyleEncoder(EgscitStyleEncoderConfig(width=4, reductions=reductions, blocks=1)),
        }
        for network in networks.values():
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    # a stride of 2 lets each place see a quarter of a transposed kernel
                    fan_in = module.in_channels * (2.25 if isinstance(module, nn.ConvTranspose2d) else 9)
                    fan_in = module.weight[0].numel() if module.kernel_size[0] in (1, 7) else fan_in
                    nn.init.normal_(module.weight, std=(1 / fan_in) ** 0.5)
                    nn.init.normal_(module.bias, std=0.1)
            network.eval().requires_grad_(False)
    return Imported(networks, (), Preprocessing("none", multiple=2**reductions), StyleInfo("fitted"))


SMALL: dict[str, Callable[[], Imported]] = {"egscit": small, "egscit-digits": lambda: small(reductions=0)}
