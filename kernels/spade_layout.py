"""What SPADE needs to know of a label map, found on the device: which neighbourhoods are of one class, which are not.

The scales and shifts at a position depend on the 5x5 labels around it (two 3x3 convolutions, Park et al. 2019,
arXiv:1903.07291, figure 3). Where all are the same they come from a table with a row for each class; the other
positions, a fifth of a real map of 256x256, have to be computed. `spade_layout` numbers the first and lists the second.
The list's length stays on the device: nothing waits for it, and one CUDA graph serves every label map.

Reads the labels and edges of every position 25 times, from L1; writes 2 + 4 bytes a position. On a map of 32x32 or
less almost all positions are borders, and to compute all of them is simpler.
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

EDGE = 256  # added to the label of a position with an edge
SYMBOLS = 512
REACH = 2  # of a neighbourhood, to each side
BLOCK = 256


def spade_layout(labels: Tensor, edges: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Finds the neighbourhoods of one symbol; a symbol is a label, plus 256 where there is an edge.

    Args:
        labels: `[N, H, W]` uint8, in any strides: a map of lower resolution is `labels[:, ::2, ::2]`.
        edges: `[N, H, W]` of zeros and ones, uint8; None: no position has an edge.

    Returns:
        symbols: `[N, H, W]` int16: the position's symbol where all of its 5x5 neighbours have the same, else -1.
            Neighbourhoods that reach over the border count as different.
        places: `[N * H * W]` int32: the positions with -1 in order, then all the others in order.
        count: `[1]` int32: how many have -1.
    """
    if fused.chosen("spade_layout", labels, torch.float32):
        symbols, places, count = torch.ops.i2i_rt.spade_layout(labels, edges)
        return symbols, places, count
    return spade_layout_reference(labels, edges)


def symbols_of(labels: Tensor, edges: Tensor | None) -> Tensor:
    """Gives the symbols of labels and edges, int32."""
    symbols = labels.to(torch.int32)
    return symbols if edges is None else symbols + EDGE * edges.ne(0).to(torch.int32)


