"""StarGAN v2 for images of 64x64, with and without masks of faces."""

from collections.abc import Callable

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.models import fan, stargan
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

SIDE, STYLE, NOISE = 64, 6, 5


def small(*, masks: bool = False) -> Imported:
    """Draws the networks with a fixed seed; pictures have contrast, and styles move them."""
    domains = ("female", "male") if masks else ("cat", "dog", "wild")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks: dict[str, nn.Module] = {
            "mapping_network": stargan.MappingNetwork(stargan.MappingNetworkConfig(NOISE, 8, STYLE, len(domains))),
            "style_encoder": stargan.StarGANStyleEncoder(
                stargan.StarGANStyleEncoderConfig(4, 8, SIDE, STYLE, len(domains))
            ),
            "generator": stargan.StarGANGenerator(
                stargan.StarGANGeneratorConfig(4, 8, 3 if masks else 2, STYLE, 1.0 if masks else 0.0)
            ),
        }
        if masks:
            networks["fan"] = fan.FaceAlignment(fan.FaceAlignmentConfig(width=8, depth=2))
        for network in networks.values():
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(module.weight, 0.2)
                elif isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr, operator]
                    module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
            network.eval().requires_grad_(False)
        networks["generator"].to_rgb.weight.mul_(0.3)  # type: ignore[union-attr, operator]
        if masks:  # of half of the picture, and not of hard edges only
            networks["fan"].head.bias.sub_(8)  # type: ignore[union-attr, operator]
    preprocessing = Preprocessing("resize", SIDE, SIDE, resample="bilinear")
    return Imported(networks, (), preprocessing, StyleInfo("network", domains))


SMALL: dict[str, Callable[[], Imported]] = {
    "starganv2": small,
    "starganv2-masks": lambda: small(masks=True),
    "smoothing": small,
    "smoothing-masks": lambda: small(masks=True),
}
