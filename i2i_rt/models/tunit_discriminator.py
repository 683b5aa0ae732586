"""TUNIT's discriminator (Baek et al. 2021, arXiv:2006.06500, appendix A): a logit for each pseudo-domain.

In place of a norm and an activation stand filter response normalisation and a thresholded linear unit (Singh and
Krishnan 2020, arXiv:1911.09737), which know nothing of other images.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError

ROOT_HALF = 0.5**0.5


@dataclass(frozen=True)
class TUNITDiscriminatorConfig:
    """Rebuilds a `TUNITDiscriminator`, together with its weights."""

    width: int = 64
    max_width: int = 1024
    image_size: int = 128  # a power of two; each side of the images
    clusters: int = 10

    def __post_init__(self) -> None:
        if min(self.width, self.max_width, self.clusters) < 1:
            raise I2IError("width, max_width and clusters must be at least 1")
        if self.image_size < 8 or self.image_size & (self.image_size - 1):
            raise I2IError(f"image_size is {self.image_size}; it must be a power of two, at least 8")


class FilterResponseNorm(nn.Module):
    """`max(gamma * x / rms(x) + beta, tau)` with the root mean square of each plane `[H, W]`."""

    EPS = 1e-6

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta, self.tau = (nn.Parameter(torch.zeros(1, channels, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        square = x.float().square().mean((2, 3), keepdim=True)
        normalised = x * torch.rsqrt(square + self.EPS).to(x.dtype)
        return torch.maximum(self.gamma * normalised + self.beta, self.tau)


class DiscriminatorBlock(nn.Module):
    """Residual block, each convolution behind its norm; `[N, I, H, W]` to `[N, O, H, W]`, or half of each side."""

    def __init__(self, in_channels: int, out_channels: int, *, reduce: bool) -> None:
        super().__init__()
        self.reduce = reduce
        self.norm1, self.norm2 = FilterResponseNorm(in_channels), FilterResponseNorm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv1x1 = (
            nn.Conv2d(in_channels, out_channels, 1, bias=False) if in_channels != out_channels else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        beside, x = self.conv1x1(x), self.conv1(self.norm1(x))
        if self.reduce:
            x, beside = functional.avg_pool2d(x, 2), functional.avg_pool2d(beside, 2)
        result: Tensor = (self.conv2(self.norm2(x)) + beside) * ROOT_HALF
        return result


class TUNITDiscriminator(nn.Module):
    """Judges images `[N, 3, image_size, image_size]` in [-1, 1]: a logit for every pseudo-domain, `[N, K]`."""

    def __init__(self, config: TUNITDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        levels = config.image_size.bit_length() - 3  # down to 4x4
        widths = [min(config.width * 2**level, config.max_width) for level in range(levels + 1)]
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
        for before, after in pairwise(widths):
            layers += [
                DiscriminatorBlock(before, before, reduce=False),
                DiscriminatorBlock(before, after, reduce=True),
            ]
        layers += [nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], widths[-1], 4), nn.LeakyReLU(0.2)]
        self.main = nn.Sequential(*layers, nn.Conv2d(widths[-1], config.clusters, 1))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.main(image)
        return logits.flatten(1)
