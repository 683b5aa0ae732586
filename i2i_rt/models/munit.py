"""Networks of MUNIT (Huang et al. 2018, arXiv:1804.04732, appendix B) and of UNIT's later code, which shares them.

Each domain has a content encoder, a style encoder and a decoder; a translation takes the content of one domain and
a style of the other. UNIT's decoder has no style and normalises by the image's own statistics alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.kernels import norm_act, statistics
from i2i_rt.models.edges import EdgedBlock, convolved, reflected, run_blocks, run_edged, with_edges
from i2i_rt.models.norm import InstanceNorm
from i2i_rt.official import noted, official_key

RELU = nn.ReLU()
# what PyTorch 0.3 stored of instance norm, and today's files of adaptive instance norm; no layer uses it
_STATISTICS = re.compile(r".*\.(running_mean|running_var|num_batches_tracked)")


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Makes a convolution on reflected edges that keeps the size, or divides it by `stride`."""
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, padding_mode="reflect")


class LayerNorm(nn.Module):
    """Normalises each image over all channels and places, as MUNIT's decoder does.

    `(x - mean) / (deviation + eps)` with the deviation of a sample (divided by n - 1) and eps outside the root, which
    is not what PyTorch's layer norm computes. Statistics in float32, whatever the dtype of `x`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return layer_norm(x.float(), self.weight.float(), self.bias.float()).to(x.dtype)
        weight, bias = (part.float()[:, None, None] for part in (self.weight, self.bias))
        axes, wide = (1, 2, 3), x.float()
        moments = statistics.taken(x, axes, correction=1)  # [1, 1, 1, 1] each
        if moments is not None:
            scale = weight / (moments[1].sqrt() + 1e-5)
            return x * scale.to(x.dtype) + (bias - moments[0] * scale).to(x.dtype)
        # the mean is taken away first: a runtime that computes this in half precision loses less so
        variance, mean = torch.var_mean(wide, axes, correction=1, keepdim=True)  # [N, 1, 1, 1]
        return ((wide - mean) / (variance.sqrt() + 1e-5) * weight + bias).to(x.dtype)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Gives `LayerNorm` of `x` `[N, C, H, W]` for training, all in float32, by a scale and a shift: in fewer passes."""
    variance, mean = torch.var_mean(x, (1, 2, 3), correction=1, keepdim=True)  # [N, 1, 1, 1]
    scale = weight[:, None, None] / (variance.sqrt() + 1e-5)
    return torch.addcmul(bias[:, None, None] - mean * scale, x, scale)