def spade_layout_reference(labels: Tensor, edges: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    symbols = symbols_of(labels, edges)
    _, height, width = symbols.shape
    padded = functional.pad(symbols, (REACH,) * 4, value=-1)
    same = torch.ones_like(symbols, dtype=torch.bool)
    for row in range(2 * REACH + 1):
        for column in range(2 * REACH + 1):
            same &= padded[:, row : row + height, column : column + width] == symbols
    places = torch.argsort(same.flatten().to(torch.uint8), stable=True).to(torch.int32)
    count = (~same).sum().to(torch.int32).reshape(1)
    return torch.where(same, symbols, -1).to(torch.int16), places, count


@triton.jit
def symbol_at(labels, edges, at, inside, EDGES: tl.constexpr):
    """Gives the symbols at offsets into the labels; the edges are stored as they are."""
    symbol = tl.load(labels + at, mask=inside, other=0).to(tl.int32)
    if EDGES:
        symbol += tl.where(tl.load(edges + at, mask=inside, other=0) != 0, 256, 0)
    return symbol


@triton.jit
def _find_kernel(
    labels,
    edges,
    symbols,
    counts,
    positions,
    height,
    width,
    image_step,
    row_step,
    column_step,
    EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < positions
    column, line = place % width, place // width
    row, image = line % height, line // height
    at = image.to(tl.int64) * image_step + row * row_step + column * column_step
    own = symbol_at(labels, edges, at, inside, EDGES)
    interior = inside & (row >= 2) & (row < height - 2) & (column >= 2) & (column < width - 2)
    different = tl.zeros((BLOCK,), tl.int32)
    for down in range(-2, 3):  # not unrolled, so that few loads have to be kept at once
        for right in tl.static_range(-2, 3):
            beside = at + (down * row_step + right * column_step)
            different |= own ^ symbol_at(labels, edges, beside, interior, EDGES)
    same = interior & (different == 0)
    tl.store(symbols + place, tl.where(same, own, -1).to(tl.int16), mask=inside)
    tl.store(counts + tl.program_id(0), tl.sum((inside & (~same)).to(tl.int32), 0))


@triton.jit
def _list_kernel(symbols, counts, places, count, positions, blocks, BLOCK: tl.constexpr):
    block = tl.program_id(0)
    before = tl.zeros((), tl.int32)
    total = tl.zeros((), tl.int32)
    for start in range(0, blocks, BLOCK):
        each = start + tl.arange(0, BLOCK)
        listed = tl.load(counts + each, mask=each < blocks, other=0)
        total += tl.sum(listed, 0)
        before += tl.sum(tl.where(each < block, listed, 0), 0)
    place = block * BLOCK + tl.arange(0, BLOCK)
    inside = place < positions
    wanted = inside & (tl.load(symbols + place, mask=inside, other=0) < 0)
    listed = tl.cumsum(wanted.to(tl.int32), 0) + before  # [BLOCK] up to and with each position
    tl.store(places + tl.where(wanted, listed - 1, total + place - listed), place, mask=inside)
    tl.store(count, total, mask=block == 0)


def launch_spade_layout(labels: Tensor, edges: Tensor | None, wrap: Wrap = plain) -> tuple[Tensor, Tensor, Tensor]:
    if edges is not None and edges.stride() != labels.stride():
        labels, edges = labels.contiguous(), edges.contiguous()
    batch, height, width = labels.shape
    positions = labels.numel()
    blocks = triton.cdiv(positions, BLOCK)
    symbols = labels.new_empty((batch, height, width), dtype=torch.int16)
    counts = labels.new_empty(blocks, dtype=torch.int32)
    places, count = labels.new_empty(positions, dtype=torch.int32), labels.new_empty(1, dtype=torch.int32)
    wrap(_find_kernel)[(blocks,)](
        labels,
        labels if edges is None else edges,
        symbols,
        counts,
        positions,
        height,
        width,
        *labels.stride(),
        edges is not None,
        BLOCK,
    )
    wrap(_list_kernel)[(blocks,)](symbols, counts, places, count, positions, blocks, BLOCK)
    return symbols, places, count


def _spade_layout(labels: Tensor, edges: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return launch_spade_layout(labels, edges, wrap_triton)


def _fake(labels: Tensor, edges: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return (
        labels.new_empty(labels.shape, dtype=torch.int16),
        labels.new_empty(labels.numel(), dtype=torch.int32),
        labels.new_empty(1, dtype=torch.int32),
    )


def _cpu(labels: Tensor, edges: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    symbols, places, count = spade_layout_reference(labels, edges)
    return symbols.contiguous(), places, count


define("spade_layout", _spade_layout, fake=_fake, reference=_cpu)


def _test(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)
    coarse = torch.randint(0, 3, (2, 5, 9), device=device, dtype=torch.uint8, generator=generator)
    labels = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)
    edges = (torch.rand(labels.shape, device=device, generator=generator) < 0.01).to(torch.uint8)
    for step in (1, 2):
        arguments = labels[:, ::step, ::step], edges[:, ::step, ::step] if step == 1 else None
        yield from zip(launch_spade_layout(*arguments), spade_layout_reference(*arguments), strict=True)


fused.register_test("spade_layout", _test)

_SIZES = ("positions", "height", "width", "image_step", "row_step", "column_step")
BUILDS = (
    Build(
        "find",
        _find_kernel,
        {"labels": "*u8", "edges": "*u8", "symbols": "*i16", "counts": "*i32", **dict.fromkeys(_SIZES, "i32")},
        {"EDGES": True, "BLOCK": BLOCK},
        ("labels", "edges", "symbols", "counts", "positions", "height", "width"),
    ),
    Build(
        "list",
        _list_kernel,
        {"symbols": "*i16", "counts": "*i32", "places": "*i32", "count": "*i32", "positions": "i32", "blocks": "i32"},
        {"BLOCK": BLOCK},
        ("symbols", "counts", "places", "count", "positions"),
    ),
)
