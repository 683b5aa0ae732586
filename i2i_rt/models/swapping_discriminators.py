"""The Swapping Autoencoder's discriminators (Park et al. 2020, arXiv:2007.00653, section 3.2, 3.3 and appendix B).

One judges pictures. The other, of co-occurring patches, judges whether small crops of one picture could come from
the picture that other crops come from.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.models.modulated import EqualizedConv, EqualizedLinear, EqualizedResidualBlock, activate
from i2i_rt.models.swapping import check_taps, renamed, shapes_of


@dataclass(frozen=True)
class SwappingDiscriminatorConfig:
    """Rebuilds a `SwappingDiscriminator`, together with its weights."""

    in_channels: int = 3
    widths: tuple[int, ...] = (128, 256, 512, 512, 512, 512, 512)  # before the first and after every reduction
    side: int = 4  # of what the last reduction leaves
    hidden: int = 512  # between the two linear layers

    def __post_init__(self) -> None:
        if not self.widths or self.side < 1:
            raise I2IError(f"a discriminator with widths {self.widths} that ends in side {self.side} is none")


@dataclass(frozen=True)
class SwappingPatchDiscriminatorConfig:
    """Rebuilds a `SwappingPatchDiscriminator`, together with its weights."""

    in_channels: int = 3
    widths: tuple[int, ...] = (32, 64, 128, 256, 384, 384)  # before the first and after every reduction, to 4x4
    wide: int = 768  # of the last residual block, which does not reduce
    features: int = 384  # of a crop, at 2x2
    hidden: tuple[int, ...] = (2048, 2048, 1024)  # of the layers that compare two crops

    def __post_init__(self) -> None:
        if not self.widths:
            raise I2IError("a patch discriminator needs widths")


class SwappingDiscriminator(nn.Module):
    """Gives a raw score for each image `[N, 3, H, W]` in [-1, 1]; the sides are fixed by the config: `[N, 1]`."""

    def __init__(self, config: SwappingDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.from_rgb = EqualizedConv(config.in_channels, widths[0], 1)
        self.down = nn.Sequential(*(EqualizedResidualBlock(a, b, down=True) for a, b in itertools.pairwise(widths)))
        self.final_conv = EqualizedConv(widths[-1], widths[-1], 3)
        self.hidden = EqualizedLinear(widths[-1] * config.side**2, config.hidden)
        self.score = EqualizedLinear(config.hidden, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.final_conv(self.down(self.from_rgb(image)))
        score: Tensor = self.score(activate(self.hidden(features.flatten(1))))
        return score


class SwappingPatchDiscriminator(nn.Module):
    """Scores pairs of crops by whether they could be of one picture."""

    def __init__(self, config: SwappingPatchDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.layers = nn.Sequential(
            EqualizedConv(config.in_channels, widths[0], 3),
            *(EqualizedResidualBlock(a, b, down=True) for a, b in itertools.pairwise(widths)),
            EqualizedResidualBlock(widths[-1], config.wide, down=False),
            EqualizedConv(config.wide, config.features, 3, edges="none"),
        )
        pair = (2 * config.features * 4, *config.hidden, 1)
        self.compare = nn.ModuleList(EqualizedLinear(a, b) for a, b in itertools.pairwise(pair))

    def features(self, crops: Tensor, *, average: bool = False) -> Tensor:
        """Gives the features `[N * T, F, 2, 2]` of T crops of each of N pictures, `[N, T, 3, P, P]`.

        With `average`, each crop of a picture gets the mean of them all: a reference is what its crops share.
        """
        found: Tensor = self.layers(crops.flatten(0, 1))
        if average:
            means = found.view(*crops.shape[:2], *found.shape[1:]).mean(1, keepdim=True)
            found = means.expand(-1, crops.shape[1], -1, -1, -1).flatten(0, 1)
        return found

    def forward(self, reference: Tensor, target: Tensor) -> Tensor:
        """Gives raw scores `[M, 1]` for pairs of features `[M, F, 2, 2]`."""
        x = torch.cat([reference.flatten(1), target.flatten(1)], 1)
        for layer in self.compare[:-1]:
            x = activate(layer(x))
        score: Tensor = self.compare[-1](x)
        return score


def crops(
    images: Tensor,
    size: int,
    flip: Tensor,
    scale: Tensor,
    offset: Tensor,
    *,
    scales: tuple[float, float] = (1 / 8, 1 / 4),
) -> Tensor:
    """Cuts T crops from each of N images and resizes them bilinearly: `[N, 3, H, W]` to `[N, T, 3, size, size]`.

    Args:
        images: where the crops are cut from.
        size: of the result's sides.
        flip: `[N * T, 1, 1, 1]` in [0, 1]; a half and more mirrors.
        scale: `[N * T, 1, 1, 2]` in [0, 1], of width and height on their own, between the two `scales`.
        offset: `[N * T, 1, 1, 2]` in [0, 1], of the crop in what is free to the right and below.
        scales: smallest and largest share of the image's sides.
    """
    if images.dtype in (torch.float16, torch.bfloat16):
        images = images.float()  # places have to be known to a fraction of a pixel
    count = len(flip) // len(images)
    line = torch.linspace(-1, 1, size, device=images.device)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]  # [1, size, size, (x, y)]
    mirror = torch.cat([flip.round() * 2 - 1, torch.ones_like(flip)], -1)
    scale = scale * (scales[1] - scales[0]) + scales[0]
    grid = grid * mirror * scale + (offset * 2 - 1) * (1 - scale)
    cut = functional.grid_sample(
        images.repeat_interleave(count, 0), grid.to(images.dtype), mode="bilinear", align_corners=False
    )
    return cut.view(len(images), count, *cut.shape[1:])


def read_official_discriminator(
    state: Mapping[str, Tensor],
) -> tuple[SwappingDiscriminatorConfig, dict[str, Tensor]]:
    """Finds the config in the official state dict's keys (without `D.stylegan2_D.`) and shapes, renames its tensors.

    Raises:
        CheckpointError: where a key is missing that the config is found by.
    """
    shape = shapes_of(state, "discriminator")
    blocks = _blocks(state, 512)
    first, final, hidden = shape("convs.0.Conv.weight"), shape("final_conv.Conv.weight"), shape("final_linear.0.weight")
    config = SwappingDiscriminatorConfig(
        in_channels=first[1],
        widths=(first[0], *(shape(f"convs.{name}.conv2.Conv.weight")[0] for name in blocks)),
        side=round((hidden[1] / final[0]) ** 0.5),
        hidden=hidden[0],
    )
    check_taps(state, r"convs\..*Blur\.kernel", 4)
    names = [
        ("convs.0.", "from_rgb."),
        *((f"convs.{name}.", f"down.{index}.") for index, name in enumerate(blocks)),
        ("final_linear.0.", "hidden."),
        ("final_linear.1.", "score."),
    ]
    return config, renamed(state, names)


def read_official_patch_discriminator(
    state: Mapping[str, Tensor],
) -> tuple[SwappingPatchDiscriminatorConfig, dict[str, Tensor]]:
    """Finds the config in the official state dict's keys (without `Dpatch.`) and shapes, and renames its tensors.

    Raises:
        CheckpointError: where a key is missing that the config is found by.
    """
    shape = shapes_of(state, "patch discriminator")
    *blocks, wide = _blocks(state, 128)
    first = shape("convs.0.Conv.weight")
    compare = sorted(int(match[1]) for key in state if (match := re.fullmatch(r"pairlinear\.(\d+)\.weight", key)))
    config = SwappingPatchDiscriminatorConfig(
        in_channels=first[1],
        widths=(first[0], *(shape(f"convs.{name}.conv2.Conv.weight")[0] for name in blocks)),
        wide=shape(f"convs.{wide}.conv2.Conv.weight")[0],
        features=shape("convs.6.Conv.weight")[0],
        hidden=tuple(shape(f"pairlinear.{index}.weight")[0] for index in compare[:-1]),
    )
    check_taps(state, r"convs\..*Blur\.kernel", 4)
    order = ["0", *blocks, wide, "6"]
    names = [
        *((f"convs.{name}.", f"layers.{index}.") for index, name in enumerate(order)),
        ("pairlinear.", "compare."),
    ]
    return config, renamed(state, names)


def _blocks(state: Mapping[str, Tensor], above: int) -> list[str]:
    """Names the residual blocks from the largest input side down.

    A block is named by its side, "1024x1024", or for sides below `above` by a number that grows as the side halves.
    """
    names = {match[1] for key in state if (match := re.match(r"convs\.(\w+)\.conv1\.", key))}

    def side(name: str) -> float:
        return float(name.split("x")[0]) if "x" in name else above / 2 ** int(name)

    return sorted(names, key=side, reverse=True)
