"""The fused operators at the shapes of the official networks, and at shapes beyond a GPU's caches."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt import kernels
from i2i_rt.benchmarks.official import BLOCK_PX, fields
from i2i_rt.kernels.spade_layout import SYMBOLS
from i2i_rt.models.resample import Blur

Arguments = tuple[Any, ...]
LAST = torch.channels_last


@dataclass(frozen=True)
class Case:
    """An operator at a shape.

    Attributes:
        operator: as in `fused.register_test`.
        place: where it occurs.
        make: gives new arguments of `run`, in a dtype on a device.
        run: the public function, which asks the switch.
        moved: bytes that the operator has to move, from its arguments and its result in a 2-byte dtype.
        macs: multiply-accumulates, where these take longer.
        by_hand: the same in the form that suits torch.compile best, where `run` in plain PyTorch does not.
        weights: positions of the arguments that a network has as constants.
    """

    operator: str
    place: str
    make: Callable[[torch.device, torch.dtype], Arguments]
    run: Callable[..., Any]
    moved: int
    macs: int = 0
    by_hand: Callable[..., Any] | None = None
    weights: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.operator}: {self.place}"


def draw(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Draws from N(0, 1); four axes lie channels last."""
    x = torch.randn(shape, device=device).to(dtype)
    return x.contiguous(memory_format=LAST) if len(shape) == 4 else x


def norm(place: str, shape: tuple[int, int, int, int], *, slope: float, residual: bool = False, pad: int = 0) -> Case:
    batch, channels, height, width = shape
    size = math.prod(shape)
    written = batch * channels * (height + 2 * pad) * (width + 2 * pad)

    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        added = draw(shape, device, dtype) if residual else None
        return draw(shape, device, dtype), draw((channels,), device, dtype), draw((channels,), device, dtype), added

    def run(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None) -> Tensor:
        return kernels.norm_act(x, weight, bias, residual=added, slope=slope, pad=pad)

    def by_hand(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None) -> Tensor:
        # PyTorch's own instance norm loses channels last
        wide = x.float()
        variance, mean = torch.var_mean(wide, (2, 3), correction=0, keepdim=True)
        y = (wide - mean) * torch.rsqrt(variance + 1e-5) * weight.float()[:, None, None] + bias.float()[:, None, None]
        y = functional.leaky_relu(y, slope) if slope != 1 else y
        y = (y if added is None else y + added.float()).to(x.dtype)
        return functional.pad(y, (pad,) * 4, mode="reflect") if pad else y

    # statistics first: what is normalised is read twice
    moved = 2 * (size * (3 if residual else 2) + written)
    return Case("norm_act", place, make, run, moved, by_hand=by_hand, weights=(1, 2))


