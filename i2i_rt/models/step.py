"""Networks of StEP (Meshry et al. 2021, "StEP: Style-based Encoder Pre-training for Multi-modal Image Synthesis").

The official networks scale their weights at run time (equalised learning rate, Karras et al. 2018); here the scale is
multiplied into the weights when they are read, so that layers are plain convolutions.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.models import across
from i2i_rt.models.edges import run
from i2i_rt.models.norm import AffineInstanceNorm
from i2i_rt.models.tensorflow import AnySameConv2d, SameConv2d, pixel_norm, to_torch
from i2i_rt.official import noted, official_key

LEAKY = nn.LeakyReLU(0.2)
AVERAGE = "/ExponentialMovingAverage"


@dataclass(frozen=True)
class StepGeneratorConfig:
    """Rebuilds a `StepGenerator`, together with its weights."""

    in_channels: int = 3
    out_channels: int = 3
    style_size: int = 8
    width: int = 32  # channels after the first convolution; doubled at each reduction
    reductions: int = 3
    encoder_blocks: int = 4
    decoder_blocks: int = 4
    skips: bool = True  # whether the decoder also gets the encoder's maps
    style_everywhere: bool = True  # whether each enlargement gets the style, beside the first residual block

    def __post_init__(self) -> None:
        if self.width < 1 or self.reductions < 1:
            raise I2IError(f"width is {self.width} and reductions is {self.reductions}; both must be at least 1")


@dataclass(frozen=True)
class StepEncoderConfig:
    """Rebuilds a `StepEncoder`, together with its weights."""

    in_channels: int = 3
    style_size: int = 8
    widths: tuple[int, ...] = (64, 128, 192, 256)  # after the first convolution and each block
    normalize: bool = True  # pixel norm after each block


@dataclass(frozen=True)
class StepMapperConfig:
    """Rebuilds a `StepMapper`, together with its weights."""

    widths: tuple[int, ...] = (8, 128, 128, 128, 8)  # noise, hidden layers, style


@dataclass(frozen=True)
class StepDiscriminatorConfig:
    """Rebuilds a `StepDiscriminator`, together with its weights."""

    in_channels: int = 6
    scales: int = 3
    widths: tuple[int, ...] = (32, 64, 128, 256)  # the last one at the stride of the one before


class ResidualBlock(nn.Module):
    """`x + f(x)` with two normalised 3x3 convolutions; no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0, self.norm0 = SameConv2d(channels, channels, 3), AffineInstanceNorm(channels)
        self.conv1, self.norm1 = SameConv2d(channels, channels, 3), AffineInstanceNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        inside = self.conv1(self.norm0(self.conv0(x), slope=0.0))
        result: Tensor = self.norm1(inside, residual=x)
        return result


