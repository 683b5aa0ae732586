"""Normalisation and dropout as the translation networks use them, in training and at test time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.kernels import instance_norm, norm_act, tiled
from i2i_rt.kernels.norm_act import after_norm
from i2i_rt.models.synchronized import SynchronizedBatchNorm

Norm = Literal["instance", "batch"]
Statistics = Literal["image", "running"]


class After(TypedDict, total=False):
    """What a norm computes along with itself, as `kernels.norm_act` describes it; nothing, where it is left out."""

    slope: float
    residual: Tensor | None
    upsample: bool
    pad: int


class StatisticsBlend:
    """Normalises with a mixture of the image's own statistics and those of the frames before it.

    In a video every frame's own statistics move, and with them the colours of the whole picture. The layers of a
    network ask in the order in which they run; `previous` and `blended` `[2, S]` hold the channels of all layers
    one after another, means in the first row and variances in the second, in float32. `momentum` `[1]` is the
    share of the previous statistics: 0 gives the plain network.
    """

    def __init__(self, previous: Tensor, momentum: Tensor) -> None:
        self.previous, self.momentum = previous, momentum
        self._start = 0
        self._blended: list[Tensor] = []

    def normalize(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        """Normalises one image `[1, C, H, W]`; `weight` and `bias` are `[C]`. Gives the dtype of `x`."""
        channels = x.shape[1]
        variance, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)  # [1, C, 1, 1]
        own = torch.cat([mean, variance])
        previous = self.previous[:, self._start : self._start + channels, None, None]
        self._start += channels
        blended = own + self.momentum * (previous - own)
        self._blended.append(blended[:, :, 0, 0])
        # The image's own norm, then a correction by channel: runtimes have a fast kernel for the first, and one that
        # sees only means and products changes the memory's layout, which costs more than the convolutions.
        inverse = torch.rsqrt(blended[1:] + eps)
        scale, shift = torch.sqrt(variance + eps) * inverse, (mean - blended[:1]) * inverse
        if weight is not None:
            scale, shift = scale * weight.float()[:, None, None], shift * weight.float()[:, None, None]
        if bias is not None:
            shift = shift + bias.float()[:, None, None]
        return (instance_norm(x.float(), eps=eps) * scale + shift).to(x.dtype)

    def blended(self) -> Tensor:
        """Gives what the layers normalised with, to be `previous` of the next frame."""
        return torch.cat(self._blended, 1)


class InstanceNorm(nn.Module):
    """Instance norm without scale and shift: always the image's own statistics, nothing learned, nothing stored."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_features, self.eps = channels, 1e-5
        self.blend: StatisticsBlend | None = None

    def forward(self, x: Tensor, **after: Unpack[After]) -> Tensor:
        if self.blend is not None:
            return after_norm(self.blend.normalize(x, None, None, self.eps), **after)
        return norm_act(x, eps=self.eps, **after)


class AffineInstanceNorm(nn.Module):
    """Instance norm with a learned scale and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, **after: Unpack[After]) -> Tensor:
        return norm_act(x, self.weight, self.bias, **after)


class BatchNorm(SynchronizedBatchNorm):
    """Batch norm that outside training uses either the running statistics or those of each image alone.

    The official pix2pix test script stays in training mode with a batch of one, so its batch statistics are
    the image's own. `statistics="image"` gives the same for batches of any size.
    """

    def __init__(self, channels: int, statistics: Statistics) -> None:
        super().__init__(channels)
        self.statistics = statistics
        self.blend: StatisticsBlend | None = None

    def forward(self, input: Tensor, **after: Unpack[After]) -> Tensor:
        if self.training or self.statistics == "running":
            return after_norm(super().forward(input), **after)
        if self.blend is not None:
            return after_norm(self.blend.normalize(input, self.weight, self.bias, self.eps), **after)
        return norm_act(input, self.weight, self.bias, eps=self.eps, **after)


class RunningNorm(SynchronizedBatchNorm):
    """Batch norm whose running statistics stay in float32 when the network is halved, and that normalises in float32.

    The variances of a trained network can be larger than float16's range.
    """

    def forward(self, input: Tensor) -> Tensor:
        wide = input if input.dtype == torch.float64 else input.float()
        if self.training or wide is input:
            return super().forward(wide).to(input.dtype)
        weight, bias = (None if part is None else part.float() for part in (self.weight, self.bias))
        exact = functional.batch_norm(wide, self.running_mean, self.running_var, weight, bias, eps=self.eps)
        return exact.to(input.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "RunningNorm":
        exact = {name: self._buffers[name] for name in ("running_mean", "running_var")}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, tensor in exact.items():
            moved = self._buffers[name]
            if tensor is not None and moved is not None and moved.dtype != tensor.dtype:
                self._buffers[name] = tensor.to(moved.device)
        return self


def norm_layer(norm: Norm, channels: int, statistics: Statistics = "image") -> nn.Module:
    return BatchNorm(channels, statistics) if norm == "batch" else InstanceNorm(channels)


def blended_layers(network: nn.Module) -> list[InstanceNorm | BatchNorm]:
    """Gives the layers of a network that normalise with the image's own statistics, which a blend can replace."""
    return [
        layer
        for layer in network.modules()
        if isinstance(layer, InstanceNorm) or (isinstance(layer, BatchNorm) and layer.statistics == "image")
    ]


@contextmanager
def blending(layers: list[InstanceNorm | BatchNorm], blend: StatisticsBlend) -> Iterator[None]:
    """Lets the layers normalise through `blend` within the block."""
    for layer in layers:
        layer.blend = blend
    try:
        yield
    finally:
        for layer in layers:
            layer.blend = None


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