def epilogue(place: str, shape: tuple[int, int, int, int]) -> Case:
    """What follows a generator block's second convolution: noise, bias, activation, the skip from half the sides."""
    batch, channels, height, width = shape

    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        skip = draw((batch, channels, height // 2, width // 2), device, dtype)
        noise, strength = draw((1, 1, 128, 128), device, dtype), draw((1,), device, dtype)
        return draw(shape, device, dtype), draw((channels,), device, dtype), noise, strength, skip

    def run(x: Tensor, bias: Tensor, noise: Tensor, strength: Tensor, skip: Tensor) -> Tensor:
        return kernels.conv_epilogue(x, bias, noise=noise, strength=strength, residual=skip, doubled=True)

    return Case("conv_epilogue", place, make, run, 2 * 9 * math.prod(shape) // 4, weights=(1, 3))


def blurred(place: str, shape: tuple[int, int, int, int]) -> Case:
    """What follows the transposed convolution of a generator block, whose result has `shape`."""
    batch, channels, height, width = shape

    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        kernel = Blur(channels, (1, 3, 3, 1), (1, 1), gain=4).kernel.to(device, dtype)
        noise, strength = draw((1, 1, 128, 128), device, dtype), draw((1,), device, dtype)
        scale = draw((batch, channels), device, dtype)
        return draw(shape, device, dtype), kernel, draw((channels,), device, dtype), noise, strength, scale

    def run(x: Tensor, kernel: Tensor, bias: Tensor, noise: Tensor, strength: Tensor, scale: Tensor) -> Tensor:
        return kernels.blur_epilogue(x, kernel, (1, 1), bias, noise=noise, strength=strength, scale=scale)

    moved = 2 * batch * channels * (height * width + (height - 1) * (width - 1))
    return Case("blur_epilogue", place, make, run, moved, weights=(1, 2, 4))


def pooled(place: str, shape: tuple[int, int, int, int]) -> Case:
    """CUT's antialiased reduction."""

    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        return draw(shape, device, dtype), Blur(shape[1], (1, 2, 1), (1, 1)).kernel.to(device, dtype)

    def run(x: Tensor, kernel: Tensor) -> Tensor:
        return kernels.blur(x, kernel, (1, 1), stride=2, reflect=True)

    return Case("blur_epilogue", place, make, run, 2 * 5 * math.prod(shape) // 4, weights=(1,))


def folded(place: str, out_channels: int, channels: int) -> Case:
    """A style folded into weights for one image, with the convolution that they are for."""
    side = 128

    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        weight = draw((out_channels, channels, 3, 3), device, dtype)
        return draw((1, channels, side, side), device, dtype), weight, draw((1, channels), device, torch.float32)

    def run(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
        return kernels.modulated_conv2d(x, weight, style, norm="filters")

    weights, pixels = 9 * out_channels * channels, side * side
    moved = 2 * (3 * weights + pixels * (channels + out_channels))
    return Case("modulated_weights", place, make, run, moved, weights * pixels, weights=(1,))


def table(place: str, shape: tuple[int, int, int, int]) -> Case:
    batch, channels, height, width = shape

    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        index = fields(batch, height, width, classes=182).to(device, torch.int32)
        return draw(shape, device, dtype), index, draw((512, 2 * channels), device, dtype)

    def run(x: Tensor, index: Tensor, rows: Tensor) -> Tensor:
        return kernels.spade_table_apply(x, index, rows, 0.2)

    return Case("spade_table_apply", place, make, run, 2 * 2 * math.prod(shape) + 4 * batch * height * width)


def hidden(place: str, shape: tuple[int, int, int, int]) -> Case:
    """SPADE's first convolutions of all norms of a resolution, at every position of a label map."""
    batch, channels, height, width = shape

    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        columns, bias = draw((9, SYMBOLS, channels), device, dtype), torch.randn(channels, device=device)
        return fields(batch, height, width).to(device), columns, bias

    def run(labels: Tensor, columns: Tensor, bias: Tensor) -> Tensor:
        return kernels.spade_hidden(labels, None, columns, bias)

    moved = batch * height * width + 2 * channels * (batch * height * width + 9 * SYMBOLS)
    return Case("spade_hidden", place, make, run, moved, weights=(1, 2))


def borders(place: str, shape: tuple[int, int, int, int]) -> Case:
    """SPADE's gamma and beta with their use, from a table and along the borders of fields that are all different."""
    batch, channels, height, width = shape
    depth, rows, columns = 128, height // BLOCK_PX, width // BLOCK_PX

    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        numbers = torch.arange(batch * rows * columns).view(batch, rows, columns).to(torch.uint8)
        labels = numbers.repeat_interleave(BLOCK_PX, 1).repeat_interleave(BLOCK_PX, 2).to(device)
        near = draw((batch, depth, height, width), device, dtype).relu()
        weight = 0.03 * torch.randn(9 * depth, 2 * channels, device=device)
        factor, bias = torch.rand(2, 2 * channels, device=device) + 0.5
        inside = draw((SYMBOLS, 2 * channels), device, dtype)
        layout = kernels.spade_layout(labels, None)
        return draw(shape, device, dtype), near, weight.to(dtype), factor, bias, inside, *layout

    def run(
        x: Tensor, near: Tensor, weight: Tensor, factor: Tensor, bias: Tensor, inside: Tensor, *layout: Any
    ) -> Tensor:
        return kernels.spade_boundary_conv(x, near, weight, factor, bias, inside, layout, 0.2)

    pixels = batch * height * width
    listed = pixels - batch * rows * columns * (BLOCK_PX - 4) ** 2
    weights = 9 * depth * 2 * channels
    moved = 2 * (2 * pixels * channels + listed * depth + weights + pixels) + 4 * listed
    return Case("spade_boundary_conv", place, make, run, moved, weights * listed, weights=(2, 3, 4))


def modulated(place: str, shape: tuple[int, int, int, int]) -> Case:
    """SPADE's gamma and beta with their use, at low resolutions."""
    batch, channels, height, width = shape
    depth = 128

    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        hidden = draw((batch, depth, height, width), device, dtype).relu()
        weight = 0.03 * torch.randn(9 * depth, 2 * channels, device=device)
        factor, bias = torch.rand(2, 2 * channels, device=device) + 0.5
        return draw(shape, device, dtype), hidden, weight.to(dtype), factor, bias

    def run(x: Tensor, hidden: Tensor, weight: Tensor, factor: Tensor, bias: Tensor) -> Tensor:
        return kernels.spade_conv_modulate(x, hidden, weight, factor, bias, 0.2)

    pixels = batch * height * width
    weights = 9 * depth * 2 * channels
    moved = 2 * (2 * pixels * channels + pixels * depth + weights)
    return Case("spade_conv_modulate", place, make, run, moved, weights * pixels, weights=(2, 3, 4))


def frames_in(place: str, shape: tuple[int, int, int]) -> Case:
    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, device=device), dtype

    return Case("frame_in", place, make, kernels.frame_in, 3 * 3 * math.prod(shape))


def frames_out(place: str, shape: tuple[int, int, int]) -> Case:
    batch, height, width = shape

    def make(device: torch.device, dtype: torch.dtype) -> Arguments:
        return (draw((batch, 3, height, width), device, dtype),)

    return Case("frame_out", place, make, kernels.frame_out, 3 * 3 * math.prod(shape))


CASES = (
    frames_in("a frame of 256x256", (1, 256, 256)),
    frames_in("32 frames of 1080p", (32, 1080, 1920)),
    frames_out("a frame of 256x256", (1, 256, 256)),
    frames_out("32 frames of 1080p", (32, 1080, 1920)),
    norm("CycleGAN's block, with the next edges", (1, 256, 64, 64), slope=0, pad=1),
    norm("CycleGAN's block, with its sum", (1, 256, 64, 64), slope=1, residual=True),
    norm("CycleGAN at full size", (1, 64, 256, 256), slope=0),
    norm("StarGAN v2's bottleneck", (1, 512, 16, 16), slope=0.2),
    norm("CycleGAN at full size, batch 32", (32, 64, 256, 256), slope=0),
    norm("CycleGAN's block with its sum, batch 128", (128, 256, 64, 64), slope=0, residual=True),
    epilogue("Swapping Autoencoder at 256x256", (1, 128, 256, 256)),
    epilogue("Swapping Autoencoder at 512x512, batch 8", (8, 128, 512, 512)),
    blurred("Swapping Autoencoder at 256x256", (1, 128, 257, 257)),
    blurred("Swapping Autoencoder at 512x512, batch 8", (8, 128, 513, 513)),
    pooled("CUT's first reduction", (1, 128, 256, 256)),
    pooled("CUT's first reduction at 512x512, batch 8", (8, 128, 512, 512)),
    folded("Swapping Autoencoder at 128x128", 256, 512),
    table("SPADE at 256x256", (1, 128, 256, 256)),
    table("SPADE at 256x256, batch 16", (16, 128, 256, 256)),
    hidden("SPADE at 256x256, three norms", (1, 384, 256, 256)),
    borders("SPADE at 256x256", (1, 128, 256, 256)),
    borders("SPADE at 64x64, batch 8", (8, 512, 64, 64)),
    modulated("SPADE at 32x32", (1, 1024, 32, 32)),
    modulated("SPADE at 256x256, for soft maps", (1, 128, 256, 256)),
)
