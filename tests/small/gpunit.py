"""GP-UNIT with width 4, with and without a style sampler."""

from collections.abc import Callable

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.models import gpunit, gpunit_encoders
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

STYLE, NOISE = 12, 8


def small(*, sampler: bool = True, skip: bool = True) -> Imported:
    """Draws the networks with a fixed seed; the style moves colours and the skip connections let details through."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks: dict[str, nn.Module] = {
            "content_encoder": gpunit_encoders.ContentEncoder(gpunit_encoders.ContentEncoderConfig(width=4)),
            "style_encoder": gpunit_encoders.StyleEncoder(
                gpunit_encoders.StyleEncoderConfig(width=4, bottleneck=6, style_dim=STYLE)
            ),
            "generator": gpunit.Generator(gpunit.GeneratorConfig(width=4, style_dim=STYLE, skip=skip)),
        }
        if sampler:
            networks["sampler"] = gpunit_encoders.StyleSampler(
                gpunit_encoders.StyleSamplerConfig(noise_dim=NOISE, hidden=10, style_dim=STYLE)
            )
        for network in networks.values():
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(module.weight, 0.2)
                elif isinstance(module, nn.BatchNorm1d):
                    module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr, operator]
                    module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
            network.eval().requires_grad_(False)
        for head in networks["generator"].heads:  # type: ignore[union-attr]
            head.weight.mul_(0.2)
    style = StyleInfo("network" if sampler else "fitted")
    return Imported(networks, (), Preprocessing("resize", resample="corners"), style)


SMALL: dict[str, Callable[[], Imported]] = {
    "gpunit": small,
    "gpunit-fitted": lambda: small(sampler=False),
}
