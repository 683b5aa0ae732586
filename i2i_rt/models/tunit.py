"""TUNIT's networks (Baek et al. 2021, arXiv:2006.06500, appendix A): a guiding network and a FUNIT-style generator."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.kernels import norm_act
from i2i_rt.models.edges import convolved, reflected
from i2i_rt.models.norm import RunningNorm

BOTTOM = 16  # side of the content at the size that a network is trained for


@dataclass(frozen=True)
class TUNITGeneratorConfig:
    """Rebuilds a `TUNITGenerator`, together with its weights."""

    width: int = 64  # channels at full resolution; doubled at each reduction
    levels: int = 3  # reductions, and enlargements
    blocks: int = 2  # residual blocks on either side of the content
    style_dim: int = 128
    mlp_width: int = 256

    def __post_init__(self) -> None:
        if min(self.width, self.levels, self.blocks, self.style_dim, self.mlp_width) < 1:
            raise I2IError("width, levels, blocks, style_dim and mlp_width must be at least 1")

    @property
    def image_size(self) -> int:
        """Side of the images that the official code trains such a network with."""
        side: int = BOTTOM * 2**self.levels
        return side


class ConvNorm(nn.Module):
    """Convolution on reflected edges, then instance norm, learned by nobody or given by the style, then maybe ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, activate: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride)
        self.pad, self.activate = (kernel - stride + 1) // 2, activate

    def forward(self, edged: Tensor, *style: Tensor, upsample: bool = False, pad: int = 0) -> Tensor:
        """Takes features with reflected edges and, where the style scales and shifts, its shift and scale `[N, C]`.

        Gives the result twice as large, and with `pad` reflected rows and columns, where that is wanted.
        """
        shift, scale = style or (None, None)
        slope = 0.0 if self.activate else 1.0
        return norm_act(convolved(self.conv, edged), scale, shift, slope=slope, upsample=upsample, pad=pad)


