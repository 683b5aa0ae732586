"""Layers of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958) that several systems share.

Equalised learning rate: weights are stored with variance one and scaled where they are used. Modulation: a style
scales the input's channels, the filters are shared by the whole batch, demodulation scales the output's channels.
That is the same as filters of their own for every picture, but it is one plain convolution, which every runtime
has a fast kernel for; nothing is grouped by picture, so the batch can be dynamic.
"""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.models.norm import tiled
from i2i_rt.models.resample import Blur

BLUR_TAPS = (1, 3, 3, 1)
# The papers add 1e-8 to squares that they divide by. ONNX's optimizer takes that for nothing, and zeros become NaN;
# a hundredfold above and below the line makes it 1e-4.
HUNDRED = 100.0
Edges = Literal["zeros", "reflect", "none"]


def activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2) * math.sqrt(2)


def unit(x: Tensor) -> Tensor:
    """Scales `[N, C, …]` to length one over the channels; computed and given in float32."""
    x = HUNDRED * x.float()
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-4)


def unit_filters(weight: Tensor) -> Tensor:
    """Scales filters `[O, C, K, K]` of variance one to length one each, in float32 inside: a constant of the graph."""
    wide = weight.float() / math.sqrt(weight[0].numel())
    return (wide * torch.rsqrt(wide.square().sum((1, 2, 3), keepdim=True) + 1e-8)).to(weight.dtype)


