"""Layers one after another, where a norm computes along with itself what follows it: activation, sum, reflected edges.

Where no fused kernel is used, the numbers and the operations are those of the layers by themselves.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Unpack

from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.kernels.norm_act import writes_edges
from i2i_rt.models.norm import AffineInstanceNorm, After, BatchNorm, InstanceNorm

NORMS = (InstanceNorm, AffineInstanceNorm, BatchNorm)
Layer = Callable[..., Tensor]
# takes features without and with one reflected row and column round them; gives its own without and with `pad`
EdgedBlock = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def run(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Runs layers one after another, as `nn.Sequential` does."""
    for layer, after in _steps(list(layers)):
        x = layer(x, **after)
    return x


def run_edged(layers: Iterable[nn.Module], x: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Runs layers; gives the last one's result without and with `pad` reflected rows and columns round it."""
    *steps, (last, after) = _steps(list(layers))
    for layer, following in steps:
        x = layer(x, **following)
    if isinstance(last, NORMS):
        return with_edges(last, x, pad, **after)
    x = last(x)
    return x, reflected(x, pad)


def run_blocks(blocks: Sequence[EdgedBlock], x: Tensor, edged: Tensor) -> Tensor:
    """Runs residual blocks, each of which writes the edges of the next one; takes features without and with them."""
    for number, block in enumerate(blocks, 1):
        x, edged = block(x, edged, 1 if number < len(blocks) else 0)
    return x


def with_edges(norm: Layer, x: Tensor, pad: int, /, **after: Unpack[After]) -> tuple[Tensor, Tensor]:
    """Gives what a norm makes of `x` without and with `pad` reflected rows and columns round it.

    A fused kernel writes only the second; the first, for a later sum, is the part inside.
    """
    if pad and writes_edges(x):
        edged = norm(x, pad=pad, **after)
        return edged[:, :, pad:-pad, pad:-pad], edged
    y = norm(x, **after)
    return y, reflected(y, pad)


def reflected(x: Tensor, pad: int) -> Tensor:
    """Gives `x` with `pad` reflected rows and columns round it."""
    return functional.pad(x, (pad, pad, pad, pad), mode="reflect") if pad else x


def convolved(convolution: nn.Conv2d, edged: Tensor) -> Tensor:
    """Applies a convolution on reflected edges to features that have them already."""
    return functional.conv2d(edged, convolution.weight, convolution.bias, convolution.stride)


def _steps(layers: Sequence[nn.Module]) -> list[tuple[Layer, After]]:
    """Gives the layers, without those that the norm in front of them takes over, and what norms take over."""
    steps: list[tuple[Layer, After]] = []
    layer: Layer
    index = 0
    while index < len(layers):
        layer = layers[index]
        after: After = {}
        index += 1
        if isinstance(layer, NORMS):
            slope = _slope(layers[index]) if index < len(layers) else None
            if slope is not None:
                after["slope"] = slope
                index += 1
            following = layers[index] if index < len(layers) else None
            if isinstance(following, nn.ReflectionPad2d):
                after["pad"] = following.padding[0]
                index += 1
            elif isinstance(following, nn.Conv2d) and following.padding_mode == "reflect":
                after["pad"] = int(following.padding[0])
                steps.append((layer, after))
                layer, after = partial(convolved, following), {}
                index += 1
        steps.append((layer, after))
    return steps


def _slope(layer: nn.Module) -> float | None:
    """Gives the slope of an activation's negative side; None where it is no leaky ReLU."""
    if isinstance(layer, nn.LeakyReLU):
        return float(layer.negative_slope)
    return 0.0 if isinstance(layer, nn.ReLU) else None


class Chain(nn.Sequential):
    """A `Sequential` that runs its layers by `run`."""

    def forward(self, x: Tensor) -> Tensor:
        return run(self, x)
