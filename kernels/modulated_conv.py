"""Convolution whose input channels are scaled by a style, with filters of unit length or none (StyleGAN2's modulation).

`y[n] = conv(x[n] * style[n], w) * d`: without a norm d is 1; "filters" divides each filter by its length, "styled" by
its length after the scaling, d = rsqrt(sum (w * style)^2 + 1e-8) (Karras et al. 2020, arXiv:1912.04958, equations 1
and 3). The Swapping Autoencoder has "filters" (Park et al. 2020, arXiv:2007.00653), whose norm no style changes.

Scaling moves `2e * NCHW` bytes for elements of e bytes. For one image the style goes into the weights instead, with the
norm, in one pass: `2e * OCK²` bytes, which is less where the image has more than `OK²` pixels. For several images the
input is scaled and the weights are shared, since filters of each image's own are a slow grouped convolution. Where what
comes before the convolution is a `conv_epilogue` or a `blur_epilogue`, its `scale` does the scaling for nothing.
The convolution itself stays cuDNN's. `cuda/modulated_conv.cu` folds with one reading of the weights.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.library import wrap_triton
from torch.nn import functional

from i2i_rt.kernels import fused
from i2i_rt.kernels.aot import Build
from i2i_rt.kernels.cupy_module import NAMES, launch
from i2i_rt.kernels.language import Wrap, plain, tl, triton
from i2i_rt.kernels.operator import define

Norm = Literal["none", "filters", "styled"]

CUDA_THREADS, CUDA_COUNT, CUDA_VECTORS = 256, 8, (1, 2, 4)  # of a block, a vector, a thread
BLOCK = 4096  # weights that a program has in registers at once, 32 for each thread
# The papers add 1e-8 to squares that they divide by. ONNX's optimizer takes that for nothing, and zeros become NaN;
# a hundredfold above and below the line makes it 1e-4.
HUNDRED = 100.0


def modulated_conv2d(
    x: Tensor, weight: Tensor, style: Tensor | None = None, *, norm: Norm = "none", up: bool = False
) -> Tensor:
    """Convolves with filters that a style scales; sides are kept by zero padding.

    Args:
        x: `[N, C, H, W]`.
        weight: `[O, C, K, K]`, K odd, as it is to be used: equalised learning rate is the caller's.
        style: `[N, C]`, or but for the norm "styled" also `[N, C, 1 or H, 1 or W]`; None scales nothing.
        norm: what the filters are divided by.
        up: a transposed convolution of stride 2 without padding: sides become `2 H + K - 2`.

    Returns:
        `[N, O, H', W']` in the dtype of `x`; norms are computed in float32.
    """
    if not fused.chosen("modulated_weights", x) or (norm == "styled" and x.shape[0] > 1):
        return modulated_conv2d_reference(x, weight, style, norm, up)
    once = style is not None and (style.ndim == 2 or style.shape[-2:] == (1, 1)) and x.shape[0] == 1
    if once and (norm != "none" or folding_pays(x, weight)):
        assert style is not None
        weight = modulated_weights(weight, style.flatten(), norm)
    else:
        if norm != "none":
            weight = modulated_weights(weight, None, norm)
        x = x if style is None else x * _as_map(style).to(x.dtype)
    return _convolved(x, weight, up)


def modulated_weights(weight: Tensor, style: Tensor | None, norm: Norm) -> Tensor:
    """Gives the filters `[O, C, K, K]` of one image's style `[C]`, or of none, normed and stored as `weight` is."""
    if fused.eager("modulated_weights.cuda", weight) and takes(weight, norm):
        return launch_modulated_weights_cuda(weight, style, norm)
    folded: Tensor = torch.ops.i2i_rt.modulated_weights(weight, style, norm)
    return folded


def modulated_conv2d_reference(x: Tensor, weight: Tensor, style: Tensor | None, norm: Norm, up: bool) -> Tensor:
    inverse = None
    if norm == "styled":
        assert style is not None
        style = style.float()
        if x.dtype == torch.float16:
            # the result does not change with the style's size, and x * style could leave float16's range
            style = style / style.abs().amax(1, keepdim=True)
        energy = weight.float().square().sum((2, 3))  # [O, C]
        inverse = HUNDRED * torch.rsqrt(functional.linear((HUNDRED * style).square(), energy) + 1e-4)  # [N, O]
    if style is not None:
        x = x * _as_map(style).to(x.dtype)
    y = _convolved(x, unit_filters(weight) if norm == "filters" else weight, up)
    return y if inverse is None else y * inverse.to(x.dtype)[:, :, None, None]


