"""TUNIT for images of 64x64."""

from collections.abc import Callable

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.models import tunit
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

SIDE, STYLE = 64, 6


def small() -> Imported:
    """Draws the networks with a fixed seed; pictures have contrast, and styles move them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks: dict[str, nn.Module] = {
            "generator": tunit.TUNITGenerator(tunit.TUNITGeneratorConfig(4, 2, 2, STYLE, 8)),
            "guiding_network": tunit.GuidingNetwork(
                tunit.GuidingNetworkConfig((4, 4, 8, 8, 8, 8, 8, 8), STYLE, clusters=3)
            ),
        }
        for network in networks.values():
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(module.weight)
                elif isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr, operator]
                    module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
            network.eval().requires_grad_(False)
        networks["generator"].to_rgb.weight.mul_(0.3)  # type: ignore[union-attr, operator]
    preprocessing = Preprocessing("resize", SIDE, SIDE, resample="bilinear")
    return Imported(networks, (), preprocessing, StyleInfo("fitted"))


SMALL: dict[str, Callable[[], Imported]] = {"tunit": small}