class ResidualBlock(nn.Module):
    """`x + 0.1 * f(x)` with two 3x3 convolutions; no activation after the second."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([ConvNorm(channels, channels, 3), ConvNorm(channels, channels, 3, activate=False)])

    def forward(self, x: Tensor, *style: Tensor) -> Tensor:
        first, second = cast(list[ConvNorm], list(self.layers))
        inside = first(reflected(x, first.pad), *style[:2], pad=second.pad)
        result: Tensor = x + 0.1 * second(inside, *style[2:])
        return result


class TUNITGenerator(nn.Module):
    """Translates images `[N, 3, H, W]` in [-1, 1] by a style `[N, S]` into images of the same shape and range."""

    def __init__(self, config: TUNITGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2**config.levels
        self.low = max(2 * self.multiple, 4)  # instance norm needs more than one position, reflection 4
        widths = [config.width * 2**level for level in range(config.levels + 1)]
        self.encode = nn.ModuleList(
            [ConvNorm(3, widths[0], 7)] + [ConvNorm(i, o, 4, stride=2) for i, o in pairwise(widths)]
        )

        self.encode_residual, self.decode_residual = (
            nn.ModuleList(ResidualBlock(widths[-1]) for _ in range(config.blocks)) for _ in range(2)
        )
        rising = widths[::-1]
        self.decode = nn.ModuleList(ConvNorm(i, o, 5) for i, o in pairwise(rising))
        self.to_rgb = nn.Conv2d(widths[0], 3, 7, padding=3, padding_mode="reflect")
        # what the style gives: shift and scale of each layer of the decoder, one layer after another
        self._channels = [widths[-1]] * (2 * config.blocks) + rising[1:]
        self.mlp = nn.Sequential(
            nn.Linear(config.style_dim, config.mlp_width),
            nn.ReLU(),
            nn.Linear(config.mlp_width, config.mlp_width),
            nn.ReLU(),
            nn.Linear(config.mlp_width, 2 * sum(self._channels)),
        )

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        return self.decoded(self.content(image), style)

    def content(self, image: Tensor) -> Tensor:
        """Gives what is kept of an image, `[N, C, H / multiple, W / multiple]`."""
        layers = cast(list[ConvNorm], list(self.encode))
        x = reflected(image, layers[0].pad)
        for layer, behind in zip_longest(layers, layers[1:]):
            x = layer(x, pad=behind.pad if behind else 0)
        for block in self.encode_residual:
            x = block(x)
        return x

    def decoded(self, x: Tensor, style: Tensor) -> Tensor:
        """Gives the image of a content in a style."""
        parts = self.mlp(style.to(x.dtype)).split([c for channels in self._channels for c in (channels, channels)], 1)
        for number, block in enumerate(self.decode_residual):
            x = block(x, *parts[4 * number : 4 * number + 4])
        layers = cast(list[ConvNorm], list(self.decode))
        x = reflected(functional.interpolate(x, scale_factor=2.0, mode="nearest"), layers[0].pad)
        number = 2 * len(self.decode_residual)
        for layer, behind in zip_longest(layers, layers[1:]):
            pad = behind.pad if behind else int(self.to_rgb.padding[0])
            x = layer(x, *parts[2 * number : 2 * number + 2], upsample=behind is not None, pad=pad)
            number += 1
        result: Tensor = convolved(self.to_rgb, x).tanh()
        return result


@dataclass(frozen=True)
class GuidingNetworkConfig:
    """Rebuilds a `GuidingNetwork`, together with its weights."""

    widths: tuple[int, ...] = (64, 128, 256, 256, 512, 512, 512, 512)
    style_dim: int = 128
    clusters: int = 10

    def __post_init__(self) -> None:
        if len(self.widths) != len(POOLED) or min(self.style_dim, self.clusters, *self.widths) < 1:
            raise I2IError(
                f"widths are {self.widths}, style_dim {self.style_dim}, clusters {self.clusters}; needed "
                f"are {len(POOLED)} widths, and numbers of at least 1"
            )


POOLED = (True, True, False, True, False, True, False, True)  # VGG11's layers that end in a pooling


class GuidingNetwork(nn.Module):
    """Reads from images `[N, 3, H, W]` in [-1, 1] a style `[N, S]` and logits `[N, K]` of pseudo-domains.

    The features are those of VGG11 with batch norm (Simonyan and Zisserman 2015), averaged over the image.
    """

    def __init__(self, config: GuidingNetworkConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for before, after, pooled in zip((3, *config.widths), config.widths, POOLED, strict=False):
            layers += [nn.Conv2d(before, after, 3, padding=1), RunningNorm(after), nn.ReLU()]
            if pooled:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.to_style = nn.Linear(config.widths[-1], config.style_dim)
        self.to_cluster = nn.Linear(config.widths[-1], config.clusters)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.features(image).mean((2, 3))
        return self.to_style(feature), self.to_cluster(feature)


def read_generator(state: Mapping[str, Tensor]) -> tuple[TUNITGeneratorConfig, dict[str, Tensor]]:
    """Finds the config in an official state dict's keys and shapes.

    The decoder's running statistics are left out: the official network stores but never uses them.

    Raises:
        CheckpointError: where it is no such generator.
    """
    levels = sum(re.fullmatch(r"cnt_encoder\.model\.\d+\.conv\.weight", key) is not None for key in state) - 1
    blocks = sum(
        re.fullmatch(r"decoder\.model\.0\.model\.\d+\.model\.0\.conv\.weight", key) is not None for key in state
    )
    for key in ("cnt_encoder.model.0.conv.weight", "mlp.model.0.fc.weight"):
        if key not in state:
            raise CheckpointError(f"this is no TUNIT generator: it lacks {key!r}")
    mlp_width, style_dim = state["mlp.model.0.fc.weight"].shape
    config = TUNITGeneratorConfig(
        state["cnt_encoder.model.0.conv.weight"].shape[0], levels, blocks, style_dim, mlp_width
    )
    layer = r"model\.(\d+)\.model\.(\d)\."
    patterns: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
        (rf"cnt_encoder\.model\.{levels + 1}\.{layer}", r"encode_residual.\1.layers.\2."),
        (r"cnt_encoder\.model\.(\d+)\.", r"encode.\1."),
        (rf"decoder\.model\.0\.{layer}", r"decode_residual.\1.layers.\2."),
        (rf"decoder\.model\.{2 * levels + 1}\.conv\.", "to_rgb."),
        # an enlargement without weights stands before each convolution
        (r"decoder\.model\.(\d+)\.", lambda match: f"decode.{int(match[1]) // 2 - 1}."),
        (r"mlp\.model\.(\d)\.fc\.", lambda match: f"mlp.{2 * int(match[1])}."),
    ]
    weights = {}
    for key, tensor in state.items():
        if re.fullmatch(r"decoder\..*\.norm\.(running_mean|running_var|num_batches_tracked)", key):
            continue
        name = key
        for pattern, replacement in patterns:
            name, count = re.subn(rf"^{pattern}", replacement, key)
            if count:
                break
        weights[name] = tensor
    return config, weights


def read_guiding_network(state: Mapping[str, Tensor]) -> tuple[GuidingNetworkConfig, dict[str, Tensor]]:
    """Finds the config in an official state dict's keys and shapes.

    Raises:
        CheckpointError: where it is no such network.
    """
    for key in ("features.0.weight", "cont.weight", "disc.weight"):
        if key not in state:
            raise CheckpointError(f"this is no TUNIT guiding network: it lacks {key!r}")
    convolutions = {
        int(key.split(".")[1]): tensor for key, tensor in state.items() if re.fullmatch(r"features\.\d+\.weight", key)
    }
    widths = tuple(tensor.shape[0] for _, tensor in sorted(convolutions.items()) if tensor.ndim == 4)
    config = GuidingNetworkConfig(widths, state["cont.weight"].shape[0], state["disc.weight"].shape[0])
    names = {"cont.": "to_style.", "disc.": "to_cluster."}
    return config, {re.sub(r"^(cont|disc)\.", lambda match: names[match[0]], key): t for key, t in state.items()}
