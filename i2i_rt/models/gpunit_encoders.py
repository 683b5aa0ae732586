"""Encoders and style sampler of GP-UNIT (Yang et al. 2022, arXiv:2204.03641; sampler: 2023, arXiv:2306.04636)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.models.edges import Chain
from i2i_rt.models.norm import InstanceNorm
from i2i_rt.models.spectral import fold_spectral_norm


@dataclass(frozen=True)
class ContentEncoderConfig:
    """Rebuilds a `ContentEncoder`, together with its weights."""

    in_channels: int = 3
    width: int = 64  # channels at the full resolution; 2, 4, 8 and 8 times as many after the reductions
    reductions: int = 5  # how often the size is halved

    def __post_init__(self) -> None:
        if self.in_channels < 1 or self.width < 1:
            raise I2IError(f"in_channels is {self.in_channels} and width is {self.width}; both must be at least 1")
        check_reductions(self.reductions)


def check_reductions(reductions: int) -> None:
    """Raises `I2IError` where there would be no features of twice and four times the content's size."""
    if reductions < 3:
        raise I2IError(f"reductions is {reductions}; GP-UNIT halves the size 3 times or more")


def widths_of(width: int, reductions: int) -> list[int]:
    """Gives the channels at 1/2, 1/4, … of the size."""
    return [width * min(2**level, 8) for level in range(reductions)]


class ContentEncoder(nn.Module):
    """Images `[N, 3, H, W]` in [-1, 1] to one channel of content at 1/32 of the size (section 3.1).

    Six layers of two 3x3 convolutions on reflected edges, each with instance norm and leaky ReLU; the second one of
    all but the last halves the size. Trained by distillation on images of 256x256, with 8x8 content. With fewer
    reductions there are fewer layers.
    """

    def __init__(self, config: ContentEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2**config.reductions
        self.low = 2 * self.multiple  # content of 2x2: reflected edges need two pixels
        widths = widths_of(config.width, config.reductions)
        inner, after = (config.width, *widths), (*widths, 1)
        self.layers = nn.ModuleList(
            Chain(*_normalised(a, b, 1), *_normalised(b, c, 1 if index == config.reductions else 2))
            for index, (a, b, c) in enumerate(zip((config.in_channels, *widths), inner, after, strict=True))
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gives the content and the features of twice and four times its size, which the skip connections take."""
        content, _, coarse, fine, *_ = self.features(image)
        return content, coarse, fine

    def features(self, image: Tensor) -> list[Tensor]:
        """Gives the outputs of all layers, the last one first: of the content's size twice, then ever larger."""
        found: list[Tensor] = []
        for layer in self.layers:
            image = layer(image)
            found.insert(0, image)
        return found


def _normalised(channels: int, after: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, after, 3, stride, 1, padding_mode="reflect"),
        InstanceNorm(after),
        nn.LeakyReLU(0.2),
    ]


def read_official_content_encoder(state: Mapping[str, Tensor]) -> tuple[ContentEncoderConfig, dict[str, Tensor]]:
    """Finds the config of a `content_encoder.pt` in its shapes and gives its weights under our names.

    The kernels' spectral norm is folded into them.
    """
    folded = fold_spectral_norm(state)
    width, in_channels = folded["layer1.0.conv.weight"].shape[:2]
    return ContentEncoderConfig(in_channels, width), {
        re.sub(r"^layer(\d)\.([01])\.conv\.", lambda m: f"layers.{int(m[1]) - 1}.{3 * int(m[2])}.", key): tensor
        for key, tensor in folded.items()
    }


@dataclass(frozen=True)
class StyleEncoderConfig:
    """Rebuilds a `StyleEncoder`, together with its weights."""

    in_channels: int = 3
    width: int = 64  # channels at the full resolution; 2 and then 4 times as many after the reductions
    bottleneck: int = 64  # values between the pooled feature and the style
    style_dim: int = 256

    def __post_init__(self) -> None:
        if min(self.in_channels, self.width, self.bottleneck, self.style_dim) < 1:
            raise I2IError("in_channels, width, bottleneck and style_dim of a style encoder must be at least 1")


class StyleEncoder(nn.Module):
    """Images `[N, 3, H, W]` in [-1, 1] to style codes `[N, style_dim]`, which are never negative (section 3.2)."""

    multiple = 32
    low = 32  # the last convolution sees 2x2 pixels: reflected edges need two

    def __init__(self, config: StyleEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        channels = (width, 2 * width, *(4 * width,) * 4)
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(config.in_channels, width, 7, 1, 3, padding_mode="reflect")]
            + [nn.Conv2d(before, after, 4, 2, 1, padding_mode="reflect") for before, after in pairwise(channels)]
        )
        sizes = (channels[-1], config.bottleneck, config.style_dim, config.style_dim)
        self.linears = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))

    def forward(self, image: Tensor) -> Tensor:
        for convolution in self.convolutions:
            image = functional.relu(convolution(image))
        style = image.mean((2, 3))
        for linear in self.linears:
            style = functional.relu(linear(style))
        return style


