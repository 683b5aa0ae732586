"""Generator of SPADE, also called GauGAN (Park et al. 2019, arXiv:1903.07291, section 3 and appendix A).

The label map scales and shifts the features after every normalisation, position by position, at every resolution.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.models.norm import AffineInstanceNorm, InstanceNorm, RunningNorm
from i2i_rt.models.spectral import fold_spectral_norm

Upsampling = Literal["normal", "more", "most"]
Conditioning = Literal["spade", "concat"]
# how often the first tensor is doubled until it has the picture's size
DOUBLINGS: dict[Upsampling, int] = {"normal": 5, "more": 6, "most": 7}
SLOPE = 0.2  # of every leaky ReLU
UNKNOWN = 255  # the label of pixels of no known class
WIDTHS = (16, 16, 16, 8, 4, 2, 1)  # channels after `head_0`, `G_middle_0`, `G_middle_1`, `up_0` …, in widths


@dataclass(frozen=True)
class SpadeGeneratorConfig:
    """Rebuilds a `SpadeGenerator`, together with its weights."""

    classes: int = 182
    unknown: bool = True  # a channel for pixels of no known class follows the classes
    edges: bool = True  # and a channel with the edges between instances comes last
    width: int = 64  # channels before the last convolution; the first tensor has 16 times as many
    upsampling: Upsampling = "normal"
    style: int = 0  # length of the VAE's code, which the first tensor is made of; 0: it is made of the label map
    first_size: tuple[int, int] | None = None  # height and width of the first tensor; None: they follow the label map
    norm: Literal["batch", "instance"] = "batch"
    hidden: int = 128  # channels between the label map and the scales
    kernel: int = 3  # of the convolutions that read the label map
    conditioning: Conditioning = "spade"  # "concat" is the baseline of table 2.3 of Park's thesis: see `ConcatNorm`

    def __post_init__(self) -> None:
        if self.upsampling not in DOUBLINGS:
            raise I2IError(f"upsampling is {self.upsampling!r}; it must be one of {', '.join(get_args(Upsampling))}")
        if min(self.classes, self.width, self.hidden, self.kernel) < 1 or self.style < 0:
            raise I2IError(
                f"classes is {self.classes}, width {self.width}, hidden {self.hidden}, kernel {self.kernel}, "
                f"style {self.style}; all but the last must be at least 1, and that at least 0"
            )
        if self.upsampling == "most" and self.width % 2:
            raise I2IError(f"width is {self.width}; with upsampling 'most' it must be even")
        if self.norm not in ("batch", "instance"):
            raise I2IError(f"norm is {self.norm!r}; it must be batch or instance")
        if self.conditioning not in get_args(Conditioning):
            raise I2IError(
                f"conditioning is {self.conditioning!r}; it must be one of {', '.join(get_args(Conditioning))}"
            )
        if self.style and self.first_size is None:
            raise I2IError("a generator with a style needs first_size: its first layer makes a tensor of one size")
        if self.first_size is not None and (len(self.first_size) != 2 or min(self.first_size) < 1):
            raise I2IError(f"first_size is {self.first_size}; it must be a height and a width of at least 1")

    @property
    def channels(self) -> int:
        """Channels of the label map as the network takes it."""
        return self.classes + self.unknown + self.edges

    @property
    def multiple(self) -> int:
        """How many pixels of the picture one position of the first tensor stands for, along a side."""
        return int(2 ** DOUBLINGS[self.upsampling])

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the picture where they are fixed."""
        if self.first_size is None:
            return None
        return self.first_size[0] * self.multiple, self.first_size[1] * self.multiple


def semantics_of(labels: Tensor, edges: Tensor | None, config: SpadeGeneratorConfig, dtype: torch.dtype) -> Tensor:
    """Gives label maps and edges `[N, H, W]`, uint8, as the network takes them: `[N, S, H, W]` of zeros and ones.

    Comparing with all indices at once needs no scatter, which runtimes have no fast kernel for.
    """
    indices = labels.to(torch.int32)
    classes = config.classes
    if config.unknown:
        indices = torch.where(indices == UNKNOWN, torch.full_like(indices, classes), indices)
        classes += 1
    numbers = torch.arange(classes, dtype=torch.int32, device=labels.device)[None, :, None, None]
    semantics = (indices[:, None] == numbers).to(dtype)
    if edges is None:
        return semantics
    return torch.cat([semantics, edges[:, None].to(dtype)], 1)


def instance_edges(instances: Tensor) -> Tensor:
    """Gives the edges between instances `[N, H, W]` as uint8: 1 where a pixel to any of the four sides is another's."""
    edges = torch.zeros_like(instances, dtype=torch.bool)
    beside = instances[:, :, 1:] != instances[:, :, :-1]
    below = instances[:, 1:] != instances[:, :-1]
    edges[:, :, 1:] |= beside
    edges[:, :, :-1] |= beside
    edges[:, 1:] |= below
    edges[:, :-1] |= below
    return edges.to(torch.uint8)


