"""Normalisation and dropout as the translation networks use them, in training and at test time."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.kernels import instance_norm

Norm = Literal["instance", "batch"]
Statistics = Literal["image", "running"]


class InstanceNorm(nn.Module):
    """Instance norm without scale and shift: always the image's own statistics, nothing learned, nothing stored."""

    def forward(self, x: Tensor) -> Tensor:
        return instance_norm(x)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that outside training uses either the running statistics or those of each image alone.

    The official pix2pix test script stays in training mode with a batch of one, so its batch statistics are
    the image's own. `statistics="image"` gives the same for batches of any size.
    """

    def __init__(self, channels: int, statistics: Statistics) -> None:
        super().__init__(channels)
        self.statistics = statistics

    def forward(self, input: Tensor) -> Tensor:
        if self.training or self.statistics == "running":
            return super().forward(input)
        return instance_norm(input, self.weight, self.bias, self.eps)


def norm_layer(norm: Norm, channels: int, statistics: Statistics = "image") -> nn.Module:
    return BatchNorm(channels, statistics) if norm == "batch" else InstanceNorm()


class FixedDropout(nn.Module):
    """Dropout of one half in training; at test time one mask, drawn once, or none.

    The official pix2pix test script leaves dropout switched on, so every run gives another image. A frame by
    frame draw would flicker; here `seed` picks one of those images and keeps to it. The mask repeats every
    `PERIOD` positions, which lets it cover any size, and is the same in every exported graph.
    """

    PERIOD = 32

    def __init__(self, channels: int, seed: int | None) -> None:
        super().__init__()
        self.mask: Tensor | None
        mask = None
        if seed is not None:
            shape = (1, channels, self.PERIOD, self.PERIOD)
            mask = torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).random(shape) < 0.5)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return functional.dropout(x, 0.5)
        if self.mask is None:
            return x
        return x * (tiled(self.mask, x) * 2).to(x.dtype)


def tiled(pattern: Tensor, like: Tensor) -> Tensor:
    """Repeats `[1, C, P, P]` periodically to the height and width of `like` `[N, C, H, W]`."""
    rows, columns = (torch.arange(length, device=like.device) % pattern.shape[-1] for length in like.shape[-2:])
    return pattern[:, :, rows][:, :, :, columns]
