"""What follows a convolution in StyleGAN2's layers, in one pass: noise, bias, activation, residual sum, next style.

`y = (leaky_relu(x + strength * noise + bias, 0.2) * sqrt(2) + residual) / sqrt(2) * scale`; what is not given is left
out, the division with the residual (Karras et al. 2020, arXiv:1912.04958, section 4.2 and figure 7). Noise repeats
periodically; a residual of half the sides is doubled bilinearly as it is read; `scale` is the style by which the next
convolution's input is modulated, so that modulation costs nothing there.

For A elements of e bytes: `2eA`, `+ eA` with a residual, or `+ eA / 4` with one of half the sides. Eagerly every step
is a pass of `2eA` to `3eA`, up to `17eA` in all. torch.compile fuses these steps as well: alone, this pays only
without it.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.library import wrap_triton
from torch.nn import functional

from i2i_rt.kernels import fused
from i2i_rt.kernels.aot import Build
from i2i_rt.kernels.language import Wrap, plain, tl, triton
from i2i_rt.kernels.layout import keeping_layout, memory_format
from i2i_rt.kernels.operator import define

SLOPE, GAIN = 0.2, math.sqrt(2)
BLOCK = 2048  # elements of a program, two vectors of 16 bytes a thread for two-byte dtypes
WIDEST = 64  # channels of a program in channels-last tensors


def conv_epilogue(
    x: Tensor,
    bias: Tensor | None = None,
    *,
    noise: Tensor | None = None,
    strength: Tensor | None = None,
    residual: Tensor | None = None,
    doubled: bool = False,
    scale: Tensor | None = None,
) -> Tensor:
    """Gives the activated sum in the layout of `x`.

    Args:
        x: `[N, C, H, W]`, a convolution's result.
        bias: `[C]`.
        noise: `[1 or N, 1, h, w]`, repeated periodically over H and W; needs `strength`.
        strength: `[1]`, of the noise.
        residual: `[N, C, H, W]`.
        doubled: whether the residual is `[N, C, H / 2, W / 2]`, and is doubled bilinearly.
        scale: `[N, C]`.
    """
    if fused.chosen("conv_epilogue", x):
        y: Tensor = torch.ops.i2i_rt.conv_epilogue(x, bias, noise, strength, residual, doubled, scale)
        return y
    return conv_epilogue_reference(x, bias, noise, strength, residual, doubled, scale)


def conv_epilogue_reference(
    x: Tensor,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    strength: Tensor | None = None,
    residual: Tensor | None = None,
    doubled: bool = False,
    scale: Tensor | None = None,
) -> Tensor:
    if noise is not None:
        assert strength is not None
        x = x + strength * tiled(noise, x).to(x.dtype)
    if bias is not None:
        x = x + bias[:, None, None]
    x = functional.leaky_relu(x, SLOPE) * GAIN
    if residual is not None:
        if doubled:
            residual = functional.interpolate(residual, scale_factor=2, mode="bilinear", align_corners=False)
        x = (x + residual) / math.sqrt(2)
    return x if scale is None else x * scale.to(x.dtype)[:, :, None, None]


def tiled(pattern: Tensor, like: Tensor) -> Tensor:
    """Repeats `[…, h, w]` periodically to the height and width of `like` `[N, C, H, W]`."""
    rows, columns = (
        torch.arange(length, device=like.device) % period
        for length, period in zip(like.shape[-2:], pattern.shape[-2:], strict=True)
    )
    return pattern[:, :, rows][:, :, :, columns]


@triton.jit
def activated(x, bias, strength, noise, SLOPE: tl.constexpr, GAIN: tl.constexpr):
    """Gives `leaky_relu(x + strength * noise + bias) * GAIN` for x `[P, C]`, bias `[C]` and noise `[P]`."""
    x = x + strength * noise[:, None] + bias[None, :]
    return tl.where(x > 0, x, x * SLOPE) * GAIN


@triton.jit
def noise_at(noise, row, column, noise_height, noise_width, mask):
    """Reads the noise that repeats over rows and columns."""
    place = (row % noise_height) * noise_width + column % noise_width
    return tl.load(noise + place, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _conv_epilogue_kernel(
    x,
    bias,
    noise,
    strength,
    residual,
    scale,
    y,
    channels,
    height,
    width,
    noise_height,
    noise_width,
    noise_step,  # from one sample's noise to the next one's: 0 where all have the same
    HAS_BIAS: tl.constexpr,
    HAS_NOISE: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    DOUBLED: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    SLOPE: tl.constexpr,
    GAIN: tl.constexpr,
    SHARE: tl.constexpr,  # of both summands in the residual sum
    CHANNELS_LAST: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    pixels = height * width
    pixel_blocks = tl.cdiv(pixels, BLOCK_P)
    channel_blocks = tl.cdiv(channels, BLOCK_C)
    block = tl.program_id(0)
    if CHANNELS_LAST:  # what lies side by side in memory is computed side by side
        first_c = (block % channel_blocks) * BLOCK_C
        first_p = (block // channel_blocks % pixel_blocks) * BLOCK_P
    else:
        first_p = (block % pixel_blocks) * BLOCK_P
        first_c = (block // pixel_blocks % channel_blocks) * BLOCK_C
    sample = (block // (channel_blocks * pixel_blocks)).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    p = tl.arange(0, BLOCK_P)
    has_c = first_c + c < channels
    has_p = first_p + p < pixels
    mask = has_p[:, None] & has_c[None, :]
    if CHANNELS_LAST:
        start = (sample * pixels + first_p) * channels + first_c
        place = p[:, None] * channels + c[None, :]
    else:
        start = (sample * channels + first_c) * pixels + first_p
        place = c[None, :] * pixels + p[:, None]
    value = tl.load(x + start + place, mask=mask, other=0.0).to(tl.float32)
    row = (first_p + p) // width
    column = (first_p + p) % width
    added = tl.zeros([BLOCK_C], tl.float32)
    if HAS_BIAS:
        added = tl.load(bias + first_c + c, mask=has_c, other=0.0).to(tl.float32)
    if HAS_NOISE:
        drawn = noise_at(noise + sample * noise_step, row, column, noise_height, noise_width, has_p)
        value = activated(value, added, tl.load(strength).to(tl.float32), drawn, SLOPE, GAIN)
    else:
        value = activated(value, added, 0.0, tl.zeros([BLOCK_P], tl.float32), SLOPE, GAIN)
    if HAS_RESIDUAL:
        if DOUBLED:
            # an even row or column lies a quarter behind the middle of its source, an odd one a quarter ahead
            low_height = height // 2
            low_width = width // 2
            near_row = row // 2
            near_column = column // 2
            far_row = tl.minimum(tl.maximum(near_row + (row % 2) * 2 - 1, 0), low_height - 1)
            far_column = tl.minimum(tl.maximum(near_column + (column % 2) * 2 - 1, 0), low_width - 1)
            if CHANNELS_LAST:
                low = residual + sample * low_height * low_width * channels + first_c
                near = (near_row * low_width).to(tl.int64)
                far = (far_row * low_width).to(tl.int64)
                a = tl.load(low + ((near + near_column) * channels)[:, None] + c[None, :], mask=mask, other=0.0)
                b = tl.load(low + ((near + far_column) * channels)[:, None] + c[None, :], mask=mask, other=0.0)
                d = tl.load(low + ((far + near_column) * channels)[:, None] + c[None, :], mask=mask, other=0.0)
                e = tl.load(low + ((far + far_column) * channels)[:, None] + c[None, :], mask=mask, other=0.0)
            else:
                plane = low_height * low_width
                low = residual + (sample * channels + first_c) * plane
                over = c[None, :] * plane
                a = tl.load(low + over + (near_row * low_width + near_column)[:, None], mask=mask, other=0.0)
                b = tl.load(low + over + (near_row * low_width + far_column)[:, None], mask=mask, other=0.0)
                d = tl.load(low + over + (far_row * low_width + near_column)[:, None], mask=mask, other=0.0)
                e = tl.load(low + over + (far_row * low_width + far_column)[:, None], mask=mask, other=0.0)
            above = 0.75 * a.to(tl.float32) + 0.25 * b.to(tl.float32)
            below = 0.75 * d.to(tl.float32) + 0.25 * e.to(tl.float32)
            value += 0.75 * above + 0.25 * below
        else:
            value += tl.load(residual + start + place, mask=mask, other=0.0).to(tl.float32)
        value *= SHARE
    if HAS_SCALE:
        value *= tl.load(scale + sample * channels + first_c + c, mask=has_c, other=0.0).to(tl.float32)[None, :]
    tl.store(y + start + place, value.to(y.dtype.element_ty), mask=mask)


def blocks(channels: int, pixels: int, channels_last: bool) -> tuple[int, int]:
    """Gives how many pixels and channels a program computes: powers of two, `BLOCK` in all where there are as many."""
    if channels_last:
        wide = min(WIDEST, triton.next_power_of_2(channels))
        return BLOCK // wide, wide
    # sizes that are not known yet, in a graph for all of them, count as large
    return (BLOCK if isinstance(pixels, torch.SymInt) else min(BLOCK, triton.next_power_of_2(pixels))), 1


def launch_conv_epilogue(
    x: Tensor,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    strength: Tensor | None = None,
    residual: Tensor | None = None,
    doubled: bool = False,
    scale: Tensor | None = None,
    wrap: Wrap = plain,
) -> Tensor:
    layout = memory_format(x)
    x = x.contiguous(memory_format=layout)
    y = torch.empty_like(x)
    batch, channels, height, width = x.shape
    block_p, block_c = blocks(channels, height * width, layout == torch.channels_last)
    if residual is not None:
        residual = residual.contiguous(memory_format=layout)
    if scale is not None:
        scale = scale.contiguous()
    if noise is not None:
        noise = noise.contiguous()
    grid = (batch * triton.cdiv(channels, block_c) * triton.cdiv(height * width, block_p),)
    wrap(_conv_epilogue_kernel)[grid](
        x,
        x if bias is None else bias,
        x if noise is None else noise,
        x if strength is None else strength,
        x if residual is None else residual,
        x if scale is None else scale,
        y,
        channels,
        height,
        width,
        *noise_shape(noise),
        bias is not None,
        noise is not None,
        residual is not None,
        doubled,
        scale is not None,
        SLOPE,
        GAIN,
        1 / math.sqrt(2),
        layout == torch.channels_last,
        block_p,
        block_c,
    )
    return y


def noise_shape(noise: Tensor | None) -> tuple[int, int, int]:
    """Gives height, width and elements from one sample to the next of noise `[1 or N, 1, h, w]`."""
    if noise is None:
        return 1, 1, 0
    batch, _, height, width = noise.shape
    return height, width, 0 if batch == 1 else height * width


def _conv_epilogue(
    x: Tensor,
    bias: Tensor | None,
    noise: Tensor | None,
    strength: Tensor | None,
    residual: Tensor | None,
    doubled: bool,
    scale: Tensor | None,
) -> Tensor:
    return launch_conv_epilogue(x, bias, noise, strength, residual, doubled, scale, wrap_triton)


def _fake(x: Tensor, *_: object) -> Tensor:
    return torch.empty_like(x, memory_format=memory_format(x))


define(
    "conv_epilogue",
    _conv_epilogue,
    fake=_fake,
    reference=keeping_layout(conv_epilogue_reference),
    gradient_of=conv_epilogue_reference,
)


def _test(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, generator=generator).to(dtype)

    for layout, channels in ((torch.contiguous_format, 3), (torch.channels_last, 61)):
        x, bias = draw(2, channels, 18, 10).contiguous(memory_format=layout), draw(channels)
        low = draw(2, channels, 9, 5).contiguous(memory_format=layout)
        for given in (
            (bias,),
            (bias, draw(1, 1, 7, 7), draw(1), x, False),
            (None, draw(2, 1, 18, 10), draw(1), low, True, draw(2, channels)),
        ):
            exact = (value.double() if isinstance(value, Tensor) else value for value in given)
            yield launch_conv_epilogue(x, *given), conv_epilogue_reference(x.double(), *exact)  # type: ignore[arg-type]


fused.register_test("conv_epilogue", _test)


def _build(dtype: str, *, channels_last: bool, noise: bool, residual: bool, doubled: bool, scale: bool) -> Build:
    words = [name for name, given in (("noise", noise), ("doubled" if doubled else "residual", residual)) if given]
    tensors = ("x", "bias", "noise", "strength", "residual", "scale", "y")
    sizes = ("channels", "height", "width", "noise_height", "noise_width", "noise_step")
    block_p, block_c = (BLOCK // WIDEST, WIDEST) if channels_last else (BLOCK, 1)
    return Build(
        " ".join([*words, *(["scale"] if scale else []), dtype, "nhwc" if channels_last else "nchw"]),
        _conv_epilogue_kernel,
        {**dict.fromkeys(tensors, f"*{dtype}"), **dict.fromkeys(sizes, "i32")},
        {
            "HAS_BIAS": True,
            "HAS_NOISE": noise,
            "HAS_RESIDUAL": residual,
            "DOUBLED": doubled,
            "HAS_SCALE": scale,
            "SLOPE": SLOPE,
            "GAIN": GAIN,
            "SHARE": 1 / math.sqrt(2),
            "CHANNELS_LAST": channels_last,
            "BLOCK_P": block_p,
            "BLOCK_C": block_c,
        },
        (*tensors, "channels", "height", "width"),
    )


BUILDS = tuple(
    _build(dtype, channels_last=channels_last, noise=noise, residual=residual, doubled=doubled, scale=scale)
    for dtype, channels_last in (("bf16", True), ("fp32", True), ("bf16", False))
    for noise, residual, doubled, scale in (
        (False, True, False, False),  # of an encoder's second convolutions
        (True, False, False, True),  # of a generator's first convolutions
        (True, True, True, False),  # of its second ones
    )
)
