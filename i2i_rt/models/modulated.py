"""Layers of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958) that several systems share.

Equalised learning rate: weights are stored with variance one and scaled where they are used. Modulation: a style
scales the input's channels, the filters are shared by the whole batch, demodulation scales the output's channels.
That is the same as filters of their own for every picture, but it is one plain convolution, which every runtime
has a fast kernel for; nothing is grouped by picture, so the batch can be dynamic.
"""

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.kernels import blur_epilogue, conv_epilogue, fused, modulated_conv2d, unit_filters
from i2i_rt.kernels.modulated_conv import HUNDRED, Norm
from i2i_rt.models import across
from i2i_rt.models.resample import Blur

BLUR_TAPS = (1, 3, 3, 1)
Edges = Literal["zeros", "reflect", "none"]


def activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2) * math.sqrt(2)


def unit(x: Tensor) -> Tensor:
    """Scales `[N, C, …]` to length one over the channels; computed and given in float32."""
    x = HUNDRED * x.float()
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-4)


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

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Gives `[N, O, H', W']`; an activated layer adds a residual of that shape, over sqrt(2)."""
        if self.blur is not None:
            x = self.blur(x)
        if self.reflected:
            x = functional.pad(x, (self.reflected,) * 4, mode="reflect")
        weight = self.weight if self.scale == 1 else self.weight * self.scale
        late = self.activated and fused.chosen("conv_epilogue", x)  # there the bias costs nothing
        x = functional.conv2d(x, weight, None if late else self.bias, self.stride, self.padding)
        return conv_epilogue(x, self.bias if late else None, residual=residual) if self.activated else x

    def settle(self) -> None:
        """Scales the weight once and for all, in place, where training scales it in every run."""
        self.weight.data *= self.scale
        self.scale = 1


class EqualizedLinear(nn.Module):
    """Linear layer whose stored weight has variance one; the bias is stored as it is used."""

    def __init__(self, channels: int, out_channels: int, *, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, channels))
        self.bias = nn.Parameter(torch.full((out_channels,), bias))
        self.divisor = math.sqrt(channels)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.divisor == 1 else self.weight / self.divisor
        return functional.linear(x, weight, self.bias)

    def settle(self) -> None:
        """Scales the weight once and for all, in place, where training scales it in every run."""
        self.weight.data /= self.divisor
        self.divisor = 1

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
        result: Tensor = self.conv2(self.conv1(x), self.skip(x))
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
        self.norm: Norm = "filters"
        pattern = None
        if noise and noise_seed is not None:
            generator = np.random.Generator(np.random.PCG64(noise_seed))
            drawn = generator.standard_normal((1, 1, self.PERIOD, self.PERIOD))
            pattern = torch.from_numpy(drawn.astype("float32"))
        self.noise: Tensor | None
        self.register_buffer("noise", pattern, persistent=False)

    def forward(
        self,
        x: Tensor,
        code: Tensor | None = None,
        noise: Tensor | None = None,
        *,
        residual: Tensor | None = None,
        doubled: bool = False,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Gives `[N, O, H, W]`, or twice the sides.

        Args:
            x: `[N, C, H, W]`.
            code: `[N, S]`, or at every place `[N, S, h, w]`, which is stretched over x; None where `x` is scaled by
                the style already.
            noise: `[N or 1, 1, H, W]` of the output's size, in place of what is drawn or kept.
            residual: of the output's shape, is added, over sqrt(2), where the layer keeps the sides.
            doubled: whether the residual has half the output's sides, and is stretched to them.
            scale: `[N, O]`, the style of the layer that comes next, which scales the output.
        """
        style = None if self.modulation is None or code is None else self.style(code, x)
        noise = self._noise(x) if noise is None else noise
        x = modulated_conv2d(x, self.weight, style, norm=self.norm, up=self.blur is not None)
        strength = None if noise is None else self.noise_strength
        more: dict[str, Any] = {"noise": noise, "strength": strength, "scale": scale}
        if self.blur is not None:
            return blur_epilogue(x, self.blur.kernel, self.blur.padding, self.bias, **more)
        return conv_epilogue(x, self.bias, residual=residual, doubled=doubled, **more)

    def style(self, code: Tensor, x: Tensor) -> Tensor:
        """Gives what scales the input `x`, in float32: `[N, C, 1, 1]`, or `[N, C, H, W]` for a code at every place."""
        assert self.modulation is not None
        style = HUNDRED * stretched(self.modulation.as_map(code), x).float()
        return style * torch.rsqrt(style.square().mean(1, keepdim=True) + 1e-4)

    def settle(self) -> None:
        """Norms the filters once and for all, in place, where training norms them in every run.

        A transposed convolution's weights are stored as it reads them: by input channel, channels last.
        """
        if self.norm == "filters":
            self.weight.data, self.norm = unit_filters(self.weight.data), "none"
        if self.blur is not None:
            turned = self.weight.data.transpose(0, 1).contiguous(memory_format=torch.channels_last)
            self.weight.data = turned.transpose(0, 1)

    def _noise(self, x: Tensor) -> Tensor | None:
        """Gives the noise for an input: for each of its images in training, and a period of one for all otherwise."""
        if self.noise_strength is None or not self.training:
            return None if self.noise_strength is None else self.noise
        factor = 1 if self.blur is None else 2
        # on the device: maps of all pixels; every process draws the whole batch's and takes its own images'
        shape = (across.count() * x.shape[0], 1, factor * x.shape[2], factor * x.shape[3])
        return across.own(torch.randn(shape, dtype=x.dtype, device=x.device))


def stretched(style: Tensor, like: Tensor) -> Tensor:
    """Resizes a map `[N, C, h, w]` of styles to the sides of `like`; one style for all places stays as it is."""
    if style.shape[-2:] == (1, 1):
        return style
    return functional.interpolate(style, size=like.shape[-2:], mode="bilinear", align_corners=False)
