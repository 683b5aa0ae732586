"""Multi-scale PatchGAN (Wang et al. 2018, arXiv:1711.11585, section 3.2) in the form that SPADE trains with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.models.norm import InstanceNorm
from i2i_rt.models.spectral import fold_spectral_norm


@dataclass(frozen=True)
class MultiscaleDiscriminatorConfig:
    """Rebuilds a `MultiscaleDiscriminator`, together with its weights."""

    in_channels: int = 187  # the label map and the picture
    width: int = 64
    layers: int = 4  # convolutions before the one that scores
    scales: int = 2

    def __post_init__(self) -> None:
        if min(self.in_channels, self.width, self.scales) < 1 or self.layers < 2:
            raise I2IError(
                f"in_channels is {self.in_channels}, width {self.width}, scales {self.scales} and layers "
                f"{self.layers}; they must be at least 1, and layers at least 2"
            )


class MultiscaleDiscriminator(nn.Module):
    """Scores patches at full, half, … size: a PatchGAN a scale, whose features are compared in training.

    Takes the label map and the picture as one tensor `[N, C, H, W]`.
    """

    def __init__(self, config: MultiscaleDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.discriminators = nn.ModuleList(_layers(config) for _ in range(config.scales))

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """Gives the outputs of every layer for each scale; the last of a scale are the raw scores `[N, 1, h, w]`."""
        results = []
        for index, layers in enumerate(self.discriminators):
            if index > 0:
                x = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            outputs = [x]
            for layer in layers:  # type: ignore[attr-defined]
                outputs.append(layer(outputs[-1]))
            results.append(outputs[1:])
        return results


def _layers(config: MultiscaleDiscriminatorConfig) -> nn.ModuleList:
    """Gives the layers of one scale: 4x4 convolutions, instance norm in all but the first and the last."""
    layers = [nn.Sequential(nn.Conv2d(config.in_channels, config.width, 4, 2, 2), nn.LeakyReLU(0.2))]
    channels = config.width
    for step in range(1, config.layers):
        wider = min(2 * channels, 512)
        stride = 1 if step == config.layers - 1 else 2
        convolution = nn.Conv2d(channels, wider, 4, stride, 2, bias=False)
        layers.append(nn.Sequential(convolution, InstanceNorm(wider), nn.LeakyReLU(0.2)))
        channels = wider
    layers.append(nn.Sequential(nn.Conv2d(channels, 1, 4, 1, 2)))
    return nn.ModuleList(layers)


def read_official(
    state: Mapping[str, Tensor],
) -> tuple[MultiscaleDiscriminatorConfig, dict[str, Tensor]] | None:
    """Finds the config in an official discriminator's keys and shapes, with spectral norm divided out, or None."""
    if "discriminator_0.model0.0.weight" not in state:
        return None
    places = [re.match(r"discriminator_(\d+)\.model(\d+)\.", key) for key in state]
    numbers = [(int(place[1]), int(place[2])) for place in places if place]
    first = state["discriminator_0.model0.0.weight"]
    config = MultiscaleDiscriminatorConfig(
        in_channels=first.shape[1],
        width=first.shape[0],
        layers=max(layer for _, layer in numbers),
        scales=1 + max(scale for scale, _ in numbers),
    )
    weights = {
        # a layer with spectral and instance norm is nested once more than the plain ones
        re.sub(r"^discriminator_(\d+)\.model(\d+)(\.0)+\.", r"discriminators.\1.\2.0.", key): tensor
        for key, tensor in fold_spectral_norm(state).items()
    }
    return config, weights