class SpatialNorm(nn.Module):
    """Normalises `[N, C, h, w]`, then scales and shifts every position by what the label map `[N, S, h, w]` says.

    Batch norm uses its running statistics outside training, as the official test script does.
    """

    def __init__(self, config: SpadeGeneratorConfig, channels: int) -> None:
        super().__init__()
        padding = config.kernel // 2
        self.plain: nn.Module = (
            RunningNorm(channels, affine=False) if config.norm == "batch" else InstanceNorm(channels)
        )
        self.shared = nn.Conv2d(config.channels, config.hidden, config.kernel, padding=padding)
        self.scale = nn.Conv2d(config.hidden, channels, config.kernel, padding=padding)
        self.shift = nn.Conv2d(config.hidden, channels, config.kernel, padding=padding)

    def forward(self, x: Tensor, semantics: Tensor) -> Tensor:
        hidden = functional.relu(self.shared(semantics))
        result: Tensor = self.plain(x) * (1 + self.scale(hidden)) + self.shift(hidden)
        return result


class ConcatNorm(nn.Module):
    """Puts the label map `[N, S, h, w]` beside features `[N, C, h, w]`, then normalises: `[N, C + S, h, w]`.

    What SPADE is compared with. A norm with an image's own statistics makes nothing of a map of one label (section
    2.3 of the thesis), since every channel of it is the same everywhere.
    """

    def __init__(self, config: SpadeGeneratorConfig, channels: int) -> None:
        super().__init__()
        channels += config.channels
        self.plain: nn.Module = RunningNorm(channels) if config.norm == "batch" else AffineInstanceNorm(channels)

    def forward(self, x: Tensor, semantics: Tensor) -> Tensor:
        result: Tensor = self.plain(torch.cat([x, semantics.to(x.dtype)], 1))
        return result


# what a block's norm and the leaky ReLU behind it, of a slope, make of features; 1: there is none behind it
Modulate = Callable[[Any, Tensor, float], Tensor]


def _modulated(semantics: Tensor, norm: SpatialNorm | ConcatNorm, x: Tensor, slope: float) -> Tensor:
    result: Tensor = norm(x, semantics)
    return result if slope == 1 else functional.leaky_relu(result, slope)


class SpadeBlock(nn.Module):
    """A residual block with spatial norms (figure 4): two 3x3 convolutions, and a 1x1 where the widths differ."""

    def __init__(self, config: SpadeGeneratorConfig, before: int, after: int) -> None:
        super().__init__()
        middle = min(before, after)
        norm, more = (SpatialNorm, 0) if config.conditioning == "spade" else (ConcatNorm, config.channels)
        self.norm_0, self.norm_1 = norm(config, before), norm(config, middle)
        self.conv_0 = nn.Conv2d(before + more, middle, 3, padding=1)
        self.conv_1 = nn.Conv2d(middle + more, after, 3, padding=1)
        self.norm_s = norm(config, before) if before != after else None
        self.conv_s = nn.Conv2d(before + more, after, 1, bias=False) if before != after else None

    def forward(self, x: Tensor, modulate: Modulate) -> Tensor:
        inner = self.conv_0(modulate(self.norm_0, x, SLOPE))
        inner = self.conv_1(modulate(self.norm_1, inner, SLOPE))
        if self.norm_s is not None and self.conv_s is not None:
            x = self.conv_s(modulate(self.norm_s, x, 1))
        result: Tensor = x + inner
        return result


