"""Discriminator of UNIT as its paper has it: one of patches for each of several sizes of the picture."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.kernels import blur
from i2i_rt.models.resample import binomial_filter


@dataclass(frozen=True)
class UnitDiscriminatorConfig:
    """Rebuilds a `UnitDiscriminator`, together with its weights."""

    in_channels: int = 3
    width: int = 64  # channels after the first convolution; doubled at each further one
    layers: int = 4
    scales: int = 3  # 3 for street scenes, 1 for animals

    def __post_init__(self) -> None:
        if min(self.in_channels, self.width, self.layers, self.scales) < 1:
            raise I2IError(
                f"in_channels is {self.in_channels}, width {self.width}, layers {self.layers} and scales "
                f"{self.scales}; each must be at least 1"
            )


class UnitDiscriminator(nn.Module):
    """Gives a map of logits for each size of a picture, the whole one first; halves it behind a low-pass.

    Strided 3x3 convolutions on edges of zeros without norm; the low-pass is 1-2-1, on edges that are repeated.
    """

    def __init__(self, config: UnitDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.in_channels, *(config.width << layer for layer in range(config.layers))]
        self.scales = nn.ModuleList()
        for _ in range(config.scales):
            layers: list[nn.Module] = []
            for inputs, outputs in pairwise(widths):
                layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.LeakyReLU(0.01)]
            self.scales.append(nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1)))
        kernel = binomial_filter((1, 2, 1)).repeat(config.in_channels, 1, 1, 1)
        self.register_buffer("kernel", kernel, persistent=False)
        self.kernel: Tensor

    def forward(self, image: Tensor) -> list[Tensor]:
        logits = [self.scales[0](image)]
        for scale in self.scales[1:]:
            padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
            image = blur(padded, self.kernel, (0, 0), stride=2)
            logits.append(scale(image))
        return logits
