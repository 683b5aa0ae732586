"""SPADE's modulation where it is cheapest: a row of a table inside regions, the convolution along their borders.

`y = leaky_relu(x * G + B)`. Where all 5x5 labels are one, G and B are a row of a table that depends on the weights
alone; the other positions, a fifth of a real map of 256x256, get what `spade_conv_modulate` computes. Exact: the
result is that of the dense convolutions. On COCO-Stuff at 256x256 that leaves 75 of 191 billion multiplications.
Moves x and y once and, for listed positions, the hidden channels around them, from L2. The number of listed positions
is read on the device. Along 32x32 positions or less three quarters are borders: `spade_conv_modulate` alone is better.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.library import wrap_triton
from torch.nn import functional

from i2i_rt.kernels import fused
from i2i_rt.kernels.language import Wrap, plain
from i2i_rt.kernels.layout import dense, keeping_layout
from i2i_rt.kernels.operator import define
from i2i_rt.kernels.spade_conv_modulate import (
    build,
    launch_spade_conv_modulate,
    spade_conv_modulate_reference,
    tiles_for,
)
from i2i_rt.kernels.spade_hidden import launch_spade_hidden, reached
from i2i_rt.kernels.spade_layout import launch_spade_layout
from i2i_rt.kernels.spade_table import empty_result, launch_spade_table_apply, spade_table_apply_reference


def spade_boundary_conv(
    x: Tensor,
    hidden: Tensor,
    weight: Tensor,
    factor: Tensor,
    bias: Tensor,
    table: Tensor,
    layout: tuple[Tensor, Tensor, Tensor],
    slope: float,
    doubled: bool = False,
) -> Tensor:
    """Scales and shifts `x` `[N, C, H, W]`, then applies a leaky ReLU.

    Args:
        x: the features, before batch norm.
        hidden: `[N, K, H, W]`, needed within one of listed positions, as `spade_hidden` gives it.
        weight: `[9K, 2C]`, of `spade_conv_modulate`.
        factor: `[2C]`, likewise.
        bias: `[2C]`, likewise.
        table: `[512, 2C]` in the dtype of `x`: scales, then shifts, of neighbourhoods of one symbol.
        layout: what `spade_layout` gives.
        slope: of the negative side; 1 leaves the result as it is.
        doubled: `x` is half as high and wide as `hidden`, and stands for its nearest enlargement, which is never made.
    """
    given = (x, hidden, weight, factor, bias, table, *layout, slope, doubled)
    if fused.chosen("spade_boundary_conv", x):
        result: Tensor = torch.ops.i2i_rt.spade_boundary_conv(*given)
        return result
    return spade_boundary_conv_reference(*given)


def spade_boundary_conv_reference(
    x: Tensor,
    hidden: Tensor,
    weight: Tensor,
    factor: Tensor,
    bias: Tensor,
    table: Tensor,
    symbols: Tensor,
    places: Tensor,
    count: Tensor,
    slope: float,
    doubled: bool = False,
) -> Tensor:
    """Needs the symbols alone: they are negative at the listed positions."""
    if doubled:
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
    uniform = symbols >= 0
    inside = spade_table_apply_reference(x, symbols.clamp_min(0), table, slope)
    border = spade_conv_modulate_reference(x, hidden, weight, factor, bias, slope)
    return torch.where(uniform[:, None], inside, border)


def launch_spade_boundary_conv(
    x: Tensor,
    hidden: Tensor,
    weight: Tensor,
    factor: Tensor,
    bias: Tensor,
    table: Tensor,
    symbols: Tensor,
    places: Tensor,
    count: Tensor,
    slope: float,
    doubled: bool = False,
    wrap: Wrap = plain,
) -> Tensor:
    x, _ = dense(x)
    y = launch_spade_table_apply(x, symbols, table, slope, doubled=doubled, wrap=wrap)
    return launch_spade_conv_modulate(
        x, hidden, weight, factor, bias, slope, doubled, listed=(places, count), out=y, wrap=wrap
    )


def _spade_boundary_conv(
    x: Tensor,
    hidden: Tensor,
    weight: Tensor,
    factor: Tensor,
    bias: Tensor,
    table: Tensor,
    symbols: Tensor,
    places: Tensor,
    count: Tensor,
    slope: float,
    doubled: bool,
) -> Tensor:
    return launch_spade_boundary_conv(
        x, hidden, weight, factor, bias, table, symbols, places, count, slope, doubled, wrap_triton
    )


def _fake(x: Tensor, *rest: Any) -> Tensor:
    return empty_result(x, doubled=rest[-1])


define(
    "spade_boundary_conv",
    _spade_boundary_conv,
    fake=_fake,
    reference=keeping_layout(spade_boundary_conv_reference),
    gradient_of=spade_boundary_conv_reference,
)


def _test(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)
    coarse = torch.randint(0, 3, (2, 2, 2), device=device, dtype=torch.uint8, generator=generator)
    for repeat, channels, depth, doubled in ((12, 64, 128, True), (7, 40, 24, False)):  # wide tiles and narrow ones
        labels = coarse.repeat_interleave(repeat, 1).repeat_interleave(repeat, 2)[:, doubled - 1 :]
        columns = torch.randn(9, 512, depth, device=device, generator=generator).to(dtype)
        layout = launch_spade_layout(labels, None)
        hidden = launch_spade_hidden(labels, None, columns, columns.new_zeros(depth, dtype=torch.float32), layout[0])
        size = [side // 2 if doubled else side for side in labels.shape[1:]]
        x = torch.randn(2, *size, channels, device=device, generator=generator).to(dtype)
        x = x.permute(0, 3, 1, 2)
        weight = (0.03 * torch.randn(9 * depth, 2 * channels, device=device, generator=generator)).to(dtype)
        factor, bias = torch.rand(2, 2 * channels, device=device, generator=generator) + 0.5
        table = torch.randn(512, 2 * channels, device=device, generator=generator).to(dtype)
        known = torch.where(reached(layout[0])[:, None], hidden, 0)
        wide = [tensor.double() for tensor in (x, known, weight, factor, bias, table)]
        exact = spade_boundary_conv_reference(*wide, *layout, 0.2, doubled)  # type: ignore[call-arg, arg-type]
        yield launch_spade_boundary_conv(x, hidden, weight, factor, bias, table, *layout, 0.2, doubled), exact


fused.register_test("spade_boundary_conv", _test)

BUILDS = tuple(
    build(element, tiles_for(dtype, 256 * 256, 128, 128), listed=True)
    for element, dtype in (("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16))
)