def unit_filters(weight: Tensor) -> Tensor:
    """Scales filters `[O, C, K, K]` of variance one to length one each, in float32 inside: a constant of the graph."""
    wide = weight if weight.dtype == torch.float64 else weight.float()
    wide = wide / math.sqrt(weight[0].numel())
    return (wide * torch.rsqrt(wide.square().sum((1, 2, 3), keepdim=True) + 1e-8)).to(weight.dtype)


def modulated_weights_reference(weight: Tensor, style: Tensor | None, norm: str) -> Tensor:
    """Gives the filters `[O, C, K, K]` of one image's style `[C]`, normed."""
    wide = weight if weight.dtype == torch.float64 else weight.float()
    if norm == "filters":
        wide = unit_filters(wide)
    if style is not None:
        wide = wide * style.to(wide.dtype)[:, None, None]
    if norm == "styled":
        wide = wide * torch.rsqrt(wide.square().sum((1, 2, 3), keepdim=True) + 1e-8)
    return wide.to(weight.dtype)


def folding_pays(x: Tensor, weight: Tensor) -> bool:
    """Says whether scaling the weights moves less memory than scaling an image, or one of a size not known yet."""
    pixels = x.shape[-2] * x.shape[-1]
    return isinstance(pixels, torch.SymInt) or pixels > weight.shape[0] * weight.shape[2] * weight.shape[3]


def _as_map(style: Tensor) -> Tensor:
    return style[:, :, None, None] if style.ndim == 2 else style


def _convolved(x: Tensor, weight: Tensor, up: bool) -> Tensor:
    if up:
        return functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)


