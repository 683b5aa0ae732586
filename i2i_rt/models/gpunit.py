"""Generator of GP-UNIT with dynamic skip connections (Yang et al. 2022, arXiv:2204.03641, section 3.2)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.kernels import norm_act
from i2i_rt.models.gpunit_encoders import check_reductions, widths_of
from i2i_rt.models.norm import After

SKIPPED = (1, 2)  # the levels with a skip connection: twice and four times the content's size


@dataclass(frozen=True)
class GeneratorConfig:
    """Rebuilds a `Generator`, together with its weights."""

    width: int = 64  # channels at the full resolution; 8 times as many at the lowest ones
    style_dim: int = 256
    skip: bool = True  # False: only the content and the style are used, no features of the encoder
    reductions: int = 5  # how often the content encoder halves the size

    def __post_init__(self) -> None:
        if self.width < 1 or self.style_dim < 1:
            raise I2IError(f"width is {self.width} and style_dim is {self.style_dim}; both must be at least 1")
        check_reductions(self.reductions)


class StyledNorm(nn.Module):
    """Adaptive instance norm: a linear map of the style gives scale and shift of every channel."""

    def __init__(self, style_dim: int, channels: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style_dim, 2 * channels)
        nn.init.ones_(self.affine.bias[:channels])

    def forward(self, x: Tensor, style: Tensor, **after: Unpack[After]) -> Tensor:
        scale, shift = self.affine(style).chunk(2, 1)
        return norm_act(x, scale, shift, **after)


class StyledBlock(nn.Module):
    """Residual block of two 3x3 convolutions, each after adaptive instance norm and leaky ReLU."""

    def __init__(self, style_dim: int, channels: int, after: int) -> None:
        super().__init__()
        self.norm_first, self.first = StyledNorm(style_dim, channels), nn.Conv2d(channels, after, 3, padding=1)
        self.norm_second, self.second = StyledNorm(style_dim, after), nn.Conv2d(after, after, 3, padding=1)
        self.widens = channels != after
        if self.widens:
            self.norm_shortcut = StyledNorm(style_dim, channels)
            self.shortcut = nn.Conv2d(channels, after, 1, bias=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        y = self.first(self.norm_first(x, style, slope=0.2))
        y = self.second(self.norm_second(y, style, slope=0.2))
        if self.widens:
            x = self.shortcut(self.norm_shortcut(x, style))
        result: Tensor = x + y
        return result


class DynamicSkip(nn.Module):
    """Takes from the encoder's feature what a mask selects (eq. 8 to 10): a gated unit whose state runs upwards.

    `state` `[N, state_channels, h/2, w/2]`, `encoded` and `decoded` `[N, channels, h, w]`. Gives the fused feature,
    the next state and the mask, 0 where the decoder's own feature stays.
    """

    def __init__(self, state_channels: int, channels: int) -> None:
        super().__init__()

        def convolution(before: int) -> nn.Conv2d:
            return nn.Conv2d(before, channels, 3, padding=1, padding_mode="reflect")

        self.state = convolution(state_channels)
        self.reset, self.mask, self.update = (convolution(2 * channels) for _ in range(3))

    def forward(self, state: Tensor, encoded: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = functional.leaky_relu(self.state(_twice(state)), 0.2)
        both = torch.cat([state, encoded], 1)
        mask = torch.tanh(functional.relu(self.mask(both)))
        state = torch.sigmoid(self.reset(both)) * state
        taken = self.update(torch.cat([state, encoded], 1))
        return (1 - mask) * decoded + mask * taken, state, mask


class Generator(nn.Module):
    """Content `[N, 1, h, w]`, features of the content encoder and style codes to images `[N, 3, 32 h, 32 w]`.

    With fewer reductions than five, there are fewer levels between the content's size and the image's.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width, style_dim = config.width, config.style_dim
        channels = (1, *reversed(widths_of(width, config.reductions)), width)
        self.blocks = nn.ModuleList(StyledBlock(style_dim, before, after) for before, after in pairwise(channels))
        self.second_block = StyledBlock(style_dim, channels[1], channels[1])  # of the lowest level
        # every level has its own image, of which the training looks at the last one only
        self.heads = nn.ModuleList(nn.Conv2d(after, 3, 7, padding=3) for after in channels[1:])
        self.skips = nn.ModuleList(
            DynamicSkip(1 if level == SKIPPED[0] else channels[level], channels[level + 1])
            for level in SKIPPED
            if config.skip
        )

    def forward(self, content: Tensor, features: Sequence[Tensor], style: Tensor) -> Tensor:
        """Gives the images in [-1, 1]; `features` are the encoder's of twice and four times the content's size.

        Where none are given, the skip connections take nothing: all their masks are 0.
        """
        return self.decode(content, features, style)[0]

    def decode(
        self, content: Tensor, features: Sequence[Tensor], style: Tensor, level: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Gives the image of a level, or the last one's, and the masks below it; level 0 has the content's size."""
        level = len(self.blocks) - 1 if level is None else level
        style = style.to(content.dtype)
        state, masks = content, []
        x = self.second_block(self.blocks[0](content, style), style)
        for index in range(1, level + 1):
            if index - 1 in SKIPPED[: min(len(self.skips), len(features))]:
                number = SKIPPED.index(index - 1)
                x, state, mask = self.skips[number](state, features[number], x)
                masks.append(mask)
            x = self.blocks[index](_twice(x), style)
        return torch.tanh(self.heads[level](functional.leaky_relu(x, 0.2))), masks


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def read_official(state: Mapping[str, Tensor], *, skip: bool = True) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    """Finds the config of the group `g_ema` in its shapes, and its weights, without the style encoder's.

    `skip` as the official argument `useskip`: without it the skip connections' weights are left out.
    """
    width = state["model.5.reslayer.conv_1.weight"].shape[0]
    style_dim = state["model.5.reslayer.norm_1.style.weight"].shape[1]
    return GeneratorConfig(width, style_dim, skip), {
        _renamed(key): tensor
        for key, tensor in state.items()
        if not key.startswith("style_encoder.") and (skip or ".skiplayer." not in key)
    }


def _renamed(key: str) -> str:
    """Gives our name of a key such as `model.2.reslayer.norm_0.style.weight`; of an unknown one, the key itself."""
    match = re.fullmatch(r"model\.(\d)\.(\w+layer)\.(.+)", key)
    if match is None:
        return key
    level, part, inside = int(match[1]), match[2], match[3]
    if part == "rgblayer":
        return f"heads.{level}.{inside}"
    if part == "skiplayer":
        return f"skips.{level - SKIPPED[0]}.{inside.replace('trans.', 'state.')}"
    for official, own in (("_0.", "_first."), ("_1.", "_second."), ("_s.", "_shortcut."), (".style.", ".affine.")):
        inside = inside.replace(official, own)
    block = "second_block" if part == "postlayer" and level == 0 else f"blocks.{level}"
    return f"{block}.{inside.removeprefix('conv_')}"