def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool) -> Tensor:
    """Convolves with filters that a style scales (StyleGAN2, equations 1 and 3), sides kept by zero padding.

    Args:
        x: `[N, C, H, W]`.
        weight: `[O, C, K, K]`, K odd, as it is to be used: equalised learning rate is the caller's.
        style: `[N, C]`, or without demodulation also `[N, C, 1 or H, 1 or W]`.
        demodulate: whether every output channel is divided by the length of its scaled filter.

    Returns:
        `[N, O, H, W]` in the dtype of `x`; the demodulation is computed in float32.
    """
    if not demodulate:
        scale = style if style.ndim == 4 else style[:, :, None, None]
        return functional.conv2d(x * scale.to(x.dtype), weight, padding=weight.shape[-1] // 2)
    style = style.float()
    if x.dtype == torch.float16:
        # the result does not change with the style's size, and x * style could leave float16's range
        style = style / style.abs().amax(1, keepdim=True)
    energy = weight.float().square().sum((2, 3))  # [O, C]
    wide = HUNDRED * style
    inverse = HUNDRED * torch.rsqrt(functional.linear(wide.square(), energy) + 1e-4)  # [N, O]
    y = functional.conv2d(x * style.to(x.dtype)[:, :, None, None], weight, padding=weight.shape[-1] // 2)
    return y * inverse.to(x.dtype)[:, :, None, None]


class EqualizedConv(nn.Module):
    """Convolution whose stored weight has variance one.

    Args:
        channels: of the input.
        out_channels: of the output.
        size: of the filters, odd.
        down: halves height and width.
        taps: of the low-pass in front of a halving; None leaves it out.
        edges: what lies outside of the input; with "none" the output shrinks.
        bias: whether there is one.
        activated: whether `activate` follows.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        size: int,
        *,
        down: bool = False,
        taps: tuple[int, ...] | None = BLUR_TAPS,
        edges: Edges = "zeros",
        bias: bool = True,
        activated: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, channels, size, size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.scale, self.activated = 1 / math.sqrt(channels * size**2), activated
        self.stride, self.padding, self.reflected = 2 if down else 1, 0, 0
        self.blur: Blur | None = None
        if down and taps is not None:
            total = len(taps) - 2 + size - 1
            # where a single tap reads the low-pass, every second position of it is enough
            self.blur = Blur(
                channels, taps, ((total + 1) // 2, total // 2), stride=2 if size == 1 else 1, reflect=edges == "reflect"
            )
            self.stride = 1 if size == 1 else 2
        elif edges == "zeros":
            self.padding = size // 2
        elif edges == "reflect":
            self.reflected = size // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.blur is not None:
            x = self.blur(x)
        if self.reflected:
            x = functional.pad(x, (self.reflected,) * 4, mode="reflect")
        x = functional.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)
        return activate(x) if self.activated else x


class EqualizedLinear(nn.Module):
    """Linear layer whose stored weight has variance one; the bias is stored as it is used."""

    def __init__(self, channels: int, out_channels: int, *, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, channels))
        self.bias = nn.Parameter(torch.full((out_channels,), bias))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight / math.sqrt(self.weight.shape[1]), self.bias)

    def as_map(self, code: Tensor) -> Tensor:
        """Gives `[N, O, 1, 1]` for a code `[N, C]`, `[N, O, h, w]` for a code at every place, `[N, C, h, w]`."""
        if code.ndim == 2:
            result: Tensor = self(code)[:, :, None, None]
            return result
        places: Tensor = self(code.movedim(1, -1))
        return places.movedim(-1, 1)


class EqualizedResidualBlock(nn.Module):
    """`(f(x) + skip(x)) / sqrt(2)`, at half the resolution where `down`."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        down: bool,
        taps: tuple[int, ...] = BLUR_TAPS,
        edges: Edges = "zeros",
    ) -> None:
        super().__init__()
        self.conv1 = EqualizedConv(channels, channels, 3, edges=edges)
        self.conv2 = EqualizedConv(channels, out_channels, 3, down=down, taps=taps, edges=edges)
        self.skip: nn.Module = nn.Identity()
        if down or channels != out_channels:
            # the low-pass of the skip has zeros around it even where the convolutions reflect
            self.skip = EqualizedConv(channels, out_channels, 1, down=down, taps=taps, bias=False, activated=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)
        return result


class StyledConv(nn.Module):
    """3x3 convolution of unit-norm filters, noise, bias and activation; `up` doubles height and width.

    Where there is a style, it scales the input's channels, divided by its own root mean square. So the filters'
    norm does not depend on it, unlike StyleGAN2's; this is the form of the Swapping Autoencoder and, without a
    style, of SinCUT.

    Noise is drawn anew in training. At test time one map, drawn from `noise_seed`, repeats every `PERIOD` positions:
    it covers any size, frames do not flicker, and every exported graph has the same.

    Args:
        channels: of the input.
        out_channels: of the output.
        style_channels: of the code that modulates; None leaves modulation out.
        up: doubles height and width by a transposed convolution and a low-pass.
        noise: whether the layer adds noise at all.
        noise_seed: picks the noise of test time; None leaves it out then.
    """

    PERIOD = 128

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        style_channels: int | None = None,
        up: bool = False,
        noise: bool = True,
        noise_seed: int | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, channels, 3, 3))
        self.modulation = None if style_channels is None else EqualizedLinear(style_channels, channels, bias=1.0)
        self.noise_strength = nn.Parameter(torch.zeros(1)) if noise else None
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.blur = Blur(out_channels, BLUR_TAPS, (1, 1), gain=4) if up else None
        pattern = None
        if noise and noise_seed is not None:
            generator = np.random.Generator(np.random.PCG64(noise_seed))
            drawn = generator.standard_normal((1, 1, self.PERIOD, self.PERIOD))
            pattern = torch.from_numpy(drawn.astype("float32"))
        self.noise: Tensor | None
        self.register_buffer("noise", pattern, persistent=False)

    def forward(self, x: Tensor, code: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Gives `[N, O, H, W]`, or twice the sides.

        Args:
            x: `[N, C, H, W]`.
            code: `[N, S]`, or at every place `[N, S, h, w]`, which is stretched over x.
            noise: `[N or 1, 1, H, W]` of the output's size, in place of what is drawn or kept.
        """
        if self.modulation is not None:
            assert code is not None
            style = HUNDRED * stretched(self.modulation.as_map(code), x).float()
            x = x * (style * torch.rsqrt(style.square().mean(1, keepdim=True) + 1e-4)).to(x.dtype)
        weight = unit_filters(self.weight)
        if self.blur is None:
            x = functional.conv2d(x, weight, padding=1)
        else:
            x = self.blur(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        if self.noise_strength is not None:
            x = self._with_noise(x, self.noise_strength, noise)
        return activate(x + self.bias[:, None, None])

    def _with_noise(self, x: Tensor, strength: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None and self.training:
            noise = torch.randn_like(x[:, :1])
        elif noise is None and self.noise is not None:
            noise = tiled(self.noise, x).to(x.dtype)
        return x if noise is None else x + strength * noise


def stretched(style: Tensor, like: Tensor) -> Tensor:
    """Resizes a map `[N, C, h, w]` of styles to the sides of `like`; one style for all places stays as it is."""
    if style.shape[-2:] == (1, 1):
        return style
    return functional.interpolate(style, size=like.shape[-2:], mode="bilinear", align_corners=False)
