"""Fixed low-pass down- and up-sampling (Zhang 2019, arXiv:1904.11486), as CUT's networks and StyleGAN2's use them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.kernels import blur


def binomial_filter(taps: tuple[int, ...]) -> Tensor:
    """Gives the normalised outer product of `taps`, `[T, T]`."""
    row = torch.tensor(taps, dtype=torch.get_default_dtype())
    kernel = torch.outer(row, row)
    return kernel / kernel.sum()


class Blur(nn.Module):
    """Depthwise low-pass with padding `(before, after)` on both axes, zeros or reflected edges, `[N, C, H, W]`."""

    def __init__(
        self,
        channels: int,
        taps: tuple[int, ...],
        padding: tuple[int, int],
        *,
        stride: int = 1,
        gain: float = 1,
        reflect: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.reflect = stride, padding, reflect
        kernel = binomial_filter(taps) * gain
        self.register_buffer("kernel", kernel.repeat(channels, 1, 1, 1), persistent=False)
        self.kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return blur(x, self.kernel, self.padding, stride=self.stride, reflect=self.reflect)


class BlurPool(nn.Module):
    """Halves height and width: 1-2-1 low-pass on reflected edges, then every second position; odd sizes round up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", binomial_filter((1, 2, 1)).repeat(channels, 1, 1, 1), persistent=False)
        self.kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return blur(x, self.kernel, (1, 1), stride=2, reflect=True)


class BilinearUpsample(nn.Module):
    """Doubles height and width. Bilinear, which equals zero-stuffing and a 1-3-3-1 low-pass on replicated edges."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
