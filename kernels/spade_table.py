"""SPADE's scale and shift from a table: every position has the row of its neighbourhood of labels.

`y = leaky_relu(x * G[index] + B[index])`, with batch norm folded into G and B (Park et al. 2019, arXiv:1903.07291,
equation 1). Moves x and y once and the index, `2e * NCHW + (1 to 4) * NHW` bytes for elements of e bytes: the rows
come from L2, as real label maps repeat their neighbourhoods. Maps of scales and shifts would be another `2e * NCHW` to
read, after as much to write. Where every position has a row of its own, a table is no smaller, and does not pay.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.library import wrap_triton
from torch.nn import functional

from i2i_rt.kernels import cupy_module, fused
from i2i_rt.kernels.aot import Build
from i2i_rt.kernels.language import Wrap, plain, tl, triton
from i2i_rt.kernels.layout import dense, empty, keeping_layout
from i2i_rt.kernels.operator import define

BLOCK_P, BLOCK_C = 32, 64
CUDA = "spade_table_apply.cuda"  # the kernel in CUDA C++, for eager PyTorch and channels-last
VECTOR_BYTES, THREADS, BATCH = 16, 256, 2
INDICES = {torch.int8: "signed char", torch.int16: "short", torch.int32: "int"}


def spade_table_apply(x: Tensor, index: Tensor, table: Tensor, slope: float) -> Tensor:
    """Scales and shifts `x` `[N, C, H, W]` by rows of `table`, then applies a leaky ReLU.

    Args:
        x: of any floating dtype.
        index: `[N, H, W]` int32, rows of the table.
        table: `[U, 2C]` in the dtype of `x`: C scales, then C shifts.
        slope: of the negative side; 1 leaves the result as it is.
    """
    if fused.chosen("spade_table_apply", x):
        result: Tensor = torch.ops.i2i_rt.spade_table_apply(x, index, table, slope)
        return result
    return spade_table_apply_reference(x, index, table, slope)


def spade_table_apply_reference(x: Tensor, index: Tensor, table: Tensor, slope: float) -> Tensor:
    channels = x.shape[1]
    # scales and shifts as rows of their own: whole rows are fetched, and nothing is cut in two afterwards
    rows, first = table.reshape(-1, channels), 2 * index.to(torch.int32)
    # in the order of the fetched rows; a runtime whose convolutions are channels-last then transposes nothing
    result = x.permute(0, 2, 3, 1) * functional.embedding(first, rows) + functional.embedding(first + 1, rows)
    if slope != 1:
        result = functional.leaky_relu(result, slope)
    return result.permute(0, 3, 1, 2)


@triton.jit
def features_at(image, place, channel, plane, width, channels, DOUBLED: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """Gives the offsets `[places, channels]` of places in images of `plane` positions.

    DOUBLED: the features are stored at half of that height and width, and stand for four positions each.
    """
    if DOUBLED:
        place = place // width // 2 * (width // 2) + place % width // 2
        plane = plane // 4
    if CHANNELS_LAST:
        return ((image * plane + place) * channels)[:, None] + channel[None, :]
    return (image * plane * channels + place)[:, None] + (channel * plane)[None, :]


@triton.jit
def _spade_table_apply_kernel(
    x,
    index,
    table,
    y,
    plane,
    width,
    channels,
    slope: tl.constexpr,
    DOUBLED: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    tiles = tl.cdiv(plane, BLOCK_P)
    image = (tl.program_id(0) // tiles).to(tl.int64)
    place = tl.program_id(0) % tiles * BLOCK_P + tl.arange(0, BLOCK_P)  # [BLOCK_P] in the image
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row = tl.load(index + image * plane + place, mask=place < plane, other=-1).to(tl.int64)
    # a negative row: another kernel writes this position
    kept = (row >= 0)[:, None] & (channel < channels)[None, :]
    scale_at = (row * (2 * channels))[:, None] + channel[None, :]
    scale = tl.load(table + scale_at, mask=kept, other=0.0).to(tl.float32)  # [BLOCK_P, BLOCK_C]
    shift = tl.load(table + scale_at + channels, mask=kept, other=0.0).to(tl.float32)
    from_at = features_at(image, place, channel, plane, width, channels, DOUBLED, CHANNELS_LAST)
    result = tl.load(x + from_at, mask=kept, other=0.0).to(tl.float32) * scale + shift
    result = tl.where(result >= 0, result, result * slope)
    at = features_at(image, place, channel, plane, width, channels, False, CHANNELS_LAST)
    tl.store(y + at, result.to(y.dtype.element_ty), mask=kept)


def empty_result(x: Tensor, doubled: bool) -> Tensor:
    """Gives memory for a result, stored as `x` is; `doubled`: of twice its height and width."""
    factor = 2 if doubled else 1
    return empty(x, factor * x.shape[2], factor * x.shape[3])


def launch_spade_table_apply(
    x: Tensor,
    index: Tensor,
    table: Tensor,
    slope: float,
    *,
    doubled: bool = False,
    wrap: Wrap = plain,
    out: Tensor | None = None,
) -> Tensor:
    """Launches a kernel; see `spade_table_apply`.

    Args:
        x: see there.
        index: a negative one leaves its position as it is, for another kernel.
        table: see there.
        slope: see there.
        doubled: `x` is half as high and wide as the index, and stands for its nearest enlargement.
        wrap: of the kernel.
        out: written to, stored as `x` is.
    """
    x, channels_last = dense(x)
    y = empty_result(x, doubled) if out is None else out
    if fused.eager(CUDA, x) and fits_vectors(y):
        launch_cuda(x, index, table, slope, y)
        return y
    batch, channels, height, width = y.shape
    plane = height * width
    block_c = min(BLOCK_C, max(16, triton.next_power_of_2(channels)))
    wrap(_spade_table_apply_kernel)[(batch * triton.cdiv(plane, BLOCK_P), triton.cdiv(channels, block_c))](
        x,
        index.contiguous(),
        table.contiguous(),
        y,
        plane,
        width,
        channels,
        slope,
        doubled,
        channels_last,
        BLOCK_P,
        block_c,
    )
    return y


def fits_vectors(y: Tensor) -> bool:
    """Says whether the kernel in CUDA C++ can write `y`: in vectors of channels, whose numbers are int32."""
    _, channels_last = dense(y)
    return channels_last and y.shape[1] * y.element_size() % VECTOR_BYTES == 0 and y.numel() < 2**31


def launch_cuda(x: Tensor, index: Tensor, table: Tensor, slope: float, y: Tensor) -> None:
    """Launches the kernel in CUDA C++, which writes `y` where the index is not negative; `y` may be `x` doubled."""
    count = VECTOR_BYTES // x.element_size()
    vectors = y.numel() // count
    cupy_module.launch(
        "spade.cu",
        entry(x.dtype, index.dtype, doubled=x.shape != y.shape),
        (triton.cdiv(vectors, THREADS * BATCH),),
        THREADS,
        x,
        index.contiguous(),
        table.contiguous(),
        y,
        vectors,
        x.shape[1] // count,
        y.shape[3],
        float(slope),
    )


def entry(dtype: torch.dtype, index: torch.dtype, *, doubled: bool) -> str:
    """Names the kernel in CUDA C++ for features and indices of these dtypes."""
    numbers = f"{VECTOR_BYTES // dtype.itemsize}, {BATCH}, {str(doubled).lower()}"
    return f"spade_table_apply<{cupy_module.NAMES[dtype]}, {INDICES[index]}, {numbers}>"


def _spade_table_apply(x: Tensor, index: Tensor, table: Tensor, slope: float) -> Tensor:
    return launch_spade_table_apply(x, index, table, slope, wrap=wrap_triton)


def _fake(x: Tensor, index: Tensor, table: Tensor, slope: float) -> Tensor:
    return empty_result(x, False)


define(
    "spade_table_apply",
    _spade_table_apply,
    fake=_fake,
    reference=keeping_layout(spade_table_apply_reference),
    gradient_of=spade_table_apply_reference,
)


def _test(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)
    for channels, layout in ((128, torch.channels_last), (61, torch.channels_last), (61, torch.contiguous_format)):
        x = torch.randn(2, channels, 9, 15, device=device, dtype=dtype, generator=generator)
        x = x.contiguous(memory_format=layout)
        table = torch.randn(7, 2 * channels, device=device, dtype=dtype, generator=generator)
        index = torch.randint(0, 7, (2, 9, 15), device=device, dtype=torch.int32, generator=generator)
        exact = spade_table_apply_reference(x.float(), index, table.float(), 0.2)
        yield launch_spade_table_apply(x, index, table, 0.2), exact


def _test_cuda(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)
    x = torch.randn(2, 9, 15, 40, device=device, generator=generator).to(dtype).permute(0, 3, 1, 2)
    table = torch.randn(7, 80, device=device, generator=generator).to(dtype)
    index = torch.randint(0, 7, (2, 9, 15), device=device, generator=generator)
    exact = spade_table_apply_reference(x.float(), index, table.float(), 0.2)
    for kind in INDICES:
        y = torch.full_like(x, float("nan"))
        launch_cuda(x, index.to(kind), table, 0.2, y)
        yield y, exact
    large = index.repeat_interleave(2, 1).repeat_interleave(2, 2)
    y = empty_result(x, True)
    launch_cuda(x, large.to(torch.int16), table, 0.2, y)
    yield y, functional.interpolate(exact, scale_factor=2)


fused.register_test("spade_table_apply", _test)
fused.register_test(CUDA, _test_cuda)

BUILDS = tuple(
    Build(
        f"{element} {ids}{'' if channels_last else ' nchw'}{' doubled' if doubled else ''}",
        _spade_table_apply_kernel,
        {
            "x": f"*{element}",
            "index": f"*{ids}",
            "table": f"*{element}",
            "y": f"*{element}",
            **dict.fromkeys(("plane", "width", "channels"), "i32"),
        },
        {"slope": 0.2, "DOUBLED": doubled, "CHANNELS_LAST": channels_last, "BLOCK_P": BLOCK_P, "BLOCK_C": BLOCK_C},
        ("x", "index", "table", "y", "plane", "width", "channels"),
    )
    for element, ids, channels_last, doubled in (
        ("fp32", "i32", True, False),
        ("fp16", "i32", True, False),
        ("bf16", "i32", True, False),
        ("bf16", "i16", True, True),
        ("bf16", "i32", False, False),
    )
)