class StepGenerator(nn.Module):
    """Translates `[N, 3, H, W]` in [-1, 1] with a style `[N, Z]`; H and W are multiples of `2 ** reductions`."""

    def __init__(self, config: StepGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2**config.reductions
        self.low = 2 * self.multiple
        widths = [config.width * 2**level for level in range(config.reductions + 1)]
        self.down, self.down_norm = nn.ModuleList(), nn.ModuleList()
        channels = config.in_channels
        for level, wider in enumerate(widths):
            self.down.append(SameConv2d(channels, wider, 3, 2) if level else SameConv2d(channels, wider, 7))
            self.down_norm.append(AffineInstanceNorm(wider))
            channels = wider
        self.encoder = nn.Sequential(*(ResidualBlock(channels) for _ in range(config.encoder_blocks)))
        channels += config.style_size
        self.decoder = nn.Sequential(*(ResidualBlock(channels) for _ in range(config.decoder_blocks)))
        extra = config.style_size if config.style_everywhere else 0
        self.up = nn.ModuleList()  # by the level that they enlarge, the image's own, 0, being left out
        for level in range(config.reductions, 0, -1):
            given = channels + extra + (widths[level] if config.skips else 0)
            channels = widths[level - 1]
            self.up.insert(0, nn.ModuleList([SameConv2d(given, channels, 3), SameConv2d(channels, channels, 3)]))
        self.rgb = SameConv2d(channels + extra + (widths[0] if config.skips else 0), config.out_channels, 1)

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        return self.decode(self.encode(image), style)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Gives the maps of every level, the image's own first, and after them the content, at the last one's size."""
        maps = []
        for convolution, norm in zip(self.down, self.down_norm, strict=True):
            image = norm(convolution(image), slope=0.0)
            maps.append(image)
        return [*maps, self.encoder(image)]

    def decode(self, maps: list[Tensor], style: Tensor) -> Tensor:
        """Gives the image of what `encode` gave, with a style."""
        *maps, x = maps
        style = style.to(x.dtype)[:, :, None, None]
        x = self.decoder(torch.cat([x, _spread(style, x)], 1))
        for level in range(self.config.reductions, 0, -1):
            x = functional.interpolate(self._joined(maps[level], x, style), scale_factor=2, mode="nearest")
            for convolution in cast(nn.ModuleList, self.up[level - 1]):
                x = pixel_norm(functional.relu(convolution(x)))
        return torch.tanh(self.rgb(self._joined(maps[0], x, style)))

    def _joined(self, skip: Tensor, x: Tensor, style: Tensor) -> Tensor:
        parts = [skip, x] if self.config.skips else [x]
        return torch.cat([*parts, _spread(style, x)] if self.config.style_everywhere else parts, 1)


def _spread(style: Tensor, like: Tensor) -> Tensor:
    return style.expand(like.shape[0], -1, *like.shape[2:])


class EncoderBlock(nn.Module):
    """Two activated 3x3 convolutions, pooled, plus `pool(x)` through a 1x1 convolution."""

    def __init__(self, channels: int, wider: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = SameConv2d(channels, wider, 3), SameConv2d(wider, wider, 3)
        self.shortcut = SameConv2d(channels, wider, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(functional.leaky_relu(self.conv0(functional.leaky_relu(x, 0.2)), 0.2))
        result: Tensor = functional.avg_pool2d(inner, 2) + self.shortcut(functional.avg_pool2d(x, 2))
        return result


class StepEncoder(nn.Module):
    """Gives the style `[N, Z]` of images `[N, 3, H, W]` in [-1, 1], with sides of multiples of 2 at each reduction.

    The style is the mean plus the standard deviation, in training and at test: nothing is drawn.
    """

    def __init__(self, config: StepEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = self.low = 2 ** len(config.widths)
        self.conv = SameConv2d(config.in_channels, config.widths[0], 4, 2)
        pairs = zip(config.widths, config.widths[1:], strict=False)
        self.blocks = nn.ModuleList(EncoderBlock(channels, wider) for channels, wider in pairs)
        self.mean = nn.Linear(config.widths[-1], config.style_size)
        self.log_variance = nn.Linear(config.widths[-1], config.style_size)

    def forward(self, image: Tensor) -> Tensor:
        mean, log_variance = self.posterior(self.features(image))
        return mean + torch.exp(log_variance / 2)

    def features(self, image: Tensor) -> Tensor:
        """Gives what the style is computed from, `[N, C]`."""
        x = self.conv(image)
        for block in self.blocks:
            x = block(x)
            if self.config.normalize:
                x = pixel_norm(x)
        result: Tensor = functional.leaky_relu(x, 0.2).float().mean((2, 3))
        return result

    def posterior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Gives the mean and the logarithm of the variance, `[N, Z]` each, in float32."""
        features = features.to(self.mean.weight.dtype)
        return self.mean(features).float(), self.log_variance(features).float()


class StepMapper(nn.Module):
    """Maps noise `[N, Z]` from N(0, 1) to styles `[N, S]`; trained by IMLE (Li and Malik 2018) on encoded styles."""

    def __init__(self, config: StepMapperConfig) -> None:
        super().__init__()
        self.config = config
        pairs = zip(config.widths, config.widths[1:], strict=False)
        self.layers = nn.ModuleList(nn.Linear(given, made) for given, made in pairs)

    def forward(self, noise: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            noise = torch.tanh(layer(noise))
        result: Tensor = self.layers[-1](noise)
        return result


class ScaleDiscriminator(nn.Module):
    """One scale: raw scores `[N, 1, H', W']`. A channel of the batch's deviation makes them depend on the batch.

    The batch is that of all processes together.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        channels = in_channels
        for step, wider in enumerate(widths):
            last = step == len(widths) - 1
            self.convs.append(AnySameConv2d(channels + last, wider, 4, 1 if last else 2))
            self.norms.append(AffineInstanceNorm(wider) if step else nn.Identity())
            channels = wider
        self.scores = AnySameConv2d(channels, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        for step, (convolution, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if step == len(self.convs) - 1:
                deviation = torch.sqrt(across.gathered(x).var(0, correction=0) + 1e-8).mean()
                x = torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], 1)
            x = run([convolution, norm, LEAKY], x)
        result: Tensor = self.scores(x)
        return result


class StepDiscriminator(nn.Module):
    """Scores `[N, 6, H, W]`, image and condition one after the other, at several scales; a list of raw scores."""

    def __init__(self, config: StepDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(ScaleDiscriminator(config.in_channels, config.widths) for _ in range(config.scales))

    def forward(self, image: Tensor) -> list[Tensor]:
        scores = []
        for index, scale in enumerate(self.scales):
            if index:
                image = functional.avg_pool2d(image, 2)
            scores.append(scale(image))
        return scores


def averaged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives every variable once: its moving average where there is one, as the official inference does."""
    raw = {name: tensor for name, tensor in state.items() if not name.endswith(AVERAGE)}
    return raw | {name.removesuffix(AVERAGE): tensor for name, tensor in state.items() if name.endswith(AVERAGE)}


def read_official_generator(
    state: Mapping[str, Tensor], *, scaled: bool = True
) -> tuple[StepGeneratorConfig, dict[str, Tensor]] | None:
    """Finds the config in the shapes of TensorFlow's variables; None where there is no generator.

    `scaled` says whether the official code trained with `use_scaling`, which leaves no trace.
    """
    first = state.get("g_model_enc/conv0/weight")
    if first is None:
        return None
    reductions = _count(state, r"g_model_enc/downsampling/downsampling_block(\d+)/")
    encoder_blocks = _count(state, r"g_model_enc/res_blocks/resblock(\d+)/")
    decoder_blocks = _count(state, r"g_model_dec/res_blocks/resblock(\d+)/")
    width, rgb = first.shape[3], state["g_model_dec/upsampling/rgb/weight"]
    content = width * 2**reductions
    if not decoder_blocks or not reductions:
        raise CheckpointError("the generator has no residual blocks in its decoder, or no reductions")
    inner = state["g_model_dec/res_blocks/resblock0/res0/res0_conv/weight"].shape[3]
    style_size = inner - content
    # what the first enlargement takes beside the features; the last layer's skip can be as wide as the style
    more = state[f"g_model_dec/upsampling/upscale_{reductions}/conv0/weight"].shape[2] - inner
    kinds = {
        skips * content + everywhere * style_size: (skips, everywhere) for skips in (0, 1) for everywhere in (0, 1)
    }
    if style_size < 1 or more not in kinds:
        raise CheckpointError("the generator's shapes fit no arrangement of style and skips that is known here")
    skips, everywhere = kinds[more]
    config = StepGeneratorConfig(
        in_channels=first.shape[2],
        out_channels=rgb.shape[3],
        style_size=style_size,
        width=width,
        reductions=reductions,
        encoder_blocks=encoder_blocks,
        decoder_blocks=decoder_blocks,
        skips=bool(skips),
        style_everywhere=bool(everywhere),
    )
    names = [
        (r"g_model_enc/conv0", "down.0"),
        (r"g_model_enc/instance_norm/InstanceNorm", "down_norm.0"),
        (r"g_model_enc/downsampling/downsampling_block\d+/conv(\d+)", r"down.\1"),
        *(
            (
                rf"g_model_enc/downsampling/downsampling_block{level}/instance_norm/InstanceNorm",
                f"down_norm.{level + 1}",
            )
            for level in range(reductions)
        ),
        (r"g_model_enc/res_blocks/resblock(\d+)/res\d/res(\d)_conv", r"encoder.\1.conv\2"),
        (r"g_model_enc/res_blocks/resblock(\d+)/res\d/res(\d)_norm/InstanceNorm", r"encoder.\1.norm\2"),
        (r"g_model_dec/res_blocks/resblock(\d+)/res\d/res(\d)_conv", r"decoder.\1.conv\2"),
        (r"g_model_dec/res_blocks/resblock(\d+)/res\d/res(\d)_norm/InstanceNorm", r"decoder.\1.norm\2"),
        *(
            (rf"g_model_dec/upsampling/upscale_{level}/conv(\d)", rf"up.{level - 1}.\1")
            for level in range(1, reductions + 1)
        ),
        (r"g_model_dec/upsampling/rgb", "rgb"),
    ]
    return config, _read(state, "g_model_", names, scaled)


def read_official_encoder(
    state: Mapping[str, Tensor], *, scaled: bool = True, normalize: bool = True
) -> tuple[StepEncoderConfig, dict[str, Tensor]] | None:
    """Finds the config in the shapes of TensorFlow's variables; None where there is no style encoder.

    `scaled` and `normalize` are the official `use_scaling` and `normalize_drit_Ez`, which leave no trace.
    """
    first = state.get("appearance_net/conv0/weight")
    if first is None:
        return None
    blocks = _count(state, r"appearance_net/BB(\d+)/")
    config = StepEncoderConfig(
        in_channels=first.shape[2],
        style_size=state["appearance_net/FC_mean/dense/kernel"].shape[1],
        widths=(
            first.shape[3],
            *(state[f"appearance_net/BB{n}/bb_path2/path2_conv/weight"].shape[3] for n in range(blocks)),
        ),
        normalize=normalize,
    )
    names = [
        (r"appearance_net/conv0", "conv"),
        (r"appearance_net/BB(\d+)/bb_path1/bb_conv(\d)", r"blocks.\1.conv\2"),
        (r"appearance_net/BB(\d+)/bb_path2/path2_conv", r"blocks.\1.shortcut"),
        (r"appearance_net/FC_mean/dense", "mean"),
        (r"appearance_net/FC_logvar/dense", "log_variance"),
    ]
    return config, _read(state, "appearance_net/", names, scaled)


def read_official_mapper(state: Mapping[str, Tensor]) -> tuple[StepMapperConfig, dict[str, Tensor]] | None:
    """Finds the config in the shapes of TensorFlow's variables; None where there is no mapper."""
    if "dense/kernel" not in state:
        return None
    layers = ["dense", *(f"dense_{n}" for n in range(1, _count(state, r"dense_(\d+)/kernel") + 1))]
    kernels = [state[f"{layer}/kernel"] for layer in layers]
    config = StepMapperConfig((kernels[0].shape[0], *(kernel.shape[1] for kernel in kernels)))
    return config, _read(state, "dense", [(name, f"layers.{n}") for n, name in enumerate(layers)], scaled=False)


def read_official_discriminator(
    state: Mapping[str, Tensor], *, scaled: bool = True
) -> tuple[StepDiscriminatorConfig, dict[str, Tensor]] | None:
    """Finds the config in the shapes of TensorFlow's variables; None where there is no discriminator."""
    first = next((name for name in sorted(state) if name.endswith("/D_scale0/block_0/conv0/weight")), None)
    if first is None:
        return None
    scope = first.removesuffix("D_scale0/block_0/conv0/weight")
    pattern = rf"{re.escape(scope)}D_scale0/block_(\d+)/conv\d+/weight"
    numbers = sorted(int(match[1]) for name in state if (match := re.fullmatch(pattern, name)))
    kernels = [state[f"{scope}D_scale0/block_{n}/conv{n}/weight"] for n in numbers]
    config = StepDiscriminatorConfig(
        in_channels=kernels[0].shape[2],
        scales=_count(state, rf"{re.escape(scope)}D_scale(\d+)/"),
        widths=tuple(kernel.shape[3] for kernel in kernels),
    )
    names = [(r".*/D_scale(\d+)/patchGAN_logits/conv\d+", r"scales.\1.scores")]
    for place, number in enumerate(numbers):
        names += [
            (rf".*/D_scale(\d+)/block_{number}/conv\d+", rf"scales.\1.convs.{place}"),
            (rf".*/D_scale(\d+)/block_{number}/instance_norm/InstanceNorm", rf"scales.\1.norms.{place}"),
        ]
    return config, _read(state, scope, names, scaled)


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})


PARAMETERS = {"weight": "weight", "kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}


def _read(state: Mapping[str, Tensor], scope: str, names: list[tuple[str, str]], scaled: bool) -> dict[str, Tensor]:
    """Gives the variables of a scope under our names, in PyTorch's layout, with the scale of equalised layers.

    That scale is `sqrt(2 / ((1 + a^2) fan_in))`; the official code leaves the slope `a` at 1 inside residual blocks.
    """
    weights = {}
    for name, tensor in state.items():
        if not name.startswith(scope):
            continue
        module, _, parameter = name.rpartition("/")
        ours = next((re.sub(old, new, module) for old, new in names if re.fullmatch(old, module)), module)
        value = to_torch(tensor)
        if scaled and parameter == "weight" and tensor.ndim == 4:
            slope = 1.0 if re.search(r"/(resblock|BB)\d+/", name) else 0.2
            scale = math.sqrt(2 / ((1 + slope**2) * math.prod(tensor.shape[:3])))
            value = noted(value * scale, official_key(tensor))
        weights[f"{ours}.{PARAMETERS.get(parameter, parameter)}"] = value
    return weights
