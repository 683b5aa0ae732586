"""Instance norm, what follows it and the edges of the next convolution, in one operator; AdaIN is the same one.

    y = act((m * x - mean) / sqrt(var + eps) * scale + shift) + residual

over each plane `[H, W]` (Ulyanov et al. 2016, arXiv:1607.08022; with scale and shift of each image, Huang et al. 2017,
arXiv:1703.06868, equation 8), written twice as large or with reflected edges where the next layer wants that.
Statistics are float32 whatever the dtype: the squares of a 256x256 plane leave float16's range, and bfloat16's eight
bits lose the mean.

Two launches, with no barrier across the grid: `stats` writes mean and sum of squared differences of each of at most
64 tiles of a plane, `apply` joins them (Chan et al. 1979) and writes the result. Bytes moved, for A elements of e
bytes: 3eA, and eA more with a residual; the second reading of up to 50 MB comes from an H100's L2. PyTorch moves as
much for the norm alone, another 2eA for each of activation, sum, padding and enlargement, and leaves channels-last,
which costs 2eA before and after each convolution. On a CPU, and for planes of a few positions, it does not pay.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.library import wrap_triton
from torch.nn import functional

from i2i_rt.kernels import fused, norm_cluster, statistics
from i2i_rt.kernels.aot import Build
from i2i_rt.kernels.instance_norm import instance_norm
from i2i_rt.kernels.language import Wrap, plain, tl, triton
from i2i_rt.kernels.layout import dense, empty, keeping_layout, memory_format
from i2i_rt.kernels.operator import define

MAX_TILES = 64  # of a plane: every program of `apply` reads the statistics of all of them
PROGRAMS = 264  # two for each of an H100's 132 processors; other GPUs get as many, so results are the same everywhere


def norm_act(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    residual: Tensor | None = None,
    mask: Tensor | None = None,
    eps: float = 1e-5,
    slope: float = 1.0,
    one_plus: bool = False,
    by_variance: bool = False,
    upsample: bool = False,
    pad: int = 0,
) -> Tensor:
    """Normalises each plane of `x` `[N, C, H, W]`; gives its dtype and its layout.

    Args:
        x: of any floating dtype.
        weight: scales, `[C]` or, of each image, `[N, C]`; None: 1.
        bias: shifts, of the shape of `weight` where both are given.
        residual: `[N, C, H, W]`, added after the activation.
        mask: `[N, C, H, W]`, multiplied with `x` first.
        eps: what is added to the variance.
        slope: of the activation's negative side: 1 no activation, 0 ReLU.
        one_plus: scales by `1 + weight`.
        by_variance: divides by `max(var, eps)`, not by its root, as EGSC-IT does.
        upsample: writes every value four times, for twice the height and width.
        pad: how many reflected rows and columns are written round the result.
    """
    if fused.chosen("norm_act", x) and not statistics.replaced():
        result: Tensor = torch.ops.i2i_rt.norm_act(
            x, weight, bias, residual, mask, eps, slope, one_plus, by_variance, upsample, pad
        )
        return result
    return norm_act_reference(x, weight, bias, residual, mask, eps, slope, one_plus, by_variance, upsample, pad)


def writes_edges(x: Tensor) -> bool:
    """Says whether a kernel writes a result with its edges at once, so that the one without them is the part inside.

    Not in ONNX, where the part inside would be cut out of what was padded.
    """
    kernels = fused.chosen("norm_act", x) and fused.chosen("norm_act_edged", x)
    return kernels and not statistics.replaced()


def norm_act_reference(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    mask: Tensor | None = None,
    eps: float = 1e-5,
    slope: float = 1.0,
    one_plus: bool = False,
    by_variance: bool = False,
    upsample: bool = False,
    pad: int = 0,
) -> Tensor:
    if mask is not None:
        x = x * mask
    if weight is not None and one_plus:
        weight = 1 + weight
    if by_variance:
        y = _by_variance(x, weight, bias, eps)
    elif any(part is not None and part.ndim == 2 for part in (weight, bias)):
        y = instance_norm(x, None, None, eps)
        y = y if weight is None else y * weight.to(x.dtype)[:, :, None, None]
        y = y if bias is None else y + bias.to(x.dtype)[:, :, None, None]
    else:
        y = instance_norm(x, weight, bias, eps)
    return after_norm(y, slope=slope, residual=residual, upsample=upsample, pad=pad)


def after_norm(
    y: Tensor, *, slope: float = 1.0, residual: Tensor | None = None, upsample: bool = False, pad: int = 0
) -> Tensor:
    """Does what follows a norm, in plain PyTorch; the arguments are those of `norm_act`."""
    if slope != 1:
        y = functional.leaky_relu(y, slope) if slope else functional.relu(y)
    if residual is not None:
        y = residual + y
    if upsample:
        y = functional.interpolate(y, scale_factor=2.0, mode="nearest")
    return functional.pad(y, (pad, pad, pad, pad), mode="reflect") if pad else y


def _by_variance(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()
    moments = statistics.taken(x)
    if moments is None:
        variance, mean = torch.var_mean(wide, (2, 3), correction=0, keepdim=True)
    else:
        mean, variance = moments
    y = wide - mean
    y = y if weight is None else weight.to(wide.dtype)[..., None, None] * y
    y = y / variance.clamp_min(eps)
    y = y if bias is None else y + bias.to(wide.dtype)[..., None, None]
    return y.to(x.dtype)


@triton.jit
def _norm_stats_kernel(
    x,
    mask,
    partial,
    channels,
    pixels,
    tiles,
    CHANNELS_LAST: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Writes mean and sum of squared differences of one tile of the pixels of `BLOCK_C` planes."""
    tile = tl.program_id(0)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    image = tl.program_id(2).to(tl.int64)
    lane = tl.arange(0, BLOCK_P)
    span = tl.cdiv(tl.cdiv(pixels, tiles), BLOCK_P) * BLOCK_P  # pixels of every tile but the last ones
    start = tile * span
    stop = tl.minimum(start + span, pixels)
    origin = image * channels * pixels
    if CHANNELS_LAST:
        step = channels
        column = channel.to(tl.int64)
    else:
        step = 1
        column = channel.to(tl.int64) * pixels
    known = channel < channels
    # everything is taken relative to the tile's first pixel: differences stay small where the mean is large
    first_at = origin + column + tl.minimum(start, pixels - 1).to(tl.int64) * step
    first = tl.load(x + first_at, mask=known, other=0.0).to(tl.float32)  # [BLOCK_C]
    if mask is not None:
        first *= tl.load(mask + first_at, mask=known, other=0.0).to(tl.float32)
    mean = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)  # Welford's, of each lane by itself
    square = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    count = 0.0
    for block in range(0, tl.cdiv(stop - start, BLOCK_P)):
        pixel = start + block * BLOCK_P + lane
        at = origin + (pixel.to(tl.int64) * step)[:, None] + column[None, :]
        within = (pixel < stop)[:, None] & known[None, :]
        value = tl.load(x + at, mask=within, other=0.0).to(tl.float32)
        if mask is not None:
            value *= tl.load(mask + at, mask=within, other=0.0).to(tl.float32)
        value -= first[None, :]
        count += 1.0
        difference = tl.where(within, value - mean, 0.0)
        mean += difference * (1.0 / count)
        square += difference * (value - mean)
    # the lanes' statistics become the tile's
    number = ((tl.maximum(stop - start - lane, 0) + BLOCK_P - 1) // BLOCK_P).to(tl.float32)  # [BLOCK_P]
    share = number / tl.maximum(stop - start, 1).to(tl.float32)
    whole = tl.sum(mean * share[:, None], 0)  # [BLOCK_C]
    away = mean - whole[None, :]
    square = tl.sum(square + away * away * number[:, None], 0)
    row = (image * tiles + tile) * 2 * channels + channel
    tl.store(partial + row, first + whole, mask=known)
    tl.store(partial + row + channels, square, mask=known)


@triton.jit
def _norm_apply_kernel(
    x,
    partial,
    weight,
    bias,
    residual,
    mask,
    y,
    channels,
    height,
    width,
    tiles,
    blocks,
    row,
    residual_image,
    residual_channel,
    residual_row,
    residual_column,
    EPS: tl.constexpr,
    SLOPE: tl.constexpr,
    ONE_PLUS: tl.constexpr,
    BY_VARIANCE: tl.constexpr,
    UPSAMPLE: tl.constexpr,
    PAD: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    STATS_BLOCK: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Joins the tiles' statistics, then writes `blocks` blocks of pixels of the result, of `BLOCK_C` planes.

    `row` is how far an image's scales lie from those of the image before it, 0 where all images have the same;
    `STATS_BLOCK` is the `BLOCK_P` of the statistics.
    """
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    image = tl.program_id(2).to(tl.int64)
    known = channel < channels
    pixels = height * width
    SCALE: tl.constexpr = 2 if UPSAMPLE else 1
    out_width = width * SCALE + 2 * PAD
    out_pixels = (height * SCALE + 2 * PAD) * out_width
    if CHANNELS_LAST:
        step = channels
        column = channel.to(tl.int64)
        out_column = channel.to(tl.int64)
    else:
        step = 1
        column = channel.to(tl.int64) * pixels
        out_column = channel.to(tl.int64) * out_pixels
    x += image * channels * pixels
    y += image * channels * out_pixels
    if mask is not None:
        mask += image * channels * pixels
    if residual is not None:
        residual += image * residual_image
        residual_at = channel.to(tl.int64) * residual_channel

    # mean and variance of the planes
    tile = tl.arange(0, TILES)
    span = tl.cdiv(tl.cdiv(pixels, tiles), STATS_BLOCK) * STATS_BLOCK
    number = tl.minimum(tl.maximum(pixels - tile * span, 0), span)  # [TILES]
    number = tl.where(tile < tiles, number, 0).to(tl.float32)
    first_at = image * tiles * 2 * channels + channel
    first = tl.load(partial + first_at, mask=known, other=0.0)  # [BLOCK_C], to keep differences small
    partial_at = first_at[None, :] + (tile * 2 * channels)[:, None]
    there = (tile < tiles)[:, None] & known[None, :]
    away = tl.load(partial + partial_at, mask=there, other=0.0) - first[None, :]  # [TILES, BLOCK_C]
    square = tl.load(partial + partial_at + channels, mask=there, other=0.0)
    count = pixels.to(tl.float32)
    drift = tl.sum(away * number[:, None], 0) / count
    away -= drift[None, :]
    variance = tl.sum(square + away * away * number[:, None], 0) / count
    mean = first + drift
    scale = 1.0 / tl.maximum(variance, EPS) if BY_VARIANCE else tl.rsqrt(variance + EPS)
    style = image * row + channel
    if weight is not None:
        factor = tl.load(weight + style, mask=known, other=0.0).to(tl.float32)
        scale *= 1.0 + factor if ONE_PLUS else factor
    if bias is not None:
        shift = tl.load(bias + style, mask=known, other=0.0).to(tl.float32)

    for block in range(0, blocks):
        place = (tl.program_id(0) * blocks + block) * BLOCK_P + tl.arange(0, BLOCK_P)  # in the result
        within = (place < out_pixels)[:, None] & known[None, :]
        pixel = place
        if PAD or UPSAMPLE or residual is not None:
            i = place // out_width - PAD
            j = place % out_width - PAD
            if PAD:  # reflected, without the edge itself
                last_row = height * SCALE - 1
                last_column = width * SCALE - 1
                i = last_row - tl.abs(last_row - tl.abs(i))
                j = last_column - tl.abs(last_column - tl.abs(j))
            i = i // SCALE
            j = j // SCALE
            pixel = i * width + j
        source = (pixel.to(tl.int64) * step)[:, None] + column[None, :]
        value = tl.load(x + source, mask=within, other=0.0).to(tl.float32)
        if mask is not None:
            value *= tl.load(mask + source, mask=within, other=0.0).to(tl.float32)
        if residual is not None:
            other = (i.to(tl.int64) * residual_row + j.to(tl.int64) * residual_column)[:, None] + residual_at[None, :]
            beside = tl.load(residual + other, mask=within, other=0.0).to(tl.float32)
        value = (value - mean[None, :]) * scale[None, :]
        if bias is not None:
            value += shift[None, :]
        if SLOPE == 0.0:
            value = tl.where(value < 0.0, 0.0, value)
        elif SLOPE != 1.0:
            value = tl.where(value < 0.0, value * SLOPE, value)
        if residual is not None:
            value += beside
        target = (place.to(tl.int64) * step)[:, None] + out_column[None, :]
        tl.store(y + target, value.to(y.dtype.element_ty), mask=within)


@dataclass(frozen=True)
class Tiling:
    """How the planes are cut.

    Attributes:
        block_p: pixels of a block, a power of two.
        block_c: channels of a block, a power of two.
        warps: of a program.
        tiles: tiles of a plane, each of a whole number of blocks, that `stats` gives statistics of.
        blocks: how many blocks of the result one program of `apply` writes.
    """

    block_p: int
    block_c: int
    warps: int
    tiles: int
    blocks: int


def tiling(shape: tuple[int, int, int, int], written: int, element: int, channels_last: bool) -> Tiling:
    """Chooses the tiles by the shape `[N, C, H, W]` alone.

    A block is 16 KB, moved in vectors of 16 bytes by eight warps; 32 channels side by side are two sectors of a cache
    line in half precision. Blocks shrink where there are too few to occupy a GPU.

    Args:
        shape: of x.
        written: pixels of a plane of the result.
        element: bytes of an element.
        channels_last: the layout.
    """
    batch, channels, height, width = shape
    pixels = height * width
    size = 16384 // element  # elements of a block
    block_c = min(32, triton.next_power_of_2(channels)) if channels_last else 1
    block_p = min(size // block_c, triton.next_power_of_2(pixels))
    if not channels_last:  # several small planes
        block_c = min(triton.next_power_of_2(channels), max(1, 1024 // block_p))
    groups = batch * triton.cdiv(channels, block_c)
    while block_p * block_c > 1024 and groups * triton.cdiv(pixels, block_p) < PROGRAMS // 2:
        block_p //= 2
    warps = max(1, block_p * block_c * element // 2048)
    tiles = min(MAX_TILES, triton.cdiv(pixels, block_p), triton.cdiv(PROGRAMS, groups))
    span = triton.cdiv(triton.cdiv(pixels, tiles), block_p) * block_p
    blocks = min(8, max(1, groups * triton.cdiv(written, block_p) // (2 * PROGRAMS)))
    return Tiling(block_p, block_c, warps, triton.cdiv(pixels, span), blocks)


def ahead(element: int, channels_last: bool) -> Tiling:
    """Gives the tiles of kernels that are compiled before the size is known, of which small planes leave some empty."""
    cut = tiling((8, 256, 256, 256), 256 * 256, element, channels_last)
    return Tiling(cut.block_p, cut.block_c, cut.warps, MAX_TILES, 1)


def launch_norm_stats(x: Tensor, mask: Tensor | None, cut: Tiling, wrap: Wrap = plain) -> Tensor:
    """Gives mean and sum of squared differences of each tile, `[N, tiles, 2, C]` in float32, of a dense `x`."""
    batch, channels, height, width = x.shape
    partial = torch.empty((batch, cut.tiles, 2, channels), dtype=torch.float32, device=x.device)
    wrap(_norm_stats_kernel)[(cut.tiles, triton.cdiv(channels, cut.block_c), batch)](
        x,
        mask,
        partial,
        channels,
        height * width,
        cut.tiles,
        CHANNELS_LAST=dense(x)[1],
        BLOCK_P=cut.block_p,
        BLOCK_C=cut.block_c,
        num_warps=cut.warps,
    )
    return partial


def launch_norm_act(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    mask: Tensor | None = None,
    eps: float = 1e-5,
    slope: float = 1.0,
    one_plus: bool = False,
    by_variance: bool = False,
    upsample: bool = False,
    pad: int = 0,
    wrap: Wrap = plain,
    cut: Tiling | None = None,
) -> Tensor:
    """Launches both kernels, with the tiles that `tiling` chooses where `cut` is not given."""
    x, channels_last = dense(x)
    if mask is not None:
        mask = mask.contiguous(memory_format=memory_format(x))
    weight, bias, row = _rows(weight, bias)
    batch, channels, height, width = x.shape
    y = _empty(x, upsample, pad)
    written = y.shape[2] * y.shape[3]
    if cut is None and any(isinstance(length, torch.SymInt) for length in x.shape):
        cut = ahead(x.element_size(), channels_last)
    cut = cut or tiling((batch, channels, height, width), written, x.element_size(), channels_last)
    partial = launch_norm_stats(x, mask, cut, wrap)
    programs = triton.cdiv(triton.cdiv(written, cut.block_p), cut.blocks)
    wrap(_norm_apply_kernel)[(programs, triton.cdiv(channels, cut.block_c), batch)](
        x,
        partial,
        weight,
        bias,
        residual,
        mask,
        y,
        channels,
        height,
        width,
        cut.tiles,
        cut.blocks,
        row,
        *((0, 0, 0, 0) if residual is None else residual.stride()),
        EPS=eps,
        SLOPE=slope,
        ONE_PLUS=one_plus,
        BY_VARIANCE=by_variance,
        UPSAMPLE=upsample,
        PAD=pad,
        CHANNELS_LAST=channels_last,
        STATS_BLOCK=cut.block_p,
        TILES=triton.next_power_of_2(cut.tiles),
        BLOCK_P=cut.block_p,
        BLOCK_C=cut.block_c,
        num_warps=cut.warps,
    )
    return y


def launch_norm_once(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    eps: float = 1e-5,
    slope: float = 1.0,
    one_plus: bool = False,
    upsample: bool = False,
    pad: int = 0,
) -> Tensor | None:
    """Launches the kernel that reads x once; None where it is not made for what is given."""
    x, channels_last = dense(x)
    weight, bias, row = _rows(weight, bias)
    shared_out = norm_cluster.fitting(x, weight, bias, residual) if channels_last else None
    if shared_out is None:
        return None
    y = _empty(x, upsample, pad)
    norm_cluster.launch_norm_cluster(
        *(x, weight, bias, row, residual, y, shared_out),
        eps=eps,
        slope=slope,
        one_plus=one_plus,
        upsample=upsample,
        pad=pad,
    )
    return y


def _rows(weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None, int]:
    """Gives scales and shifts whose images lie equally far apart, and how far; halves of one `[N, 2C]` stay as is."""
    given = [part for part in (weight, bias) if part is not None]
    distances = [part.stride(0) if part.ndim == 2 else 0 for part in given] or [0]
    if distances[0] != distances[-1] or any(part.stride(-1) != 1 for part in given):
        weight, bias = (None if part is None else part.contiguous() for part in (weight, bias))
        distances = [part.shape[1] if part.ndim == 2 else 0 for part in given]
    return weight, bias, distances[0]


def _empty(x: Tensor, upsample: bool, pad: int) -> Tensor:
    factor = 2 if upsample else 1
    return empty(x, factor * x.shape[2] + 2 * pad, factor * x.shape[3] + 2 * pad)


def _norm_act(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    mask: Tensor | None,
    eps: float,
    slope: float,
    one_plus: bool,
    by_variance: bool,
    upsample: bool,
    pad: int,
) -> Tensor:
    if fused.eager("norm_act.cuda", x) and mask is None and not by_variance:
        y = launch_norm_once(x, weight, bias, residual, eps, slope, one_plus, upsample, pad)
        if y is not None:
            return y
    return launch_norm_act(
        x, weight, bias, residual, mask, eps, slope, one_plus, by_variance, upsample, pad, wrap_triton
    )


def _fake(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    mask: Tensor | None,
    eps: float,
    slope: float,
    one_plus: bool,
    by_variance: bool,
    upsample: bool,
    pad: int,
) -> Tensor:
    return _empty(x, upsample, pad)


define("norm_act", _norm_act, fake=_fake, reference=keeping_layout(norm_act_reference), gradient_of=norm_act_reference)


def _test(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, generator=generator).to(dtype)

    for batch, channels, height, width in ((1, 64, 33, 40), (2, 61, 9, 15), (1, 256, 16, 16)):
        for layout in (torch.channels_last, torch.contiguous_format):
            x = (0.5 * random(batch, channels, height, width) - 2.3).contiguous(memory_format=layout)
            weight, bias = random(batch, 2 * channels).chunk(2, 1)
            beside = random(batch, channels, height + 2, width + 2).contiguous(memory_format=layout)[:, :, 1:-1, 1:-1]
            mask = random(batch, channels, height, width)
            for arguments in (
                (None, None, None, None, 1e-5, 0.0, False, False, False, 3),
                (weight[0], bias[0], beside, None, 1e-5, 1.0, False, False, False, 1),
                (weight, bias, None, None, 1e-5, 0.2, True, False, True, 0),
                (weight, bias, None, mask, 1e-6, 1.0, True, True, False, 0),
            ):
                wide = (part.float() if isinstance(part, Tensor) else part for part in arguments)
                yield launch_norm_act(x, *arguments), norm_act_reference(x.float(), *wide)  # type: ignore[arg-type]


def _test_edged(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """One block after another: the second takes the inside of what the first wrote."""
    x = torch.randn(2, 64, 9, 15, device=device).to(dtype, memory_format=torch.channels_last)
    inside = launch_norm_act(x, pad=2)[:, :, 2:-2, 2:-2]
    yield launch_norm_act(x, residual=inside, pad=1), norm_act_reference(x.float(), residual=inside.float(), pad=1)


def _test_once(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """One block and clusters of up to eight, one vector a thread and eight."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = ((2, 16, 5), (1, 64, 20), (1, 256, 33), (8, 256, 64), (1, 32, 128))
    clusters = torch.cuda.get_device_capability(device) >= (9, 0)
    for batch, channels, side in shapes if clusters else shapes[:2]:
        x = torch.randn(batch, channels, side, side, device=device, generator=generator) - 2.3
        x = x.to(dtype).contiguous(memory_format=torch.channels_last)
        weight, bias = torch.randn(batch, 2 * channels, device=device, generator=generator).to(dtype).chunk(2, 1)
        for scale, shift, residual, slope, one_plus, upsample, pad in (
            (None, None, None, 0.0, False, False, 3),
            (weight[0], bias[0], x, 1.0, False, False, 1),
            (weight, bias, None, 0.2, True, True, 0),
        ):
            y = launch_norm_once(x, scale, shift, residual, 1e-5, slope, one_plus, upsample, pad)
            if y is None:
                raise RuntimeError(f"planes of {side}x{side} were not taken")
            scale, shift, residual = (None if part is None else part.float() for part in (scale, shift, residual))
            yield (
                y,
                norm_act_reference(
                    x.float(),
                    scale,
                    shift,
                    residual,
                    slope=slope,
                    one_plus=one_plus,
                    upsample=upsample,
                    pad=pad,
                ),
            )


fused.register_test("norm_act", _test)
fused.register_test("norm_act.cuda", _test_once)
fused.register_test("norm_act_edged", _test_edged)


def stats_build(element: str, *, channels_last: bool = True, mask: bool = False) -> Build:
    """Describes how the first kernel is compiled for "fp32", "fp16" or "bf16", for planes of any size.

    Its arguments are x, the mask where there is one, the statistics `[N, tiles, 2, C]`, and three int32: channels,
    pixels and tiles; the channels (NCHW: the pixels) have to be a multiple of 16. The grid is
    `[tiles, ceil(C / BLOCK_C), N]`.
    """
    cut = ahead(4 if element == "fp32" else 2, channels_last)
    pointers = {"x": f"*{element}", **({"mask": f"*{element}"} if mask else {}), "partial": "*fp32"}
    sizes = ("channels", "pixels", "tiles")
    return Build(
        f"stats {element}{'' if channels_last else ' nchw'}{' mask' if mask else ''}",
        _norm_stats_kernel,
        {**pointers, **dict.fromkeys(sizes, "i32")},
        {
            **({} if mask else {"mask": None}),
            "CHANNELS_LAST": channels_last,
            "BLOCK_P": cut.block_p,
            "BLOCK_C": cut.block_c,
        },
        (*pointers, "channels" if channels_last else "pixels"),
        cut.warps,
    )


def apply_build(
    element: str,
    *,
    channels_last: bool = True,
    affine: str | None = None,
    residual: bool = False,
    mask: bool = False,
    eps: float = 1e-5,
    slope: float = 1.0,
    one_plus: bool = False,
    by_variance: bool = False,
    upsample: bool = False,
    pad: int = 0,
) -> Build:
    """Describes how the second kernel is compiled, for planes of any size.

    Its arguments are x, the statistics, and where given weight, bias, residual and mask, then y; then int32: channels,
    height, width, tiles, blocks, row and, with a residual, its strides of image, row and column (NCHW: image, channel
    and row). Channels and strides (NCHW: the width) have to be multiples of 16. The grid is
    `[ceil(pixels of y / BLOCK_P / blocks), ceil(C / BLOCK_C), N]`.

    Args:
        element: "fp32", "fp16" or "bf16".
        channels_last: the layout of x, y and mask.
        affine: the type of weight and bias; None: there are none.
        residual: whether there is one.
        mask: whether there is one.
        eps: as in `norm_act`, and so are those behind it.
        slope: same.
        one_plus: same.
        by_variance: same.
        upsample: same.
        pad: same.
    """
    cut = ahead(4 if element == "fp32" else 2, channels_last)
    strides = ("residual_image", "residual_channel", "residual_row", "residual_column")
    unit = "residual_channel" if channels_last else "residual_column"
    pointers = {
        "x": f"*{element}",
        "partial": "*fp32",
        **({"weight": f"*{affine}", "bias": f"*{affine}"} if affine else {}),
        **({"residual": f"*{element}"} if residual else {}),
        **({"mask": f"*{element}"} if mask else {}),
        "y": f"*{element}",
    }
    given = [name for name in strides if residual and name != unit]
    sizes = ("channels", "height", "width", "tiles", "blocks", "row", *given)
    follows = [
        f"slope {slope}" if slope != 1 else "",
        f"affine {affine}" if affine else "",
        *(
            name
            for name, used in (
                ("1+", one_plus),
                ("/var", by_variance),
                ("mask", mask),
                ("residual", residual),
                ("x2", upsample),
                (f"pad {pad}", pad),
            )
            if used
        ),
    ]
    return Build(
        " ".join(filter(None, ["apply", element, "" if channels_last else "nchw", *follows])),
        _norm_apply_kernel,
        {**pointers, **dict.fromkeys(sizes, "i32")},
        {
            **{name: None for name in ("weight", "bias", "residual", "mask") if name not in pointers},
            **{name: int(residual and name == unit) for name in strides if name not in given},
            "EPS": eps,
            "SLOPE": slope,
            "ONE_PLUS": one_plus,
            "BY_VARIANCE": by_variance,
            "UPSAMPLE": upsample,
            "PAD": pad,
            "CHANNELS_LAST": channels_last,
            "STATS_BLOCK": cut.block_p,
            "TILES": MAX_TILES,
            "BLOCK_P": cut.block_p,
            "BLOCK_C": cut.block_c,
        },
        (*pointers, *(("channels", *given) if channels_last else ("width",))),
        cut.warps,
    )


BUILDS = (
    *(stats_build(element) for element in ("fp32", "fp16", "bf16")),
    stats_build("bf16", channels_last=False),
    stats_build("bf16", mask=True),
    # CycleGAN and CUT: behind the first convolutions, within and at the end of a block, before the last convolution
    *(apply_build(element, slope=0.0) for element in ("fp32", "fp16", "bf16")),
    apply_build("bf16", slope=0.0, pad=1),
    *(apply_build(element, residual=True, pad=1) for element in ("fp32", "fp16", "bf16")),
    apply_build("bf16", slope=0.0, pad=3),
    apply_build("bf16", slope=0.0, channels_last=False),
    apply_build("bf16", residual=True, pad=1, channels_last=False),
    # StarGAN v2: AdaIN, before an enlargement too; GP-UNIT, MUNIT and TUNIT alike
    apply_build("bf16", affine="bf16", one_plus=True, slope=0.2),
    apply_build("bf16", affine="bf16", one_plus=True, slope=0.2, upsample=True),
    apply_build("bf16", affine="bf16", residual=True, upsample=True, pad=2),
    # EGSC-IT
    apply_build("bf16", affine="fp32", one_plus=True, by_variance=True, mask=True, eps=1e-6),
)