class ResidualBlock(nn.Module):
    """`x + f(x)` with two 3x3 convolutions and instance norm; no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = convolution(channels, channels, 3), convolution(channels, channels, 3)
        self.norm = InstanceNorm(channels)

    def forward(self, x: Tensor, edged: Tensor, pad: int) -> tuple[Tensor, Tensor]:
        """Takes features without and with one reflected row and column; gives its own without and with `pad`."""
        inside = self.norm(convolved(self.first, edged), slope=0.0, pad=1)
        return with_edges(self.norm, convolved(self.second, inside), pad, residual=x)


class StyledBlock(nn.Module):
    """`x + f(x)` whose two norms are scaled and shifted by the style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = convolution(channels, channels, 3), convolution(channels, channels, 3)

    def forward(self, x: Tensor, edged: Tensor, pad: int, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Takes and gives what `ResidualBlock` does; `parameters` `[N, 4C]`: each norm's C shifts, then C scales."""
        shift, scale, second_shift, second_scale = parameters.chunk(4, 1)
        inside = norm_act(convolved(self.first, edged), scale, shift, slope=0.0, pad=1)
        norm = partial(norm_act, weight=second_scale, bias=second_shift)
        return with_edges(norm, convolved(self.second, inside), pad, residual=x)


@dataclass(frozen=True)
class ContentEncoderConfig:
    """Rebuilds a `ContentEncoder`, together with its weights."""

    in_channels: int = 3
    width: int = 64  # channels after the first convolution; doubled at each reduction
    reductions: int = 2
    blocks: int = 4

    def __post_init__(self) -> None:
        if self.width < 1 or self.reductions < 0 or self.blocks < 0:
            raise I2IError(f"a content encoder of width {self.width} with {self.blocks} blocks cannot be made")


class ContentEncoder(nn.Module):
    """Images `[N, 3, H, W]` in [-1, 1] to content `[N, width * 2 ** r, H / 2 ** r, W / 2 ** r]`, r reductions."""

    def __init__(self, config: ContentEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2**config.reductions
        self.low = max(8, 2 * self.multiple)  # the residual blocks reflect one row of at least two
        widths = [config.width << level for level in range(config.reductions + 1)]
        self.convolutions = nn.ModuleList([convolution(config.in_channels, config.width, 7)])
        self.convolutions.extend(convolution(width, 2 * width, 4, 2) for width in widths[:-1])
        self.norms = nn.ModuleList(InstanceNorm(width) for width in widths)
        self.blocks = nn.Sequential(*(ResidualBlock(widths[-1]) for _ in range(config.blocks)))

    def forward(self, image: Tensor) -> Tensor:
        layers = [part for pair in zip(self.convolutions, self.norms, strict=True) for part in (*pair, RELU)]
        x, edged = run_edged(layers, image, 1 if self.blocks else 0)
        return run_blocks(list(self.blocks), x, edged)


@dataclass(frozen=True)
class StyleEncoderConfig:
    """Rebuilds a `StyleEncoder`, together with its weights."""

    in_channels: int = 3
    widths: tuple[int, ...] = (64, 128, 256, 256, 256)  # after the first convolution and each reduction
    style: int = 8

    def __post_init__(self) -> None:
        if not self.widths or min(*self.widths, self.style) < 1:
            raise I2IError("a style encoder needs at least one width and a style of at least one number")


class StyleEncoder(nn.Module):
    """Images `[N, 3, H, W]` in [-1, 1] to the mean of their style, `[N, style]`, which no norm may wash out."""

    multiple = 4

    def __init__(self, config: StyleEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.low = max(8, 1 << (len(config.widths) - 1))
        self.convolutions = nn.ModuleList([convolution(config.in_channels, config.widths[0], 7)])
        self.convolutions.extend(convolution(inputs, outputs, 4, 2) for inputs, outputs in pairwise(config.widths))
        self.last = nn.Linear(config.widths[-1], config.style)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for layer in self.convolutions:
            x = functional.relu(layer(x))
        # a mean over a large picture in float32: its sum leaves float16's range
        result: Tensor = self.last(x.float().mean((2, 3)).to(x.dtype))
        return result


@dataclass(frozen=True)
class DecoderConfig:
    """Rebuilds a `Decoder`, together with its weights."""

    out_channels: int = 3
    width: int = 64  # channels before the last convolution; those of the content are `width * 2 ** enlargements`
    enlargements: int = 2
    blocks: int = 4
    style: int = 8  # 0: UNIT's decoder, which has none
    perceptron: tuple[int, ...] = (256, 256)  # widths between the style and the blocks' scales and shifts

    def __post_init__(self) -> None:
        if self.width < 1 or self.enlargements < 0 or self.blocks < 0 or self.style < 0:
            raise I2IError(f"a decoder of width {self.width} with {self.blocks} blocks cannot be made")


class Upsample(nn.Module):
    """Twice the size, half the channels: nearest neighbours, a 5x5 convolution, layer norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = convolution(channels, channels // 2, 5)
        self.norm = LayerNorm(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.convolution(functional.interpolate(x, scale_factor=2.0))))


class Decoder(nn.Module):
    """Content `[N, C, h, w]` and, with one, a style `[N, style]` to images in [-1, 1]."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.width << config.enlargements
        block = StyledBlock if config.style else ResidualBlock
        self.blocks = nn.ModuleList(block(channels) for _ in range(config.blocks))
        self.upsample = nn.Sequential(*(Upsample(channels >> level) for level in range(config.enlargements)))
        self.last = convolution(config.width, config.out_channels, 7)
        self.perceptron = nn.ModuleList()
        if config.style:
            widths = (config.style, *config.perceptron, 4 * channels * config.blocks)
            self.perceptron.extend(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths))

    def parameters_of(self, style: Tensor) -> Tensor:
        """Gives what the style `[N, style]` means to the blocks, one after another: `[N, blocks * 4 * C]`."""
        x = style.to(self.last.weight.dtype)
        for layer in self.perceptron[:-1]:
            x = functional.relu(layer(x))
        result: Tensor = self.perceptron[-1](x)
        return result

    def forward(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        blocks: list[EdgedBlock] = list(self.blocks)
        if style is not None:
            parts = self.parameters_of(style).chunk(max(len(blocks), 1), 1)
            blocks = [partial(block, parameters=part) for block, part in zip(self.blocks, parts, strict=False)]
        x = run_blocks(blocks, content, reflected(content, 1)) if blocks else content
        return torch.tanh(self.last(self.upsample(x)))


@dataclass(frozen=True)
class ScalesDiscriminatorConfig:
    """Rebuilds a `ScalesDiscriminator`, together with its weights."""

    in_channels: int = 3
    width: int = 64  # channels after the first convolution; doubled at each further one
    layers: int = 4
    scales: int = 3

    def __post_init__(self) -> None:
        if self.width < 1 or self.layers < 1 or self.scales < 1:
            raise I2IError(f"width is {self.width}, layers {self.layers}, scales {self.scales}; each is at least 1")


class ScalesDiscriminator(nn.Module):
    """Judges patches of an image at several scales: a map of logits for each, the finest first."""

    def __init__(self, config: ScalesDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width << level for level in range(config.layers)]
        self.scales = nn.ModuleList()
        for _ in range(config.scales):
            layers: list[nn.Module] = []
            for inputs, outputs in zip([config.in_channels, *widths], widths, strict=False):
                layers += [convolution(inputs, outputs, 4, 2), nn.LeakyReLU(0.2)]
            self.scales.append(nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1)))
        self.halve = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        logits = []
        for scale in self.scales:
            logits.append(scale(image))
            image = self.halve(image)
        return logits


def without_statistics(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leaves out the statistics that old files hold and no layer uses."""
    return {key: tensor for key, tensor in state.items() if not _STATISTICS.fullmatch(key)}


def count(state: Mapping[str, Tensor], pattern: str) -> int:
    """Gives one more than the largest number that `pattern`, with one group, finds in the keys; 0 where none does."""
    return max((int(match[1]) + 1 for key in state if (match := re.match(pattern, key))), default=0)


def weight_of(state: Mapping[str, Tensor], key: str) -> Tensor:
    """Gives a weight that tells a network's widths.

    Raises:
        CheckpointError: where it is not there.
    """
    if key not in state:
        raise CheckpointError(f"the checkpoint is not complete: it lacks {key!r}")
    return state[key]


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Renames keys by patterns; a key that none fits stays, to be told as one too many."""
    weights = {}
    for key, tensor in state.items():
        for pattern, name in names.items():
            found, matches = re.subn(f"^{pattern}$", name, key)
            if matches:
                break
        else:
            found = key
        weights[found] = tensor
    return weights


def read_official_content_encoder(state: Mapping[str, Tensor]) -> tuple[ContentEncoderConfig, dict[str, Tensor]]:
    """Finds the config of a domain's content encoder in its keys, `model.0.conv.weight` and so on, and shapes."""
    state = without_statistics(state)
    reductions = count(state, r"model\.(\d+)\.conv\.") - 1
    head = weight_of(state, "model.0.conv.weight")
    blocks = rf"model\.{reductions + 1}\.model\.(\d+)\."
    config = ContentEncoderConfig(head.shape[1], head.shape[0], reductions, count(state, blocks))
    return config, _renamed(
        state,
        {
            r"model\.(\d+)\.conv\.(\w+)": r"convolutions.\1.\2",
            rf"{blocks}model\.0\.conv\.(\w+)": r"blocks.\1.first.\2",
            rf"{blocks}model\.1\.conv\.(\w+)": r"blocks.\1.second.\2",
        },
    )


def read_official_style_encoder(state: Mapping[str, Tensor]) -> tuple[StyleEncoderConfig, dict[str, Tensor]]:
    """Finds the config of a domain's style encoder in its keys and shapes."""
    convolutions = max(count(state, r"model\.(\d+)\.conv\."), 1)
    weights = [weight_of(state, f"model.{index}.conv.weight") for index in range(convolutions)]
    last = f"model.{convolutions + 1}"  # after the mean over all places
    style = weight_of(state, f"{last}.weight").shape[0]
    config = StyleEncoderConfig(weights[0].shape[1], tuple(weight.shape[0] for weight in weights), style)
    renamed = _renamed(
        state, {r"model\.(\d+)\.conv\.(\w+)": r"convolutions.\1.\2", rf"{re.escape(last)}\.(\w+)": r"last.\1"}
    )
    matrix = renamed["last.weight"].flatten(1)  # a 1x1 convolution of one place
    renamed["last.weight"] = noted(matrix, official_key(renamed["last.weight"]))
    return config, renamed


def read_official_decoder(
    state: Mapping[str, Tensor], perceptron: Mapping[str, Tensor] | None = None
) -> tuple[DecoderConfig, dict[str, Tensor]]:
    """Finds the config of a domain's decoder, and of the perceptron of its style, in their keys and shapes.

    `perceptron` holds keys like `model.0.fc.weight`; UNIT has none.
    """
    state = without_statistics(state)
    last = max(count(state, r"model\.(\d+)\.conv\."), 1) - 1
    tail = weight_of(state, f"model.{last}.conv.weight")
    blocks = r"model\.0\.model\.(\d+)\."
    layers = count(perceptron, r"model\.(\d+)\.") if perceptron is not None else 0
    hidden = [weight_of(perceptron or {}, f"model.{index}.fc.weight") for index in range(layers)]
    config = DecoderConfig(
        out_channels=tail.shape[0],
        width=tail.shape[1],
        enlargements=(last - 1) // 2,
        blocks=count(state, blocks),
        style=hidden[0].shape[1] if hidden else 0,
        perceptron=tuple(weight.shape[0] for weight in hidden[:-1]),
    )
    names = {
        rf"{blocks}model\.0\.conv\.(\w+)": r"blocks.\1.first.\2",
        rf"{blocks}model\.1\.conv\.(\w+)": r"blocks.\1.second.\2",
        rf"model\.{last}\.conv\.(\w+)": r"last.\1",
    }
    for level in range(config.enlargements):
        number = 2 * level + 2  # nearest neighbours have a number too
        names |= {
            rf"model\.{number}\.conv\.(\w+)": rf"upsample.{level}.convolution.\1",
            rf"model\.{number}\.norm\.gamma": f"upsample.{level}.norm.weight",
            rf"model\.{number}\.norm\.beta": f"upsample.{level}.norm.bias",
        }
    return config, {
        **_renamed(state, names),
        **_renamed(perceptron or {}, {r"model\.(\d+)\.fc\.(\w+)": r"perceptron.\1.\2"}),
    }


def read_official_discriminator(state: Mapping[str, Tensor]) -> tuple[ScalesDiscriminatorConfig, dict[str, Tensor]]:
    """Finds the config of a domain's discriminator in its keys, `cnns.0.0.conv.weight` and so on, and shapes."""
    head = weight_of(state, "cnns.0.0.conv.weight")
    layers = count(state, r"cnns\.0\.(\d+)\.conv\.")
    config = ScalesDiscriminatorConfig(head.shape[1], head.shape[0], layers, count(state, r"cnns\.(\d+)\."))
    weights = {}
    for key, tensor in state.items():
        match = re.fullmatch(r"cnns\.(\d+)\.(\d+)\.(?:conv\.)?(weight|bias)", key)
        # an activation lies between two convolutions
        weights[f"scales.{match[1]}.{2 * int(match[2])}.{match[3]}" if match else key] = tensor
    return config, weights