@triton.jit
def _modulated_weights_kernel(
    weight,
    style,
    folded,
    SIZE: tl.constexpr,  # of a row: a filter, or the weights of an input channel
    CHANNELS: tl.constexpr,
    INNER: tl.constexpr,  # in a filter's row: weights from one input channel's first to the next one's
    NORM: tl.constexpr,
    HAS_STYLE: tl.constexpr,
    ROW_IS_CHANNEL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    weight += row.to(tl.int64) * SIZE
    folded += row.to(tl.int64) * SIZE
    lane = tl.arange(0, BLOCK)
    factor = 1.0
    if NORM != "none":
        total = tl.zeros([BLOCK], tl.float32)
        for first in range(0, SIZE, BLOCK):
            place = first + lane
            value = tl.load(weight + place, mask=place < SIZE, other=0.0).to(tl.float32)
            if NORM == "styled":
                value *= tl.load(style + place // INNER % CHANNELS, mask=place < SIZE, other=0.0).to(tl.float32)
            total += value * value
        # without a style as for weights that were divided by the root of their number first
        factor = tl.rsqrt(tl.sum(total) + (1e-8 if NORM == "styled" else 1e-8 * SIZE))
    if HAS_STYLE and ROW_IS_CHANNEL:
        factor *= tl.load(style + row).to(tl.float32)
    for first in range(0, SIZE, BLOCK):
        place = first + lane
        value = tl.load(weight + place, mask=place < SIZE, other=0.0).to(tl.float32) * factor
        if HAS_STYLE and not ROW_IS_CHANNEL:
            value *= tl.load(style + place // INNER % CHANNELS, mask=place < SIZE, other=0.0).to(tl.float32)
        tl.store(folded + place, value.to(folded.dtype.element_ty), mask=place < SIZE)


def rows_of(weight: Tensor, norm: str) -> tuple[Tensor, bool, int]:
    """Gives weights stored in rows, whether a row is an input channel rather than a filter, and `inner` of a filter.

    A channel's rows are how a transposed convolution wants its weights, seen as `[O, C, K, K]`; a norm needs filters.
    """
    if not weight.is_contiguous():
        if weight.is_contiguous(memory_format=torch.channels_last):
            return weight, False, 1
        turned = weight.transpose(0, 1)
        if norm == "none" and (turned.is_contiguous() or turned.is_contiguous(memory_format=torch.channels_last)):
            return weight, True, 1
    return weight.contiguous(), False, weight.shape[2] * weight.shape[3]


def launch_modulated_weights(weight: Tensor, style: Tensor | None, norm: str, wrap: Wrap = plain) -> Tensor:
    weight, row_is_channel, inner = rows_of(weight, norm)
    folded = torch.empty_like(weight)
    rows = weight.shape[1] if row_is_channel else weight.shape[0]
    size = weight.numel() // rows
    block = min(BLOCK, triton.next_power_of_2(size))
    wrap(_modulated_weights_kernel)[(rows,)](
        weight,
        weight if style is None else style.contiguous(),
        folded,
        size,
        weight.shape[1],
        inner,
        norm,
        style is not None,
        row_is_channel,
        block,
    )
    return folded


def takes(weight: Tensor, norm: str) -> bool:
    """Says whether the CUDA C++ kernel takes weights: rows that start at vectors and fit into a block's registers."""
    rows, row_is_channel, _ = rows_of(weight, norm)
    size = rows.numel() // rows.shape[1 if row_is_channel else 0]
    return size % CUDA_COUNT == 0 and size <= CUDA_VECTORS[-1] * CUDA_THREADS * CUDA_COUNT


def cuda_entry(dtype: torch.dtype, norm: str, row_is_channel: bool, vectors: int) -> str:
    return f"modulated_weights<{NAMES[dtype]}, {norm.upper()}, {str(row_is_channel).lower()}, {vectors}>"


def launch_modulated_weights_cuda(weight: Tensor, style: Tensor | None, norm: str) -> Tensor:
    """Launches the CUDA C++ kernel, which reads the weights once where Triton's reads them twice for a norm."""
    weight, row_is_channel, inner = rows_of(weight, norm)
    folded = torch.empty_like(weight)
    rows = weight.shape[1] if row_is_channel else weight.shape[0]
    size = weight.numel() // rows
    vectors = next(count for count in CUDA_VECTORS if size <= count * CUDA_THREADS * CUDA_COUNT)
    launch(
        "modulated_conv.cu",
        cuda_entry(weight.dtype, norm, row_is_channel, vectors),
        (rows,),
        CUDA_THREADS,
        weight,
        None if style is None else style.float().contiguous(),
        folded,
        size,
        weight.shape[1],
        inner,
    )
    return folded


def _modulated_weights(weight: Tensor, style: Tensor | None, norm: str) -> Tensor:
    return launch_modulated_weights(weight, style, norm, wrap_triton)


def _fake(weight: Tensor, style: Tensor | None, norm: str) -> Tensor:
    return torch.empty_like(rows_of(weight, norm)[0])


def _cpu(weight: Tensor, style: Tensor | None, norm: str) -> Tensor:
    folded = torch.empty_like(rows_of(weight, norm)[0])
    return folded.copy_(modulated_weights_reference(weight, style, norm))


define(
    "modulated_weights",
    _modulated_weights,
    fake=_fake,
    reference=_cpu,
    gradient_of=modulated_weights_reference,
)


def _test(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(5, 61, 3, 3, device=device, generator=generator).to(dtype)
    style = torch.randn(61, device=device, generator=generator).to(dtype)
    last = weight.contiguous(memory_format=torch.channels_last)
    for stored in (weight, last, last.transpose(0, 1).contiguous().transpose(0, 1)):
        for norm in ("none", "filters", "styled"):
            for given in (style, None) if norm != "styled" else (style,):
                exact = modulated_weights_reference(weight.double(), None if given is None else given.double(), norm)
                yield launch_modulated_weights(stored, given, norm), exact


def _test_cuda(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)
    for channels in (8, 128, 512):
        weight = torch.randn(8, channels, 3, 3, device=device, generator=generator).to(dtype)
        style = torch.randn(channels, device=device, generator=generator)
        last = weight.contiguous(memory_format=torch.channels_last)
        for stored in (weight, last, last.transpose(0, 1).contiguous().transpose(0, 1)):
            for norm, given in (("none", style), ("filters", style), ("filters", None), ("styled", style)):
                exact = modulated_weights_reference(weight.double(), given, norm)
                yield launch_modulated_weights_cuda(stored, given, norm), exact


fused.register_test("modulated_weights", _test)
fused.register_test("modulated_weights.cuda", _test_cuda)

BUILDS = tuple(
    Build(
        f"{norm}{' turned' if row_is_channel else ''} {dtype}",
        _modulated_weights_kernel,
        {"weight": f"*{dtype}", "style": "*fp32", "folded": f"*{dtype}"},
        {
            "SIZE": 4608,
            "CHANNELS": 512,
            "INNER": 1,
            "NORM": norm,
            "HAS_STYLE": True,
            "ROW_IS_CHANNEL": row_is_channel,
            "BLOCK": BLOCK,
        },
        ("weight", "style", "folded"),
    )
    for dtype in ("bf16", "fp32")
    for norm, row_is_channel in (("none", False), ("none", True), ("filters", False), ("styled", False))
)