def read_official_style_encoder(state: Mapping[str, Tensor]) -> tuple[StyleEncoderConfig, dict[str, Tensor]]:
    """Finds the config of the style encoder inside an official generator, and its weights under our names."""
    prefix = "style_encoder."
    own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    width, in_channels = own["model.0.weight"].shape[:2]
    style_dim, bottleneck = own["mlp.2.weight"].shape

    def renamed(key: str) -> str:
        # every second entry of the official sequences is an activation
        key = re.sub(r"^model\.(\d+)\.", lambda m: f"convolutions.{int(m[1]) // 2}.", key)
        return re.sub(r"^mlp\.(\d+)\.", lambda m: f"linears.{int(m[1]) // 2}.", key)

    return StyleEncoderConfig(in_channels, width, bottleneck, style_dim), {
        renamed(key): tensor for key, tensor in own.items()
    }


@dataclass(frozen=True)
class StyleSamplerConfig:
    """Rebuilds a `StyleSampler`, together with its weights."""

    noise_dim: int = 128
    hidden: int = 128
    style_dim: int = 256

    def __post_init__(self) -> None:
        if min(self.noise_dim, self.hidden, self.style_dim) < 1:
            raise I2IError("noise_dim, hidden and style_dim of a style sampler must be at least 1")


class StyleSampler(nn.Module):
    """Noise `[N, noise_dim]` from N(0, 1) to style codes `[N, style_dim]` (journal version, section 3.4).

    The official test scripts leave it in training mode, so that its batch norm uses the statistics of the codes that
    happen to be drawn together. In `eval` mode, as here, it uses the running statistics of the training: one code
    does not depend on the others, and can be drawn alone.
    """

    def __init__(self, config: StyleSamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.Linear(config.noise_dim, config.hidden, bias=False),
            nn.BatchNorm1d(config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden, bias=False),
            nn.BatchNorm1d(config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.style_dim, bias=False),
        )

    def forward(self, noise: Tensor) -> Tensor:
        style: Tensor = self.layers(noise)
        return style


def read_official_sampler(state: Mapping[str, Tensor]) -> tuple[StyleSamplerConfig, dict[str, Tensor]]:
    """Finds the config of the group `sampler` in its shapes and gives its weights under our names."""
    names = {"lin1": "layers.0", "bn1": "layers.1", "lin2": "layers.3", "bn2": "layers.4", "lin_out": "layers.6"}
    hidden, noise_dim = state["lin1.weight"].shape
    config = StyleSamplerConfig(noise_dim, hidden, state["lin_out.weight"].shape[0])
    weights = {}
    for key, tensor in state.items():
        module, _, parameter = key.partition(".")
        weights[f"{names.get(module, module)}.{parameter}"] = tensor
    return config, weights
