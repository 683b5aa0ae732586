"""Swapping Autoencoder (Park et al. 2020, arXiv:2007.00653, section 3 and appendix B): encoder and generator.

A picture is taken apart into a structure code, a map of 1/8 to 1/64 of its sides, and a texture code, one vector;
the generator puts any structure together with any texture.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.kernels import modulated_conv2d
from i2i_rt.models.modulated import (
    EqualizedConv,
    EqualizedLinear,
    EqualizedResidualBlock,
    StyledConv,
    stretched,
    unit,
)

ENCODER_TAPS = (1, 2, 1)


@dataclass(frozen=True)
class SwappingEncoderConfig:
    """Rebuilds a `SwappingEncoder`, together with its weights.

    The widths are those of the file: the official formula for them has changed after the weights were published.
    """

    in_channels: int = 3
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)  # before the first and after every reduction
    texture_widths: tuple[int, ...] = (1024, 2048)  # after every further reduction of the texture branch
    structure_channels: int = 8
    texture_channels: int = 2048

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or not self.texture_widths:
            raise I2IError("a Swapping Autoencoder's encoder needs a reduction in each of its branches")

    @property
    def multiple(self) -> int:
        """What the sides of images must be multiples of."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def low(self) -> int:
        """The least that the sides may be."""
        # the texture branch's convolutions, 3x3 with stride 2 on nothing but the input, must leave one place
        return self.multiple * int(2 ** (len(self.texture_widths) + 1) - 1)


@dataclass(frozen=True)
class SwappingGeneratorConfig:
    """Rebuilds a `SwappingGenerator`, together with its weights."""

    out_channels: int = 3
    structure_channels: int = 8
    texture_channels: int = 2048
    head_widths: tuple[int, ...] = (256, 512)  # of the blocks at the structure's resolution
    widths: tuple[int, ...] = (512, 512, 256, 128)  # of the blocks that double it
    noise: bool = True  # whether these add noise; the head always does
    noise_seed: int | None = 0  # picks the noise that is used at test time; None leaves it out

    def __post_init__(self) -> None:
        if not self.head_widths or not self.widths:
            raise I2IError("a Swapping Autoencoder's generator needs blocks at the structure's resolution and above")


