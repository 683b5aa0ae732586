"""SPADE's second convolutions with the modulation as their epilogue: scales and shifts never reach memory.

`y = leaky_relu(x * G + B)` with `G | B = conv3x3(hidden) * factor + bias`, 2C channels from one 3x3 convolution with
zeros around; `factor` and `bias` hold batch norm (Park et al. 2019, arXiv:1903.07291, equation 1 and figure 3).
Moves `e(K + 2C)` bytes a position and the weights, for K hidden channels of e bytes; a convolution that writes G and B
and a pointwise kernel that reads them move 4C more elements a position, twice as much as all else for the official
widths. An implicit matrix product [positions, 9K] x [9K, 2C], accumulated in float32. It pays if it reaches four fifths
of cuDNN's rate; for label maps whose neighbourhoods repeat, a table or `spade_boundary_conv` multiplies less.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.library import wrap_triton
from torch.nn import functional

from i2i_rt.kernels import fused
from i2i_rt.kernels.aot import Build
from i2i_rt.kernels.language import Wrap, plain, tl, triton
from i2i_rt.kernels.layout import dense, keeping_layout
from i2i_rt.kernels.operator import define
from i2i_rt.kernels.spade_table import empty_result, features_at


def spade_conv_modulate(
    x: Tensor, hidden: Tensor, weight: Tensor, factor: Tensor, bias: Tensor, slope: float, doubled: bool = False
) -> Tensor:
    """Scales and shifts `x` `[N, C, H, W]` by two convolutions of `hidden`, then applies a leaky ReLU.

    Args:
        x: the features, before batch norm.
        hidden: `[N, K, H, W]` in the dtype of `x`, channels-last; a range of channels of a wider map will do.
        weight: `[9K, 2C]` in the dtype of `x`: taps by rows, then hidden channels; C scales, then C shifts.
        factor: `[2C]` float32.
        bias: `[2C]` float32.
        slope: of the negative side; 1 leaves the result as it is.
        doubled: `x` is half as high and wide as `hidden`, and stands for its nearest enlargement, which is never made.
    """
    if fused.chosen("spade_conv_modulate", x):
        result: Tensor = torch.ops.i2i_rt.spade_conv_modulate(x, hidden, weight, factor, bias, slope, doubled)
        return result
    return spade_conv_modulate_reference(x, hidden, weight, factor, bias, slope, doubled)


def spade_conv_modulate_reference(
    x: Tensor, hidden: Tensor, weight: Tensor, factor: Tensor, bias: Tensor, slope: float, doubled: bool = False
) -> Tensor:
    if doubled:
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
    scale, shift = convolved(hidden, weight, factor, bias).to(x.dtype).chunk(2, 1)
    result = x * scale + shift
    return result if slope == 1 else functional.leaky_relu(result, slope)


def convolved(hidden: Tensor, weight: Tensor, factor: Tensor, bias: Tensor) -> Tensor:
    """Gives `conv3x3(hidden) * factor + bias` `[N, 2C, H, W]`, at least in float32."""
    kernel = weight.t().reshape(weight.shape[1], 3, 3, hidden.shape[1]).permute(0, 3, 1, 2)
    result = functional.conv2d(hidden, kernel, padding=1)
    wide = torch.promote_types(result.dtype, torch.float32)
    return result.to(wide) * factor.to(wide)[:, None, None] + bias.to(wide)[:, None, None]


@dataclass(frozen=True)
class Tiles:
    """How the product is cut: positions, channels (of scales and as many of shifts), and hidden channels a step."""

    positions: int
    channels: int
    hidden: int
    warps: int
    stages: int


def tiles_for(dtype: torch.dtype, positions: int, channels: int, hidden: int) -> Tiles:
    """Chooses tiles by the shape: the fewer positions, the narrower, so that all multiprocessors have work."""
    step = min(64, max(16, triton.next_power_of_2(hidden)))
    wide = max(16, triton.next_power_of_2(channels))
    if dtype == torch.float32:  # without tensor cores, whose ten bits of mantissa are too few for float32
        return Tiles(32, min(wide, 32), min(step, 32), 4, 2)
    if positions <= 1024:
        return Tiles(64, min(wide, 16 if positions <= 64 else 32), step, 4, 4)
    return Tiles(128, min(wide, 64), step, 8, 4)


@triton.jit
def spade_conv_modulate_kernel(
    x,
    hidden,
    weight,
    factor,
    bias,
    places,
    count,
    y,
    positions,
    height,
    width,
    channels,
    step,
    slope: tl.constexpr,
    HIDDEN: tl.constexpr,
    LISTED: tl.constexpr,
    DOUBLED: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Computes tiles of positions x channels: of all positions, or of the first `count` of `places`.

    Programs stride over the tiles, because the host does not know how many there are where positions are listed.
    """
    STEPS: tl.constexpr = (HIDDEN + BLOCK_K - 1) // BLOCK_K
    todo = positions
    if LISTED:
        todo = tl.load(count)
    columns = tl.cdiv(channels, BLOCK_C)
    # neighbours in time are the columns of one row: they read the same hidden channels, from L2
    for tile in range(tl.program_id(0), tl.cdiv(todo, BLOCK_P) * columns, tl.num_programs(0)):
        nth = tile // columns * BLOCK_P + tl.arange(0, BLOCK_P)
        channel = tile % columns * BLOCK_C + tl.arange(0, BLOCK_C)
        real, here = nth < todo, channel < channels
        place = nth
        if LISTED:
            place = tl.load(places + nth, mask=real, other=0)
        column, line = place % width, place // width
        row = line % height
        scale = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
        shift = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
        for part in range(9 * STEPS):
            tap, k = part // STEPS, part % STEPS * BLOCK_K + tl.arange(0, BLOCK_K)
            down, right = tap // 3 - 1, tap % 3 - 1
            inside = real & (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
            at = ((place + (down * width + right)).to(tl.int64) * step)[:, None] + k[None, :]
            weight_at = ((tap * HIDDEN + k) * (2 * channels))[:, None] + channel[None, :]
            # [BLOCK_P, BLOCK_K], [BLOCK_K, BLOCK_C] twice
            if HIDDEN % BLOCK_K == 0:
                near = tl.load(hidden + at, mask=inside[:, None], other=0.0)
                to_scale = tl.load(weight + weight_at, mask=here[None, :], other=0.0)
                to_shift = tl.load(weight + weight_at + channels, mask=here[None, :], other=0.0)
            else:
                known = (k < HIDDEN)[:, None] & here[None, :]
                near = tl.load(hidden + at, mask=inside[:, None] & (k < HIDDEN)[None, :], other=0.0)
                to_scale = tl.load(weight + weight_at, mask=known, other=0.0)
                to_shift = tl.load(weight + weight_at + channels, mask=known, other=0.0)
            scale = tl.dot(near, to_scale, scale, input_precision="ieee")
            shift = tl.dot(near, to_shift, shift, input_precision="ieee")
        scale *= tl.load(factor + channel, mask=here, other=0.0)[None, :]
        scale += tl.load(bias + channel, mask=here, other=0.0)[None, :]
        shift *= tl.load(factor + channels + channel, mask=here, other=0.0)[None, :]
        shift += tl.load(bias + channels + channel, mask=here, other=0.0)[None, :]
        plane = height * width
        image = (place // plane).to(tl.int64)
        inner = place % plane
        mask = real[:, None] & here[None, :]
        from_at = features_at(image, inner, channel, plane, width, channels, DOUBLED, CHANNELS_LAST)
        result = tl.load(x + from_at, mask=mask, other=0.0).to(tl.float32) * scale + shift
        result = tl.where(result >= 0, result, result * slope)
        to_at = features_at(image, inner, channel, plane, width, channels, False, CHANNELS_LAST)
        tl.store(y + to_at, result.to(y.dtype.element_ty), mask=mask)


def launch_spade_conv_modulate(
    x: Tensor,
    hidden: Tensor,
    weight: Tensor,
    factor: Tensor,
    bias: Tensor,
    slope: float,
    doubled: bool = False,
    *,
    listed: tuple[Tensor, Tensor] | None = None,
    out: Tensor | None = None,
    wrap: Wrap = plain,
) -> Tensor:
    """Launches the kernel.

    Args:
        x: as the other tensors and `slope`, of `spade_conv_modulate`.
        hidden: see there.
        weight: see there.
        factor: see there.
        bias: see there.
        slope: see there.
        doubled: see there.
        listed: places and count of `spade_layout`: only these positions are computed, and `out` keeps the others.
        out: stored as `x` is.
        wrap: of the kernel.
    """
    x, channels_last = dense(x)
    y = empty_result(x, doubled) if out is None else out
    batch, channels, height, width = y.shape
    positions, depth = batch * height * width, hidden.shape[1]
    hidden, step = _rows(hidden)
    tiles = tiles_for(x.dtype, positions, channels, depth)
    most = triton.cdiv(positions, tiles.positions) * triton.cdiv(channels, tiles.channels)
    wrap(spade_conv_modulate_kernel)[(most if listed is None else min(most, programs(x.device)),)](
        x,
        hidden,
        weight.contiguous(),
        factor.contiguous(),
        bias.contiguous(),
        *(listed or (weight, weight)),  # pointers that are not read
        y,
        positions,
        height,
        width,
        channels,
        step,
        slope,
        depth,
        listed is not None,
        doubled,
        channels_last,
        tiles.positions,
        tiles.channels,
        tiles.hidden,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    return y


def programs(device: torch.device) -> int:
    """Gives how many programs keep a device busy: one a multiprocessor, whose shared memory one program fills."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


def _rows(hidden: Tensor) -> tuple[Tensor, int]:
    """Gives a map `[N, K, H, W]` whose positions are rows of K neighbours, and how far these rows lie apart."""
    _, _, height, width = hidden.shape
    step = hidden.stride(3)
    rows = hidden.stride(1) == 1 and hidden.stride(2) == width * step and hidden.stride(0) == height * width * step
    if not rows:
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        return hidden, hidden.shape[1]
    return hidden, step


def _spade_conv_modulate(
    x: Tensor, hidden: Tensor, weight: Tensor, factor: Tensor, bias: Tensor, slope: float, doubled: bool
) -> Tensor:
    return launch_spade_conv_modulate(x, hidden, weight, factor, bias, slope, doubled, wrap=wrap_triton)


def _fake(
    x: Tensor, hidden: Tensor, weight: Tensor, factor: Tensor, bias: Tensor, slope: float, doubled: bool
) -> Tensor:
    return empty_result(x, doubled)


define(
    "spade_conv_modulate",
    _spade_conv_modulate,
    fake=_fake,
    reference=keeping_layout(spade_conv_modulate_reference),
    gradient_of=spade_conv_modulate_reference,
)


def _test(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)
    # narrow tiles and wide ones; channels and hidden channels that no tile divides; both layouts; a range of a map
    for channels, depth, side, layout, doubled in (
        (128, 128, 8, torch.channels_last, False),
        (64, 128, 34, torch.channels_last, True),
        (40, 24, 9, torch.contiguous_format, False),
    ):
        small = side // 2 if doubled else side
        x = torch.randn(1, channels, small, small, device=device, generator=generator).to(dtype)
        hidden = torch.randn(1, side, side, 2 * depth, device=device, generator=generator).relu().to(dtype)
        hidden = hidden.permute(0, 3, 1, 2)[:, depth:]
        weight = (0.03 * torch.randn(9 * depth, 2 * channels, device=device, generator=generator)).to(dtype)
        factor, bias = torch.rand(2, 2 * channels, device=device, generator=generator) + 0.5
        exact = spade_conv_modulate_reference(
            x.double(), hidden.double(), weight.double(), factor.double(), bias.double(), 0.2, doubled
        )
        x = x.contiguous(memory_format=layout)
        yield launch_spade_conv_modulate(x, hidden, weight, factor, bias, 0.2, doubled), exact


fused.register_test("spade_conv_modulate", _test)


def build(element: str, tiles: Tiles, *, listed: bool) -> Build:
    """Describes the kernel for the 128 hidden channels of the official networks, channels-last."""
    pointers = ("x", "hidden", "weight", "factor", "bias", "places", "y")
    return Build(
        f"{element} {tiles.positions}x{tiles.channels}x{tiles.hidden}{' listed' if listed else ''}",
        spade_conv_modulate_kernel,
        {
            **dict.fromkeys(("x", "hidden", "weight", "y"), f"*{element}"),
            **dict.fromkeys(("factor", "bias"), "*fp32"),
            **dict.fromkeys(("places", "count"), "*i32"),
            **dict.fromkeys(("positions", "height", "width", "channels", "step"), "i32"),
        },
        {
            "slope": 0.2,
            "HIDDEN": 128,
            "LISTED": listed,
            "DOUBLED": True,
            "CHANNELS_LAST": True,
            "BLOCK_P": tiles.positions,
            "BLOCK_C": tiles.channels,
            "BLOCK_K": tiles.hidden,
        },
        (*pointers, "positions", "height", "width", "channels", "step"),
        tiles.warps,
        tiles.stages,
    )


BUILDS = tuple(
    build(element, tiles_for(dtype, positions, channels, 128), listed=False)
    for element, dtype in (("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16))
    for positions, channels in ((8 * 8, 1024), (32 * 32, 1024), (64 * 64, 512))
    if dtype != torch.float32 or positions == 64  # one size of tiles serves all
)
