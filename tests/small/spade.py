"""SPADE with width 2: without a VAE for labels of any size, with one for labels of one size."""

from collections.abc import Callable

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.label_names import label_info
from i2i_rt.models.norm import RunningNorm
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig
from i2i_rt.models.spade_encoder import SpadeEncoder, SpadeEncoderConfig
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

CLASSES, STYLE = 6, 16


def small(*, vae: bool = False) -> Imported:
    """Draws the networks with a fixed seed: labels, edges and styles each move the picture, and nothing saturates."""
    config = SpadeGeneratorConfig(
        CLASSES, width=2, hidden=8, style=STYLE if vae else 0, first_size=(2, 3) if vae else None
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks: dict[str, nn.Module] = {"generator": SpadeGenerator(config)}
        if vae:
            networks["encoder"] = SpadeEncoder(SpadeEncoderConfig(width=2, style=STYLE))
        for network in networks.values():
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(module.weight, 0.2)
                elif isinstance(module, RunningNorm):
                    module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                    module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            network.eval().requires_grad_(False)
        networks["generator"].last.weight.mul_(0.2)  # type: ignore[operator, union-attr]
    return Imported(
        networks,
        preprocessing=Preprocessing("resize"),
        style=StyleInfo("normal", mixing="spherical") if vae else None,
        labels=label_info("custom", CLASSES, unknown=True, edges=True),
    )


SMALL: dict[str, Callable[[], Imported]] = {"spade": small, "spade-vae": lambda: small(vae=True)}