class SwappingEncoder(nn.Module):
    """Takes images `[N, 3, H, W]` in [-1, 1] apart; H, W multiples of `multiple`, at least `low`.

    Both codes have length one: the structure over the channels of each place, the texture as a whole. The texture
    branch knows no place: its own convolutions pad nothing, and it ends in a mean.
    """

    def __init__(self, config: SwappingEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple, self.low = config.multiple, config.low
        self.from_rgb = EqualizedConv(config.in_channels, config.widths[0], 1)
        self.down = nn.Sequential(
            *(
                EqualizedResidualBlock(a, b, down=True, taps=ENCODER_TAPS, edges="reflect")
                for a, b in itertools.pairwise(config.widths)
            )
        )
        last = config.widths[-1]
        self.to_structure = nn.Sequential(
            EqualizedConv(last, last, 1), EqualizedConv(last, config.structure_channels, 1, activated=False)
        )
        self.texture_down = nn.Sequential(
            *(
                EqualizedConv(a, b, 3, down=True, taps=None, edges="none")
                for a, b in itertools.pairwise((last, *config.texture_widths))
            )
        )
        self.to_texture = EqualizedLinear(config.texture_widths[-1], config.texture_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Gives structure `[N, S, H / multiple, W / multiple]` and texture `[N, T]`, both float32."""
        features = self._features(image)
        return self._structure(features), self._texture(features)

    def structure(self, image: Tensor) -> Tensor:
        return self._structure(self._features(image))

    def texture(self, image: Tensor) -> Tensor:
        return self._texture(self._features(image))

    def _features(self, image: Tensor) -> Tensor:
        features: Tensor = self.down(self.from_rgb(image))
        return features

    def _structure(self, features: Tensor) -> Tensor:
        return unit(self.to_structure(features))

    def _texture(self, features: Tensor) -> Tensor:
        x = self.texture_down(features)
        return unit(self.to_texture(x.float().mean((2, 3)).to(x.dtype)))


class StyledBlock(nn.Module):
    """Two styled convolutions and a skip, `(f(x) + skip(x)) / sqrt(2)`; `up` doubles height and width."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        texture_channels: int,
        *,
        up: bool,
        noise: bool,
        seeds: Sequence[tuple[int, ...] | None],
    ) -> None:
        super().__init__()
        self.conv1 = StyledConv(
            channels, out_channels, style_channels=texture_channels, up=up, noise=noise, noise_seed=seeds[0]
        )
        self.conv2 = StyledConv(
            out_channels, out_channels, style_channels=texture_channels, noise=noise, noise_seed=seeds[1]
        )
        self.skip: nn.Module = nn.Identity()
        if channels != out_channels:
            self.skip = EqualizedConv(channels, out_channels, 1, bias=up, activated=up)
        self.up = up

    def forward(
        self, x: Tensor, texture: Tensor, noise: Sequence[Tensor | None], scale: Tensor | None = None
    ) -> Tensor:
        """Gives `[N, O, H, W]`, or twice the sides; `scale` `[N, O]` scales it for the layer that comes next."""
        between: Tensor | None = None
        if texture.ndim == 2:  # the first convolution gives what the second one takes, scaled by its style
            between = self.conv2.style(texture, x)[:, :, 0, 0]
        y = self.conv1(x, texture, noise[0], scale=between)
        code = texture if between is None else None
        result: Tensor = self.conv2(y, code, noise[1], residual=self.skip(x), doubled=self.up, scale=scale)
        return result


class StructureModulation(nn.Module):
    """Scales and shifts the structure code by the texture code, `[N, S, h, w]` in and out."""

    def __init__(self, structure_channels: int, texture_channels: int) -> None:
        super().__init__()
        self.scale = EqualizedLinear(texture_channels, structure_channels)
        self.bias = EqualizedLinear(texture_channels, structure_channels)

    def forward(self, structure: Tensor, texture: Tensor) -> Tensor:
        scale, bias = (stretched(layer.as_map(texture), structure) for layer in (self.scale, self.bias))
        return structure * scale + bias


class ToRGB(nn.Module):
    """The last 1x1 convolution, modulated but not demodulated."""

    def __init__(self, channels: int, out_channels: int, texture_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.modulation = EqualizedLinear(texture_channels, channels, bias=1.0)
        self.scale = 1 / math.sqrt(channels)

    def forward(self, x: Tensor, texture: Tensor | None) -> Tensor:
        """Gives `[N, O, H, W]`; without a texture, `x` is modulated already."""
        style = None if texture is None else stretched(self.modulation.as_map(texture), x)
        return modulated_conv2d(x, self.weight * self.scale, style) + self.bias[:, None, None]


class SwappingGenerator(nn.Module):
    """Makes images `[N, 3, h * multiple, w * multiple]` from codes. There is no tanh: values may leave [-1, 1].

    Codes of any length may come in, sums and mixtures too: both are scaled to length one first.
    """

    def __init__(self, config: SwappingGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2 ** len(config.widths)
        heads, texture = len(config.head_widths), config.texture_channels
        channels = (config.structure_channels, *config.head_widths, *config.widths)
        blocks = []
        for index, (a, b) in enumerate(itertools.pairwise(channels)):
            up = index >= heads
            seed = config.noise_seed
            seeds = [None if seed is None else (seed, index, layer) for layer in (0, 1)]
            blocks.append(StyledBlock(a, b, texture, up=up, noise=config.noise or not up, seeds=seeds))
        self.modulation = StructureModulation(config.structure_channels, texture)
        self.head, self.up = nn.ModuleList(blocks[:heads]), nn.ModuleList(blocks[heads:])
        self.to_rgb = ToRGB(config.widths[-1], config.out_channels, texture)

    def forward(self, structure: Tensor, texture: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Gives the image.

        Args:
            structure: `[N, S, h, w]`.
            texture: `[N, T]`, or one at every place, `[N, T, h', w']`, which is stretched over the picture. The
                modulations, which are linear, are computed at h' x w' and stretched: the same, and cheaper.
            noise: for each of `noisy_layers` a map `[N or 1, 1, H', W']` in place of what is drawn or kept.
        """
        dtype = self.to_rgb.weight.dtype
        structure, texture = unit(structure).to(dtype), unit(texture).to(dtype)
        maps = dict(zip(self.noisy_layers(), noise, strict=True)) if noise is not None else {}
        x = self.modulation(structure, texture)
        # one style for all places: the last block gives what `to_rgb` takes, scaled by its style
        scale: Tensor | None = self.to_rgb.modulation(texture) if texture.ndim == 2 else None
        for block in (*self.head, *self.up):
            last = scale if block is self.up[-1] else None
            x = block(x, texture, [maps.get(layer) for layer in (block.conv1, block.conv2)], last)
        result: Tensor = self.to_rgb(x, texture if scale is None else None)
        return result

    def noisy_layers(self) -> list[nn.Module]:
        """Gives the layers that add noise, in the order in which they run."""
        return [
            layer
            for block in (*self.head, *self.up)
            for layer in (block.conv1, block.conv2)
            if layer.noise_strength is not None
        ]


def read_official_encoder(state: Mapping[str, Tensor]) -> tuple[SwappingEncoderConfig, dict[str, Tensor]]:
    """Finds the config in the official state dict's keys (without `E.`) and shapes, and renames its tensors.

    Raises:
        CheckpointError: where a key is missing that the config is found by.
    """
    downs = _numbered(state, r"DownToSpatialCode\.ResBlockDownBy(\d+)\.")
    textures = _numbered(state, r"DownToGlobalCode\.ConvLayerDownBy(\d+)\.")
    shape = shapes_of(state, "encoder")
    first = shape("FromRGB.Conv.weight")
    config = SwappingEncoderConfig(
        in_channels=first[1],
        widths=(
            first[0],
            *(shape(f"DownToSpatialCode.ResBlockDownBy{number}.conv2.Conv.weight")[0] for number in downs),
        ),
        texture_widths=tuple(shape(f"DownToGlobalCode.ConvLayerDownBy{number}.Conv.weight")[0] for number in textures),
        structure_channels=shape("ToSpatialCode.1.Conv.weight")[0],
        texture_channels=shape("ToGlobalCode.0.weight")[0],
    )
    check_taps(state, r"DownToSpatialCode\..*Blur\.kernel", len(ENCODER_TAPS))
    names = [
        ("FromRGB.", "from_rgb."),
        *((f"DownToSpatialCode.ResBlockDownBy{number}.", f"down.{index}.") for index, number in enumerate(downs)),
        ("ToSpatialCode.", "to_structure."),
        *((f"DownToGlobalCode.ConvLayerDownBy{n}.", f"texture_down.{index}.") for index, n in enumerate(textures)),
        ("ToGlobalCode.0.", "to_texture."),
    ]
    return config, renamed(state, names)


def read_official_generator(
    state: Mapping[str, Tensor], *, noise: bool
) -> tuple[SwappingGeneratorConfig, dict[str, Tensor]]:
    """Finds the config in the official state dict's keys (without `G.`) and shapes, and renames its tensors.

    The strengths of noise lie in the file whether the blocks use them or not, so `noise` must be told.

    Raises:
        CheckpointError: where a key is missing that the config is found by.
    """
    heads = _numbered(state, r"HeadResnetBlock(\d+)\.")
    ups = _numbered(state, r"UpsamplingResBlock(\d+)\.")
    shape = shapes_of(state, "generator")
    structure, texture = shape("SpatialCodeModulation.scale.weight")
    config = SwappingGeneratorConfig(
        out_channels=shape("ToRGB.conv.weight")[1],
        structure_channels=structure,
        texture_channels=texture,
        head_widths=tuple(shape(f"HeadResnetBlock{number}.conv2.conv.weight")[1] for number in heads),
        widths=tuple(shape(f"UpsamplingResBlock{number}.conv2.conv.weight")[1] for number in ups),
        noise=noise,
    )
    check_taps(state, r"UpsamplingResBlock\d+\.conv1\.conv\.blur\.kernel", 4)
    names = [
        ("SpatialCodeModulation.", "modulation."),
        *((f"HeadResnetBlock{number}.", f"head.{index}.") for index, number in enumerate(heads)),
        *((f"UpsamplingResBlock{number}.", f"up.{index}.") for index, number in enumerate(ups)),
        ("ToRGB.", "to_rgb."),
    ]
    weights = renamed(state, names)
    if not noise:
        weights = {key: value for key, value in weights.items() if not re.match(r"up\..*\.noise_strength$", key)}
    return config, weights


def _numbered(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    return sorted({int(match[1]) for key in state if (match := re.match(pattern, key))})


def shapes_of(state: Mapping[str, Tensor], network: str) -> Callable[[str], tuple[int, ...]]:
    """Gives what looks shapes up, and says which key is missing."""

    def shape(key: str) -> tuple[int, ...]:
        if key not in state:
            raise CheckpointError(f"the {network} is not complete: {key!r} is missing")
        return tuple(state[key].shape)

    return shape


def check_taps(state: Mapping[str, Tensor], pattern: str, taps: int) -> None:
    """Refuses files whose fixed low-pass has another length: only the antialiased networks were ever published."""
    for key, tensor in state.items():
        if re.match(pattern, key) and tensor.shape[-1] != taps:
            raise CheckpointError(f"{key!r} has {tensor.shape[-1]} taps where the official networks have {taps}")


def renamed(state: Mapping[str, Tensor], names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Names official tensors as here, without the fixed filters; `names` are pairs of prefixes, theirs and ours."""
    weights = {}
    for key, tensor in state.items():
        if key.endswith(".kernel"):
            continue
        name = key
        for theirs, ours in names:
            if key.startswith(theirs):
                name = ours + key.removeprefix(theirs)
                break
        name = re.sub(r"\.(Conv|Act|conv|activate)\.", ".", name).replace(".noise.weight", ".noise_strength")
        if tensor.ndim == 5:
            tensor = tensor.squeeze(0)
        elif tensor.ndim == 4 and name.endswith("bias"):
            tensor = tensor.flatten()
        weights[name] = tensor
    return weights