class SpadeGenerator(nn.Module):
    """Makes pictures `[N, 3, H, W]` in [-1, 1] from label maps `[N, S, H, W]`, one-hot, H and W multiples of 32 to 128.

    The official code fixes the size of the first tensor by the training's size. Without a style nothing depends on
    that, so here it follows the label map: at the training's size the two are the same.
    """

    def __init__(self, config: SpadeGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = self.low = config.multiple
        widest = WIDTHS[0] * config.width
        self.first: nn.Module
        if config.style:
            assert config.first_size is not None
            self.first = nn.Linear(config.style, widest * config.first_size[0] * config.first_size[1])
        else:
            self.first = nn.Conv2d(config.channels, widest, 3, padding=1)
        widths = [widest, *(width * config.width for width in WIDTHS)]
        if config.upsampling == "most":
            widths.append(config.width // 2)
        self.blocks = nn.ModuleList(SpadeBlock(config, before, after) for before, after in pairwise(widths))
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, semantics: Tensor, style: Tensor | None = None) -> Tensor:
        """`style` `[N, Z]` is the code of a generator that was trained with a VAE."""

        def modulation(size: torch.Size) -> Modulate:
            return partial(_modulated, functional.interpolate(semantics, size=size, mode="nearest"))

        return self.finish(self.start(semantics, style), modulation)

    def finish(
        self, x: Tensor, modulation: Callable[[torch.Size], Modulate], *, modulated_while_doubled: bool = False
    ) -> Tensor:
        """Makes pictures of the first tensor.

        Args:
            x: the first tensor.
            modulation: is asked for what modulates features of a size, once for each resolution.
            modulated_while_doubled: that doubles features itself where nothing else needs them doubled.
        """
        modulate = modulation(x.shape[2:])
        for index, block in enumerate(self.blocks):
            if self.doubles_before(index):
                if not (modulated_while_doubled and self.doubled_for_norms_alone(index)):
                    x = functional.interpolate(x, scale_factor=2, mode="nearest")
                modulate = modulation(x.shape[2:])
            x = block(x, modulate)
        return torch.tanh(self.last(functional.leaky_relu(x, SLOPE)))

    def start(self, semantics: Tensor, style: Tensor | None) -> Tensor:
        """Gives the first tensor `[N, 16 * width, h, w]`."""
        if self.config.style:
            return self.start_from_style(style)
        height, width = self.config.first_size or (
            semantics.shape[2] // self.multiple,
            semantics.shape[3] // self.multiple,
        )
        result: Tensor = self.first(functional.interpolate(semantics, size=(height, width), mode="nearest"))
        return result

    def start_from_style(self, style: Tensor | None) -> Tensor:
        size = self.config.first_size
        if style is None or size is None:
            raise ValueError("a generator with a VAE needs a style")
        made: Tensor = self.first(style.to(self.last.weight.dtype))
        return made.view(-1, WIDTHS[0] * self.config.width, *size)

    def doubles_before(self, index: int) -> bool:
        """Says whether the features are doubled in size before a block."""
        return index in (1, 3, 4, 5, 6, 7) or (index == 2 and self.config.upsampling != "normal")

    def doubled_for_norms_alone(self, index: int) -> bool:
        """Says whether the features before a block are doubled, and read by `norm_0` and `norm_s` and nothing else."""
        block = self.blocks[index]
        assert isinstance(block, SpadeBlock)
        return self.doubles_before(index) and block.norm_s is not None


@dataclass(frozen=True)
class OfficialSpade:
    """What the keys and shapes of an official generator tell; the rest are options of the training.

    Attributes:
        channels: of the label map: classes, then one for the unknown where there is one, then one for edges.
        positions: of the first tensor where a linear layer makes it of a style; 0 without a style.
        most: whether there is the additional block of `most`; `normal` and `more` have the same keys.
    """

    channels: int
    width: int
    style: int
    positions: int
    most: bool
    norm: Literal["batch", "instance"]
    hidden: int
    kernel: int
    weights: dict[str, Tensor]


def read_official(state: Mapping[str, Tensor]) -> OfficialSpade | None:
    """Reads an official generator's keys and shapes, with spectral norm divided out; None where it is none.

    Raises:
        CheckpointError: where the file is a SPADE generator but lacks the layers that tell its shape.
    """
    if not any(".mlp_gamma." in key for key in state) or not any(key.startswith("head_0.") for key in state):
        return None
    for key in ("fc.weight", "conv_img.weight", "head_0.norm_0.mlp_shared.0.weight"):
        if key not in state:
            raise CheckpointError(f"this SPADE generator is not complete: {key} is missing")
    first, shared = state["fc.weight"], state["head_0.norm_0.mlp_shared.0.weight"]
    most = any(key.startswith("up_4.") for key in state)
    width = state["conv_img.weight"].shape[1] * (2 if most else 1)
    with_style = first.ndim == 2
    return OfficialSpade(
        channels=shared.shape[1],
        width=width,
        style=first.shape[1] if with_style else 0,
        positions=first.shape[0] // (WIDTHS[0] * width) if with_style else 0,
        most=most,
        norm="batch" if any(key.endswith("param_free_norm.running_mean") for key in state) else "instance",
        hidden=shared.shape[0],
        kernel=shared.shape[2],
        weights={_own_key(key): tensor for key, tensor in fold_spectral_norm(state).items()},
    )


OWN_NAMES = {
    r"^fc\.": "first.",
    r"^conv_img\.": "last.",
    r"^head_0\.": "blocks.0.",
    r"\.param_free_norm\.": ".plain.",
    r"\.mlp_shared\.0\.": ".shared.",
    r"\.mlp_gamma\.": ".scale.",
    r"\.mlp_beta\.": ".shift.",
}


def _own_key(key: str) -> str:
    key = re.sub(r"^G_middle_(\d)\.", lambda match: f"blocks.{1 + int(match[1])}.", key)
    key = re.sub(r"^up_(\d)\.", lambda match: f"blocks.{3 + int(match[1])}.", key)
    for pattern, name in OWN_NAMES.items():
        key = re.sub(pattern, name, key)
    return key
