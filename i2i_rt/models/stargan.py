"""StarGAN v2's networks (Choi et al. 2020, arXiv:1912.01865, appendix E, tables 5 to 7).

Liu et al. 2021, "Smoothing the Disentangled Latent Style Space" (arXiv:2106.09016), train the same networks with
other losses.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.kernels import norm_act
from i2i_rt.models.edges import run
from i2i_rt.models.norm import AffineInstanceNorm, After

BOTTLENECK = 2  # blocks without resampling on either side of the narrowest feature
# heights whose features the encoder hands on to the decoder through the masks; the first takes the first mask
MASKED_HEIGHTS = (32, 64, 128)
LEAKY = nn.LeakyReLU(0.2)
ROOT_HALF = math.sqrt(0.5)  # keeps the variance of a sum of two branches


@dataclass(frozen=True)
class StarGANGeneratorConfig:
    """Rebuilds a `StarGANGenerator`, together with its weights."""

    width: int = 64  # channels at full resolution; doubled at each reduction
    max_width: int = 512
    levels: int = 4  # reductions, and enlargements
    style_dim: int = 64
    w_hpf: float = 0.0  # the high-pass filter is divided by it; 0: no masks, and residual blocks in the decoder

    def __post_init__(self) -> None:
        if min(self.width, self.max_width, self.levels, self.style_dim) < 1 or self.w_hpf < 0:
            raise I2IError("width, max_width, levels and style_dim must be at least 1, and w_hpf not negative")


class StyleNorm(nn.Module):
    """AdaIN: `(1 + gamma) * norm(x) + beta`, with gamma and beta from the style `[N, S]` (appendix E)."""

    def __init__(self, style_dim: int, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(style_dim, 2 * channels)

    def forward(self, x: Tensor, style: Tensor, **after: Unpack[After]) -> Tensor:
        gamma, beta = self.fc(style).chunk(2, 1)
        return norm_act(x, gamma, beta, one_plus=True, **after)


class EncoderBlock(nn.Module):
    """Residual block with the activation first; `[N, I, H, W]` to `[N, O, H, W]`, or half of each side."""

    def __init__(self, in_channels: int, out_channels: int, *, reduce: bool, norm: bool) -> None:
        super().__init__()
        self.reduce = reduce
        self.norm1 = AffineInstanceNorm(in_channels) if norm else nn.Identity()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.norm2 = AffineInstanceNorm(in_channels) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1, bias=False) if in_channels != out_channels else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        beside = self.shortcut(x)
        x = self.conv1(run([self.norm1, LEAKY], x))
        if self.reduce:
            x, beside = functional.avg_pool2d(x, 2), functional.avg_pool2d(beside, 2)
        x = self.conv2(run([self.norm2, LEAKY], x))
        result: Tensor = (x + beside) * ROOT_HALF
        return result


class DecoderBlock(nn.Module):
    """Block with AdaIN; `[N, I, H, W]` to `[N, O, H, W]`, or twice each side. Residual only without masks."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, *, enlarge: bool, residual: bool) -> None:
        super().__init__()
        self.enlarge, self.residual = enlarge, residual
        self.norm1 = StyleNorm(style_dim, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = StyleNorm(style_dim, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1, bias=False)
            if residual and in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        beside = x
        x = self.conv1(self.norm1(x, style, slope=0.2, upsample=self.enlarge))
        x = self.conv2(self.norm2(x, style, slope=0.2))
        if not self.residual:
            return x
        beside = self.shortcut(beside)  # a 1x1 convolution gives the same before the enlargement as after it
        if self.enlarge:
            beside = functional.interpolate(beside, scale_factor=2.0, mode="nearest")
        return (x + beside) * ROOT_HALF


class StarGANGenerator(nn.Module):
    """Translates images `[N, 3, H, W]` in [-1, 1] by a style `[N, S]`; the result may leave [-1, 1] a little.

    With `w_hpf` above 0 and two masks `[N, 1, h, w]` (see `models/fan.py`) the encoder's features pass to the decoder
    at the heights `MASKED_HEIGHTS`: masked, then through a high-pass filter (appendix E, "generator").
    """

    def __init__(self, config: StarGANGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2**config.levels
        self.low = 2 * self.multiple  # instance norm needs more than one position
        widths = [min(config.width * 2**level, config.max_width) for level in range(config.levels + 1)]
        self.from_rgb = nn.Conv2d(3, widths[0], 3, padding=1)
        self.encode = nn.ModuleList(
            [EncoderBlock(i, o, reduce=True, norm=True) for i, o in pairwise(widths)]
            + [EncoderBlock(widths[-1], widths[-1], reduce=False, norm=True) for _ in range(BOTTLENECK)]
        )
        rising = widths[::-1]

        def block(in_channels: int, out_channels: int, *, enlarge: bool) -> DecoderBlock:
            return DecoderBlock(
                in_channels, out_channels, config.style_dim, enlarge=enlarge, residual=config.w_hpf == 0
            )

        self.decode = nn.ModuleList(
            [block(rising[0], rising[0], enlarge=False) for _ in range(BOTTLENECK)]
            + [block(i, o, enlarge=True) for i, o in pairwise(rising)]
        )
        self.to_rgb_norm = AffineInstanceNorm(widths[0])
        self.to_rgb = nn.Conv2d(widths[0], 3, 1)
        high_pass = None
        if config.w_hpf:
            high_pass = torch.full((1, 1, 3, 3), -1.0)
            high_pass[0, 0, 1, 1] = 8
            high_pass /= config.w_hpf
        self.high_pass: Tensor | None
        self.register_buffer("high_pass", high_pass, persistent=False)

    def forward(self, image: Tensor, style: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        content, kept = self._encode(image)
        return self._decode(content, style, kept, masks)

    def content(self, image: Tensor) -> Tensor:
        """Gives the feature before the first block that the style touches, `[N, C, H / multiple, W / multiple]`."""
        return self._encode(image)[0]

    def _encode(self, image: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        x = self.from_rgb(image)
        kept = {}
        for block in self.encode:
            # without masks the heights may be dynamic, and must not be looked at
            if self.high_pass is not None and x.shape[2] in MASKED_HEIGHTS:
                kept[x.shape[2]] = x
            x = block(x)
        return x, kept

    def _decode(self, x: Tensor, style: Tensor, kept: dict[int, Tensor], masks: Sequence[Tensor] | None) -> Tensor:
        style = style.to(x.dtype)
        for block in self.decode:
            x = block(x, style)
            if self.high_pass is not None and masks is not None and x.shape[2] in kept:
                feature = kept[x.shape[2]]
                mask = masks[0] if x.shape[2] == MASKED_HEIGHTS[0] else masks[1]
                mask = functional.interpolate(mask, feature.shape[2:], mode="bilinear", align_corners=False)
                channels = feature.shape[1]
                x = x + functional.conv2d(
                    mask.to(x.dtype) * feature, self.high_pass.expand(channels, 1, 3, 3), padding=1, groups=channels
                )
        result: Tensor = self.to_rgb(self.to_rgb_norm(x, slope=0.2))
        return result


@dataclass(frozen=True)
class MappingNetworkConfig:
    """Rebuilds a `MappingNetwork`, together with its weights."""

    latent_dim: int = 16
    width: int = 512
    style_dim: int = 64
    domains: int = 2

    def __post_init__(self) -> None:
        if min(self.latent_dim, self.width, self.style_dim, self.domains) < 1:
            raise I2IError("latent_dim, width, style_dim and domains must be at least 1")


class MappingNetwork(nn.Module):
    """Maps noise `[N, Z]` drawn from N(0, 1) and domains `[N]` int64 to styles `[N, S]` (table 6)."""

    def __init__(self, config: MappingNetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.shared = _perceptron([config.latent_dim, *[width] * 4])
        self.shared.append(nn.ReLU())
        self.heads = nn.ModuleList(_perceptron([*[width] * 4, config.style_dim]) for _ in range(config.domains))

    def forward(self, noise: Tensor, domain: Tensor) -> Tensor:
        shared = self.shared(noise.to(next(self.parameters()).dtype))
        return _of_domain([head(shared) for head in self.heads], domain)


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.ReLU(), nn.Linear(i, o)]
    return nn.Sequential(*layers[1:])


def _of_domain(outputs: Sequence[Tensor], domain: Tensor) -> Tensor:
    """Picks for each sample the row `[S]` of its domain, from `[N, S]` for every domain."""
    stacked = torch.stack(list(outputs), 1)
    index = domain[:, None, None].expand(-1, 1, stacked.shape[2])
    return stacked.gather(1, index)[:, 0]


@dataclass(frozen=True)
class StarGANStyleEncoderConfig:
    """Rebuilds a `StarGANStyleEncoder`, together with its weights."""

    width: int = 64
    max_width: int = 512
    image_size: int = 256  # a power of two; each side of the images
    style_dim: int = 64
    domains: int = 2

    def __post_init__(self) -> None:
        _check_trunk(self.width, self.max_width, self.image_size, self.domains)
        if self.style_dim < 1:
            raise I2IError(f"style_dim is {self.style_dim}; it must be at least 1")


@dataclass(frozen=True)
class StarGANDiscriminatorConfig:
    """Rebuilds a `StarGANDiscriminator`, together with its weights."""

    width: int = 64
    max_width: int = 512
    image_size: int = 256
    domains: int = 2

    def __post_init__(self) -> None:
        _check_trunk(self.width, self.max_width, self.image_size, self.domains)


def _check_trunk(width: int, max_width: int, image_size: int, domains: int) -> None:
    if min(width, max_width, domains) < 1:
        raise I2IError("width, max_width and domains must be at least 1")
    if image_size < 8 or image_size & (image_size - 1):
        raise I2IError(f"image_size is {image_size}; it must be a power of two, at least 8")


class Trunk(nn.Module):
    """Reduces images `[N, 3, image_size, image_size]` to features `[N, C, 1, 1]`, activated (table 7)."""

    def __init__(self, width: int, max_width: int, image_size: int) -> None:
        super().__init__()
        blocks = image_size.bit_length() - 3  # down to 4x4
        widths = [min(width * 2**level, max_width) for level in range(blocks + 1)]
        self.first = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(EncoderBlock(i, o, reduce=True, norm=False) for i, o in pairwise(widths))
        self.last = nn.Conv2d(widths[-1], widths[-1], 4)
        self.channels = widths[-1]

    def forward(self, image: Tensor) -> Tensor:
        return self.reduced(self.features(image)[-1])

    def features(self, image: Tensor) -> list[Tensor]:
        """Gives the outputs of the first convolution and of every block, the last one `[N, C, 4, 4]`."""
        found = [self.first(image)]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found

    def reduced(self, feature: Tensor) -> Tensor:
        """Gives the result `[N, C, 1, 1]` of the last block's output."""
        return functional.leaky_relu(self.last(functional.leaky_relu(feature, 0.2)), 0.2)


class StarGANStyleEncoder(nn.Module):
    """Reads the styles `[N, S]` of images `[N, 3, image_size, image_size]` as ones of the domains `[N]` int64."""

    def __init__(self, config: StarGANStyleEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.width, config.max_width, config.image_size)
        self.heads = nn.ModuleList(nn.Linear(self.trunk.channels, config.style_dim) for _ in range(config.domains))

    def forward(self, image: Tensor, domain: Tensor) -> Tensor:
        shared = self.trunk(image).flatten(1)
        return _of_domain([head(shared) for head in self.heads], domain)


class StarGANDiscriminator(nn.Module):
    """Judges images `[N, 3, image_size, image_size]`: a logit for every domain, `[N, domains]`."""

    def __init__(self, config: StarGANDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.width, config.max_width, config.image_size)
        self.head = nn.Conv2d(self.trunk.channels, config.domains, 1)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.trunk(image))
        return logits.flatten(1)


def blocks_of(state: Mapping[str, Tensor]) -> int:
    """Counts the blocks of an official generator's encoder: the style encoder's, and with masks one more."""
    return 1 + max((int(match[1]) for key in state if (match := re.match(r"encode\.(\d+)\.", key))), default=-1)


def read_generator(state: Mapping[str, Tensor], w_hpf: float) -> tuple[StarGANGeneratorConfig, dict[str, Tensor]]:
    """Finds the config in an official state dict; `w_hpf` is what keys and shapes do not tell.

    Raises:
        CheckpointError: where it is no such generator.
    """
    blocks = blocks_of(state)
    needed = ["from_rgb.weight", f"encode.{blocks - 1}.conv2.weight", "decode.0.norm1.fc.weight"]
    _need(state, needed, "StarGAN v2 generator")
    config = StarGANGeneratorConfig(
        width=state["from_rgb.weight"].shape[0],
        max_width=state[f"encode.{blocks - 1}.conv2.weight"].shape[0],
        levels=blocks - BOTTLENECK,
        style_dim=state["decode.0.norm1.fc.weight"].shape[1],
        w_hpf=w_hpf,
    )
    names = {"to_rgb.0.": "to_rgb_norm.", "to_rgb.2.": "to_rgb."}
    # the filter is rebuilt from w_hpf; with masks the decoder's 1x1 convolutions are stored but never run
    unused = r"hpf\.filter|decode\.\d+\.conv1x1\..*" if w_hpf else r"hpf\.filter"
    return config, _renamed(state, names, unused)


def filter_of(state: Mapping[str, Tensor]) -> float | None:
    """Gives the w_hpf of the high-pass filter that official files store since April 2021, where there is one."""
    stored = state.get("hpf.filter")
    return None if stored is None or stored.shape != (3, 3) or not stored[1, 1] else 8 / float(stored[1, 1])


def read_mapping_network(state: Mapping[str, Tensor]) -> tuple[MappingNetworkConfig, dict[str, Tensor]]:
    """Finds the config in an official state dict's keys and shapes.

    Raises:
        CheckpointError: where it is no mapping network.
    """
    _need(state, ["shared.0.weight", "unshared.0.6.weight"], "StarGAN v2 mapping network")
    width, latent_dim = state["shared.0.weight"].shape
    config = MappingNetworkConfig(latent_dim, width, state["unshared.0.6.weight"].shape[0], _domains(state))
    return config, _renamed(state, {"unshared.": "heads."})


def read_style_encoder(state: Mapping[str, Tensor]) -> tuple[StarGANStyleEncoderConfig, dict[str, Tensor]]:
    """Finds the config in an official state dict's keys and shapes.

    Raises:
        CheckpointError: where it is no style encoder.
    """
    width, max_width, blocks = _read_trunk(state, "shared", "StarGAN v2 style encoder")
    _need(state, ["unshared.0.weight"], "StarGAN v2 style encoder")
    config = StarGANStyleEncoderConfig(
        width, max_width, 2 ** (blocks + 2), state["unshared.0.weight"].shape[0], _domains(state)
    )
    return config, _renamed(state, {**_trunk_names("shared", blocks), "unshared.": "heads."})


def read_discriminator(state: Mapping[str, Tensor]) -> tuple[StarGANDiscriminatorConfig, dict[str, Tensor]]:
    """Finds the config in an official state dict's keys and shapes.

    Raises:
        CheckpointError: where it is no discriminator.
    """
    width, max_width, blocks = _read_trunk(state, "main", "StarGAN v2 discriminator")
    head = f"main.{blocks + 4}."
    _need(state, [f"{head}weight"], "StarGAN v2 discriminator")
    config = StarGANDiscriminatorConfig(width, max_width, 2 ** (blocks + 2), state[f"{head}weight"].shape[0])
    return config, _renamed(state, {**_trunk_names("main", blocks), head: "head."})


def _read_trunk(state: Mapping[str, Tensor], prefix: str, what: str) -> tuple[int, int, int]:
    """Gives the width, the greatest width and the count of blocks of an official trunk."""
    blocks = sum(re.fullmatch(rf"{prefix}\.\d+\.conv1\.weight", key) is not None for key in state)
    last = f"{prefix}.{blocks + 2}.weight"
    _need(state, [f"{prefix}.0.weight", last], what)
    return state[f"{prefix}.0.weight"].shape[0], state[last].shape[0], blocks


def _trunk_names(prefix: str, blocks: int) -> dict[str, str]:
    names = {f"{prefix}.0.": "trunk.first.", f"{prefix}.{blocks + 2}.": "trunk.last."}
    return names | {f"{prefix}.{block + 1}.": f"trunk.blocks.{block}." for block in range(blocks)}


def _domains(state: Mapping[str, Tensor]) -> int:
    return len({key.split(".")[1] for key in state if key.startswith("unshared.")})


def _need(state: Mapping[str, Tensor], keys: Sequence[str], what: str) -> None:
    for key in keys:
        if key not in state:
            raise CheckpointError(f"this is no {what}: it lacks {key!r}")


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str], unused: str = "") -> dict[str, Tensor]:
    """Puts our names in the place of official beginnings of keys; leaves out keys that `unused` matches."""
    weights = {}
    for key, tensor in state.items():
        if re.fullmatch(unused, key):
            continue
        start = next((start for start in names if key.startswith(start)), "")
        weights[(names.get(start, "") + key.removeprefix(start)).replace(".conv1x1.", ".shortcut.")] = tensor
    return weights
