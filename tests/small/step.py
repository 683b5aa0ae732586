"""StEP, with the style encoder and the mapper."""

from collections.abc import Callable

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.models.step import (
    StepEncoder,
    StepEncoderConfig,
    StepGenerator,
    StepGeneratorConfig,
    StepMapper,
    StepMapperConfig,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo

STYLE = 4


def small(*, mapper: bool = True) -> Imported:
    """Draws the networks with a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks: dict[str, nn.Module] = {
            "generator": StepGenerator(
                StepGeneratorConfig(style_size=STYLE, width=4, reductions=2, encoder_blocks=1, decoder_blocks=2)
            ),
            "style_encoder": StepEncoder(StepEncoderConfig(style_size=STYLE, widths=(4, 8, 12))),
        }
        if mapper:
            networks["mapper"] = StepMapper(StepMapperConfig((6, 16, STYLE)))
        for network in networks.values():
            for name, parameter in network.named_parameters():
                if parameter.ndim == 1:
                    nn.init.normal_(parameter, 1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.1)
                else:
                    nn.init.normal_(parameter, std=(1.5 / parameter[0].numel()) ** 0.5)
            network.eval().requires_grad_(False)
    return Imported(networks, (), Preprocessing("none", multiple=4), StyleInfo("network" if mapper else "fitted"))


SMALL: dict[str, Callable[[], Imported]] = {"step": small, "step-fitted": lambda: small(mapper=False)}
