"""A small separable low-pass, with what follows it in a StyleGAN2 layer: noise, bias, activation, next style.

`z[i, j] = sum_ab k[a, b] x[s i + a - before, s j + b - before]` with zeros or the mirrored image outside, in every
channel; then `y = leaky_relu(z + strength * noise + bias, 0.2) * sqrt(2) * scale`, which is left out with its inputs
(Karras et al. 2020, arXiv:1912.04958, appendix B; Zhang 2019, arXiv:1904.11486, for the low-pass before a reduction).

Bytes for e-byte elements: the input and the output once. Eagerly the padded copy of the input, the depthwise
convolution's passes and those of noise, bias, activation and gain are 5 to 15 times as many; torch.compile leaves the
padding and the convolution to other kernels, which is what this saves there. A program walks down a strip of the
image and keeps the rows that it has filtered: 3 or 4 loads and 6 to 8 products a value instead of 9 or 16.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.library import wrap_triton
from torch.nn import functional

from i2i_rt.kernels import fused
from i2i_rt.kernels.aot import Build
from i2i_rt.kernels.conv_epilogue import (
    GAIN,
    SLOPE,
    activated,
    conv_epilogue_reference,
    noise_at,
    noise_shape,
)
from i2i_rt.kernels.language import Wrap, plain, tl, triton
from i2i_rt.kernels.layout import empty, keeping_layout, memory_format
from i2i_rt.kernels.operator import define

BLOCK = 1024  # elements of a row of a program, a vector of 16 bytes a thread for two-byte dtypes
WIDEST = 64  # channels of a program in channels-last tensors
LONGEST = 8  # output rows of a strip; it reads up to three rows more than those, of the strip below
ENOUGH = 264  # programs: two for each of an H100's multiprocessors


def blur(x: Tensor, kernel: Tensor, padding: tuple[int, int], *, stride: int = 1, reflect: bool = False) -> Tensor:
    """Gives the low-passed `[N, C, H', W']`.

    Args:
        x: `[N, C, H, W]`.
        kernel: `[C, 1, T, T]` with T 3 or 4, the same for every channel, and the outer product of two rows.
        padding: how many rows and columns lie before and after the image.
        stride: 1 or 2.
        reflect: the image is mirrored outside, without its edge; otherwise there are zeros.
    """
    if fused.chosen("blur_epilogue", x):
        y: Tensor = torch.ops.i2i_rt.blur_epilogue(x, kernel, *padding, stride, reflect, False, None, None, None, None)
        return y
    return blur_reference(x, kernel, *padding, stride, reflect)


def blur_epilogue(
    x: Tensor,
    kernel: Tensor,
    padding: tuple[int, int],
    bias: Tensor,
    *,
    noise: Tensor | None = None,
    strength: Tensor | None = None,
    scale: Tensor | None = None,
) -> Tensor:
    """Gives the low-passed, activated `[N, C, H', W']`; zeros outside; the rest as in `blur` and `conv_epilogue`."""
    if fused.chosen("blur_epilogue", x):
        y: Tensor = torch.ops.i2i_rt.blur_epilogue(x, kernel, *padding, 1, False, True, bias, noise, strength, scale)
        return y
    return blur_epilogue_reference(x, kernel, *padding, 1, False, True, bias, noise, strength, scale)


def blur_reference(x: Tensor, kernel: Tensor, before: int, after: int, stride: int, reflect: bool) -> Tensor:
    x = functional.pad(x, (before, after, before, after), mode="reflect" if reflect else "constant")
    return functional.conv2d(x, kernel, stride=stride, groups=x.shape[1])


def blur_epilogue_reference(
    x: Tensor,
    kernel: Tensor,
    before: int,
    after: int,
    stride: int,
    reflect: bool,
    activate: bool,
    bias: Tensor | None,
    noise: Tensor | None,
    strength: Tensor | None,
    scale: Tensor | None,
) -> Tensor:
    x = blur_reference(x, kernel, before, after, stride, reflect)
    return conv_epilogue_reference(x, bias, noise, strength, scale=scale) if activate else x


@triton.jit
def _mirrored(place, length):
    place = tl.where(place < 0, -place, place)
    return tl.where(place >= length, 2 * (length - 1) - place, place)


@triton.jit
def _tap(x, row_start, step_w, column, width, over, inside, REFLECT: tl.constexpr):
    """Reads a row of pixels `[P, C]` from `column` on."""
    if REFLECT:
        column = _mirrored(column, width)
    mask = inside & ((column >= 0) & (column < width))[:, None]
    return tl.load(x + row_start + (column * step_w)[:, None] + over, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _filtered_row(
    x, row, step_h, step_w, column, height, width, over, inside, h0, h1, h2, h3,
    TAPS: tl.constexpr, REFLECT: tl.constexpr,
):  # fmt: skip
    """Low-passes a row along its length: `[P, C]`, zero where the row lies outside."""
    if REFLECT:
        row = _mirrored(row, height)
    rows = row + tl.zeros_like(column)  # a mask of the interpreter must not come from a single number
    inside = inside & ((rows >= 0) & (rows < height))[:, None]
    start = row.to(tl.int64) * step_h
    total = h0 * _tap(x, start, step_w, column, width, over, inside, REFLECT)
    total += h1 * _tap(x, start, step_w, column + 1, width, over, inside, REFLECT)
    total += h2 * _tap(x, start, step_w, column + 2, width, over, inside, REFLECT)
    if TAPS == 4:
        total += h3 * _tap(x, start, step_w, column + 3, width, over, inside, REFLECT)
    return total


@triton.jit
def _blur_epilogue_kernel(
    x,
    kernel,
    bias,
    noise,
    strength,
    scale,
    y,
    channels,
    height,
    width,
    out_height,
    out_width,
    before,
    noise_height,
    noise_width,
    noise_step,  # from one sample's noise to the next one's: 0 where all have the same
    TAPS: tl.constexpr,
    STRIDE: tl.constexpr,
    REFLECT: tl.constexpr,
    ACTIVATE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_NOISE: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    SLOPE: tl.constexpr,
    GAIN: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    strips = tl.cdiv(out_height, ROWS)
    pixel_blocks = tl.cdiv(out_width, BLOCK_P)
    channel_blocks = tl.cdiv(channels, BLOCK_C)
    block = tl.program_id(0)
    if CHANNELS_LAST:  # what lies side by side in memory is computed side by side
        first_c = (block % channel_blocks) * BLOCK_C
        block = block // channel_blocks
        first_p = (block % pixel_blocks) * BLOCK_P
        block = block // pixel_blocks
        first_row = (block % strips) * ROWS
        sample = (block // strips).to(tl.int64)
    else:
        first_p = (block % pixel_blocks) * BLOCK_P
        block = block // pixel_blocks
        first_row = (block % strips) * ROWS
        block = block // strips
        first_c = (block % channel_blocks) * BLOCK_C
        sample = (block // channel_blocks).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    p = first_p + tl.arange(0, BLOCK_P)
    has_c = first_c + c < channels
    has_p = p < out_width
    mask = has_p[:, None] & has_c[None, :]
    if CHANNELS_LAST:
        x += sample * height * width * channels + first_c
        y += sample * out_height * out_width * channels + first_c
        step_w = channels
        over = c[None, :]
        over_y = p[:, None] * channels + c[None, :]
    else:
        x += (sample * channels + first_c) * height * width
        y += (sample * channels + first_c) * out_height * out_width
        step_w = 1
        over = c[None, :] * (height * width)
        over_y = c[None, :] * (out_height * out_width) + p[:, None]
    step_h = width * step_w
    # the outer product of a column and a row: its first column, and its first row over the corner
    v0 = tl.load(kernel).to(tl.float32)
    v1 = tl.load(kernel + TAPS).to(tl.float32)
    v2 = tl.load(kernel + 2 * TAPS).to(tl.float32)
    h0 = 1.0
    h1 = tl.load(kernel + 1).to(tl.float32) / v0
    h2 = tl.load(kernel + 2).to(tl.float32) / v0
    if TAPS == 4:
        v3 = tl.load(kernel + 3 * TAPS).to(tl.float32)
        h3 = tl.load(kernel + 3).to(tl.float32) / v0
    else:
        v3 = 0.0
        h3 = 0.0
    added = tl.zeros([BLOCK_C], tl.float32)
    if HAS_BIAS:
        added = tl.load(bias + first_c + c, mask=has_c, other=0.0).to(tl.float32)
    if HAS_NOISE:
        weight = tl.load(strength).to(tl.float32)
        noise += sample * noise_step
    if HAS_SCALE:
        factor = tl.load(scale + sample * channels + first_c + c, mask=has_c, other=0.0).to(tl.float32)
    column = p * STRIDE - before
    row = first_row * STRIDE - before
    # rows that the first output shares with those before it; every step filters as many as the stride
    a = _filtered_row(x, row, step_h, step_w, column, height, width, over, mask, h0, h1, h2, h3, TAPS, REFLECT)
    if TAPS - STRIDE >= 2:
        b = _filtered_row(x, row + 1, step_h, step_w, column, height, width, over, mask, h0, h1, h2, h3, TAPS, REFLECT)
    if TAPS - STRIDE >= 3:
        d = _filtered_row(x, row + 2, step_h, step_w, column, height, width, over, mask, h0, h1, h2, h3, TAPS, REFLECT)
    row += TAPS - STRIDE
    for step in tl.static_range(ROWS):
        e = _filtered_row(x, row, step_h, step_w, column, height, width, over, mask, h0, h1, h2, h3, TAPS, REFLECT)
        if STRIDE == 2:
            f = _filtered_row(
                x, row + 1, step_h, step_w, column, height, width, over, mask, h0, h1, h2, h3, TAPS, REFLECT
            )
        row += STRIDE
        if TAPS == 4:
            if STRIDE == 1:
                value = v0 * a + v1 * b + v2 * d + v3 * e
                a = b
                b = d
                d = e
            else:
                value = v0 * a + v1 * b + v2 * e + v3 * f
                a = e
                b = f
        else:
            if STRIDE == 1:
                value = v0 * a + v1 * b + v2 * e
                a = b
                b = e
            else:
                value = v0 * a + v1 * e + v2 * f
                a = f
        out_row = first_row + step
        written = has_p & (out_row + tl.zeros_like(p) < out_height)
        if ACTIVATE:
            if HAS_NOISE:
                drawn = noise_at(noise, out_row, p, noise_height, noise_width, written)
                value = activated(value, added, weight, drawn, SLOPE, GAIN)
            else:
                value = activated(value, added, 0.0, tl.zeros([BLOCK_P], tl.float32), SLOPE, GAIN)
            if HAS_SCALE:
                value *= factor[None, :]
        target = y + out_row.to(tl.int64) * out_width * step_w
        tl.store(target + over_y, value.to(y.dtype.element_ty), mask=mask & written[:, None])


def blocks(batch: int, channels: int, height: int, width: int, channels_last: bool) -> tuple[int, int, int]:
    """Gives how many output rows, columns and channels a program computes, from those of the output.

    Sizes that are not known yet, in a graph for all of them, count as large.
    """
    wide = min(WIDEST, triton.next_power_of_2(channels)) if channels_last else 1
    rows, across = LONGEST, BLOCK // wide
    if any(isinstance(length, torch.SymInt) for length in (batch, height, width)):
        return rows, across, wide
    across = min(across, triton.next_power_of_2(width))
    others = batch * triton.cdiv(channels, wide) * triton.cdiv(width, across)
    while rows > 2 and others * triton.cdiv(height, rows) < ENOUGH:
        rows //= 2
    return rows, across, wide


def out_sizes(x: Tensor, taps: int, before: int, after: int, stride: int) -> tuple[int, int]:
    """Gives the height and width of the low-passed image."""
    height, width = ((length + before + after - taps) // stride + 1 for length in x.shape[-2:])
    return height, width


def launch_blur_epilogue(
    x: Tensor,
    kernel: Tensor,
    before: int,
    after: int,
    stride: int = 1,
    reflect: bool = False,
    activate: bool = False,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    strength: Tensor | None = None,
    scale: Tensor | None = None,
    wrap: Wrap = plain,
) -> Tensor:
    layout = memory_format(x)
    x, kernel = x.contiguous(memory_format=layout), kernel.contiguous()
    batch, channels, height, width = x.shape
    taps = kernel.shape[-1]
    if taps not in (3, 4) or stride not in (1, 2):
        raise ValueError(f"the low-pass has {taps} taps and stride {stride}; 3 or 4 taps and stride 1 or 2 are known")
    out_height, out_width = out_sizes(x, taps, before, after, stride)
    y = empty(x, out_height, out_width)
    rows, block_p, block_c = blocks(batch, channels, out_height, out_width, layout == torch.channels_last)
    if noise is not None:
        noise = noise.contiguous()
    if scale is not None:
        scale = scale.contiguous()
    programs = batch * triton.cdiv(channels, block_c) * triton.cdiv(out_height, rows) * triton.cdiv(out_width, block_p)
    wrap(_blur_epilogue_kernel)[(programs,)](
        x,
        kernel,
        x if bias is None else bias,
        x if noise is None else noise,
        x if strength is None else strength,
        x if scale is None else scale,
        y,
        channels,
        height,
        width,
        out_height,
        out_width,
        before,
        *noise_shape(noise),
        taps,
        stride,
        reflect,
        activate,
        bias is not None,
        noise is not None,
        scale is not None,
        SLOPE,
        GAIN,
        layout == torch.channels_last,
        rows,
        block_p,
        block_c,
    )
    return y


def _blur_epilogue(
    x: Tensor,
    kernel: Tensor,
    before: int,
    after: int,
    stride: int,
    reflect: bool,
    activate: bool,
    bias: Tensor | None,
    noise: Tensor | None,
    strength: Tensor | None,
    scale: Tensor | None,
) -> Tensor:
    return launch_blur_epilogue(
        x, kernel, before, after, stride, reflect, activate, bias, noise, strength, scale, wrap_triton
    )


def _fake(x: Tensor, kernel: Tensor, before: int, after: int, stride: int, *_: object) -> Tensor:
    return empty(x, *out_sizes(x, kernel.shape[-1], before, after, stride))


define(
    "blur_epilogue",
    _blur_epilogue,
    fake=_fake,
    reference=keeping_layout(blur_epilogue_reference),
    gradient_of=blur_epilogue_reference,
)


def _test(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, generator=generator).to(dtype)

    for layout, channels in ((torch.contiguous_format, 1), (torch.channels_last, 61)):
        x, bias = draw(2, channels, 7, 5).contiguous(memory_format=layout), draw(channels)
        for row, before, after, stride, reflect, *rest in (
            ((1, 3, 3, 1), 1, 1, 1, False, True, bias, draw(1, 1, 3, 4), draw(1), draw(2, channels)),
            ((1, 3, 3, 1), 2, 1, 2, True, False, None, None, None, None),
            ((1, 2, 1), 1, 1, 2, True, False, None, None, None, None),
            ((1, 2, 1), 2, 1, 1, True, False, None, None, None, None),
        ):
            taps = torch.tensor(row, dtype=dtype, device=device) / 4
            arguments = (torch.outer(taps, taps).repeat(channels, 1, 1, 1), before, after, stride, reflect, *rest)
            exact = (value.double() if isinstance(value, Tensor) else value for value in arguments)
            yield launch_blur_epilogue(x, *arguments), blur_epilogue_reference(x.double(), *exact)  # type: ignore[arg-type]


fused.register_test("blur_epilogue", _test)


def _build(dtype: str, taps: int, stride: int, reflect: bool, activate: bool, *, channels_last: bool = True) -> Build:
    tensors = ("x", "kernel", "bias", "noise", "strength", "scale", "y")
    sizes = ("channels", "height", "width", "out_height", "out_width", "before")
    block_p, block_c = (BLOCK // WIDEST, WIDEST) if channels_last else (BLOCK, 1)
    words = [f"{taps} taps", f"stride {stride}", *(["epilogue"] if activate else [])]
    return Build(
        " ".join([*words, dtype, "nhwc" if channels_last else "nchw"]),
        _blur_epilogue_kernel,
        {
            **dict.fromkeys(tensors, f"*{dtype}"),
            **dict.fromkeys((*sizes, "noise_height", "noise_width", "noise_step"), "i32"),
        },
        {
            "TAPS": taps,
            "STRIDE": stride,
            "REFLECT": reflect,
            "ACTIVATE": activate,
            "HAS_BIAS": activate,
            "HAS_NOISE": activate,
            "HAS_SCALE": activate,
            "SLOPE": SLOPE,
            "GAIN": GAIN,
            "CHANNELS_LAST": channels_last,
            "ROWS": LONGEST,
            "BLOCK_P": block_p,
            "BLOCK_C": block_c,
        },
        (*tensors, "channels", "out_height", "out_width"),
    )


BUILDS = tuple(
    build
    for dtype in ("bf16", "fp32")
    for build in (
        _build(dtype, 4, 1, False, True),  # after a transposed convolution
        _build(dtype, 3, 1, True, False),  # before the Swapping Autoencoder's reductions
        _build(dtype, 3, 2, True, False),  # CUT's antialiased reductions
    )
)
