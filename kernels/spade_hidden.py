"""SPADE's first convolution on labels: the sum of nine columns of its weight, one for each neighbour's symbol.

`hidden = relu(bias + sum over taps of columns[tap, symbol of that neighbour])`: what a 3x3 convolution over a one-hot
label map gives (Park et al. 2019, arXiv:1903.07291, figure 3), without the map and without its multiplications with
zero. Several norms of one resolution read the same labels: their columns side by side make one launch.
Reads `9eK` bytes a position, K hidden channels of e bytes, from L2, and writes eK; on 184 channels of labels the
convolution multiplies 1656 times as often as this adds 9 times. With the layout given, only positions that
`spade_boundary_conv` reads are computed, a third of a real map. Label maps that are not one-hot need the convolution.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.library import wrap_triton
from torch.nn import functional

from i2i_rt.kernels import fused
from i2i_rt.kernels.aot import Build
from i2i_rt.kernels.language import Wrap, plain, tl, triton
from i2i_rt.kernels.operator import define
from i2i_rt.kernels.spade_layout import launch_spade_layout, symbol_at, symbols_of

BLOCK_P, BLOCK_C = 16, 128


def spade_hidden(
    labels: Tensor, edges: Tensor | None, columns: Tensor, bias: Tensor, symbols: Tensor | None = None
) -> Tensor:
    """Gives the hidden maps `[N, K, H, W]`, channels-last, in the dtype of `columns`.

    Args:
        labels: `[N, H, W]` uint8, in any strides.
        edges: `[N, H, W]` of zeros and ones, uint8, or None.
        columns: `[9, 512, K]`: what each symbol adds as the neighbour above to the left, above, and so on by rows.
        bias: `[K]` float32.
        symbols: `[N, H, W]` int16 of `spade_layout`; with them only positions within one of a negative symbol are
            computed, and the others hold anything.
    """
    if fused.chosen("spade_hidden", columns):
        hidden: Tensor = torch.ops.i2i_rt.spade_hidden(labels, edges, columns, bias, symbols)
        return hidden
    return spade_hidden_reference(labels, edges, columns, bias, symbols)


def spade_hidden_reference(
    labels: Tensor, edges: Tensor | None, columns: Tensor, bias: Tensor, symbols: Tensor | None = None
) -> Tensor:
    """Gives zero where nothing has to be computed."""
    _, height, width = labels.shape
    outside = columns.shape[1]
    padded = functional.pad(symbols_of(labels, edges), (1, 1, 1, 1), value=outside)
    total = bias.to(columns.dtype)
    for tap, table in enumerate(functional.pad(columns, (0, 0, 0, 1)).unbind()):
        row, column = divmod(tap, 3)
        total = total + functional.embedding(padded[:, row : row + height, column : column + width], table)
    hidden = functional.relu(total).permute(0, 3, 1, 2)
    return hidden if symbols is None else hidden * reached(symbols)[:, None]


def reached(symbols: Tensor) -> Tensor:
    """Marks the positions `[N, H, W]` within one of a negative symbol."""
    listed = symbols.lt(0).float()[:, None]
    return functional.max_pool2d(listed, 3, 1, 1)[:, 0] > 0


@triton.jit
def _spade_hidden_kernel(
    labels,
    edges,
    columns,
    bias,
    symbols,
    hidden,
    positions,
    height,
    width,
    image_step,
    row_step,
    column_step,
    channels,
    EDGES: tl.constexpr,
    LISTED: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    place = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    here = channel < channels
    column, line = place % width, place // width
    row, image = line % height, line // height
    at = image.to(tl.int64) * image_step + row * row_step + column * column_step
    wanted = place < positions
    if LISTED:
        near = tl.zeros((BLOCK_P,), tl.int32)
        for tap in tl.static_range(9):
            down, right = tap // 3 - 1, tap % 3 - 1
            inside = (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
            symbol = tl.load(symbols + place + (down * width + right), mask=wanted & inside, other=0)
            near |= (symbol < 0).to(tl.int32)
        wanted = wanted & (near != 0)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    total += tl.load(bias + channel, mask=here, other=0.0)[None, :]
    for tap in tl.static_range(9):
        down, right = tap // 3 - 1, tap % 3 - 1
        inside = (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
        symbol = symbol_at(labels, edges, at + (down * row_step + right * column_step), wanted & inside, EDGES)
        column_at = ((tap * 512 + symbol) * channels)[:, None] + channel[None, :]
        total += tl.load(columns + column_at, mask=(wanted & inside)[:, None] & here[None, :], other=0.0).to(tl.float32)
    result = tl.maximum(total, 0.0).to(hidden.dtype.element_ty)
    hidden_at = (place.to(tl.int64) * channels)[:, None] + channel[None, :]
    tl.store(hidden + hidden_at, result, mask=wanted[:, None] & here[None, :])


def launch_spade_hidden(
    labels: Tensor,
    edges: Tensor | None,
    columns: Tensor,
    bias: Tensor,
    symbols: Tensor | None = None,
    wrap: Wrap = plain,
) -> Tensor:
    if edges is not None and edges.stride() != labels.stride():
        labels, edges = labels.contiguous(), edges.contiguous()
    batch, height, width = labels.shape
    channels = columns.shape[2]
    positions = labels.numel()
    block_c = min(BLOCK_C, max(16, triton.next_power_of_2(channels)))
    hidden = columns.new_empty((batch, height, width, channels))
    wrap(_spade_hidden_kernel)[(triton.cdiv(positions, BLOCK_P), triton.cdiv(channels, block_c))](
        labels,
        labels if edges is None else edges,
        columns.contiguous(),
        bias.contiguous(),
        labels if symbols is None else symbols,
        hidden,
        positions,
        height,
        width,
        *labels.stride(),
        channels,
        edges is not None,
        symbols is not None,
        BLOCK_P,
        block_c,
    )
    return hidden.permute(0, 3, 1, 2)


def _spade_hidden(
    labels: Tensor, edges: Tensor | None, columns: Tensor, bias: Tensor, symbols: Tensor | None
) -> Tensor:
    return launch_spade_hidden(labels, edges, columns, bias, symbols, wrap_triton)


def _fake(labels: Tensor, edges: Tensor | None, columns: Tensor, bias: Tensor, symbols: Tensor | None) -> Tensor:
    return columns.new_empty((*labels.shape, columns.shape[2])).permute(0, 3, 1, 2)


def _cpu(labels: Tensor, edges: Tensor | None, columns: Tensor, bias: Tensor, symbols: Tensor | None) -> Tensor:
    hidden = spade_hidden_reference(labels, edges, columns, bias, symbols)
    return hidden.contiguous(memory_format=torch.channels_last)


define("spade_hidden", _spade_hidden, fake=_fake, reference=_cpu, gradient_of=spade_hidden_reference)


def _test(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)
    coarse = torch.randint(0, 256, (1, 2, 3), device=device, dtype=torch.uint8, generator=generator)
    labels = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :13]
    edges = (torch.rand(labels.shape, device=device, generator=generator) < 0.02).to(torch.uint8)
    columns = torch.randn(9, 512, 136, device=device, generator=generator).to(dtype)
    bias = torch.randn(136, device=device, generator=generator)
    exact = spade_hidden_reference(labels, edges, columns.float(), bias)
    yield launch_spade_hidden(labels, edges, columns, bias), exact
    symbols = launch_spade_layout(labels, None)[0]
    exact = spade_hidden_reference(labels, None, columns.float(), bias, symbols)
    hidden = launch_spade_hidden(labels, None, columns, bias, symbols)
    yield torch.where(reached(symbols)[:, None], hidden, 0), exact


fused.register_test("spade_hidden", _test)

_SIZES = ("positions", "height", "width", "image_step", "row_step", "column_step", "channels")
BUILDS = tuple(
    Build(
        f"{element}{' listed' if listed else ''}",
        _spade_hidden_kernel,
        {
            "labels": "*u8",
            "edges": "*u8",
            "columns": f"*{element}",
            "bias": "*fp32",
            "symbols": "*i16",
            "hidden": f"*{element}",
            **dict.fromkeys(_SIZES, "i32"),
        },
        {"EDGES": True, "LISTED": listed, "BLOCK_P": BLOCK_P, "BLOCK_C": BLOCK_C},
        ("labels", "edges", "columns", "bias", "symbols", "hidden", "positions", "height", "width", "channels"),
    )
    for element in ("fp32", "fp16", "bf16")
    for listed in (True, False)
)
