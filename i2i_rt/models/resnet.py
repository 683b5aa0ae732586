"""ResNet generator of CycleGAN (Zhu et al. 2017, arXiv:1703.10593, appendix 7.2) and CUT (Park et al. 2020).

CUT's differs in its resampling: convolutions have stride 1 and are followed by a fixed low-pass, and fixed
bilinear upsampling stands in for transposed convolutions (`antialias_down`, `antialias_up`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

import torch
from torch import Tensor, nn

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.models.edges import reflected, run, run_blocks, run_edged, with_edges
from i2i_rt.models.norm import FixedDropout, Norm, Statistics, norm_layer
from i2i_rt.models.resample import BilinearUpsample, BlurPool


@dataclass(frozen=True)
class ResnetGeneratorConfig:
    """Rebuilds a `ResnetGenerator`, together with its weights."""

    in_channels: int = 3
    out_channels: int = 3
    width: int = 64  # channels after the first convolution; doubled at each of the two reductions
    blocks: int = 9  # residual blocks, at a quarter of the resolution
    norm: Norm = "instance"
    statistics: Statistics = "image"  # of batch norm at test time
    antialias_down: bool = False
    antialias_up: bool = False
    dropout: bool = False
    dropout_seed: int | None = 0  # picks the mask that is used at test time; None switches dropout off there

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise I2IError(f"norm is {self.norm!r}; it must be one of {', '.join(get_args(Norm))}")
        if self.width < 1 or self.blocks < 1:
            raise I2IError(f"width is {self.width} and blocks is {self.blocks}; both must be at least 1")


class ResidualBlock(nn.Module):
    """`x + f(x)` with two 3x3 convolutions on reflected edges; no activation after the sum."""

    def __init__(self, config: ResnetGeneratorConfig, channels: int) -> None:
        super().__init__()
        bias = config.norm == "instance"
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(config.norm, channels, config.statistics),
            nn.ReLU(),
        ]
        if config.dropout:
            layers.append(FixedDropout(channels, config.dropout_seed))
        layers += [
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(config.norm, channels, config.statistics),
        ]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.edged(x, reflected(x, 1), 0)[0]

    def edged(self, x: Tensor, edged: Tensor, pad: int) -> tuple[Tensor, Tensor]:
        """Takes features without and with one reflected row and column; gives its own without and with `pad`."""
        *inside, norm = list(self.conv_block)[1:]
        return with_edges(norm, run(inside, edged), pad, residual=x)


class ResnetGenerator(nn.Module):
    """Translates images `[N, 3, H, W]` in [-1, 1] into images of the same shape and range; H, W multiples of 4.

    `layers` counts its entries as the papers' code does, so that PatchNCE's layers 0, 4, 8, 12, 16 mean the
    same here.
    """

    multiple = 4
    low = 16

    def __init__(self, config: ResnetGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        bias = config.norm == "instance"

        def normalised(channels: int) -> list[nn.Module]:
            return [norm_layer(config.norm, channels, config.statistics), nn.ReLU()]

        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(config.in_channels, width, 7, bias=bias),
            *normalised(width),
        ]
        for channels in (width, 2 * width):  # [N, width, H, W] -> [N, 4 * width, H / 4, W / 4]
            stride = 1 if config.antialias_down else 2
            layers += [nn.Conv2d(channels, 2 * channels, 3, stride, 1, bias=bias), *normalised(2 * channels)]
            if config.antialias_down:
                layers.append(BlurPool(2 * channels))
        self.first_block = len(layers)
        layers += [ResidualBlock(config, 4 * width) for _ in range(config.blocks)]
        for channels in (4 * width, 2 * width):
            if config.antialias_up:
                layers += [BilinearUpsample(), nn.Conv2d(channels, channels // 2, 3, padding=1, bias=bias)]
            else:
                layers.append(nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, 1, bias=bias))
            layers += normalised(channels // 2)
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, config.out_channels, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        layers, behind = list(self.layers), self.first_block + self.config.blocks
        x, edged = run_edged(layers[: self.first_block], image, 1)
        blocks = cast(list[ResidualBlock], layers[self.first_block : behind])
        x = run_blocks([block.edged for block in blocks], x, edged)
        return run(layers[behind:], x)

    def features(self, image: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Gives the outputs of the `layers` named by `indices`; nothing after the last of them is computed."""
        found = {}
        for index, layer in enumerate(self.layers[: max(indices) + 1]):
            image = layer(image)
            if index in indices:
                found[index] = image
        return [found[index] for index in indices]

    def finish(self, feature: Tensor, index: int) -> Tensor:
        """Gives the translated image from the output of the layer `index`, one of `features`."""
        result: Tensor = self.layers[index + 1 :](feature)
        return result

    def feature_channels(self, indices: Sequence[int]) -> list[int]:
        """Gives the channels of each tensor of `features`."""
        probe = torch.zeros(1, self.config.in_channels, self.low, self.low, device=next(self.parameters()).device)
        training = self.training
        with torch.no_grad():
            channels = [feature.shape[1] for feature in self.eval().features(probe, indices)]
        self.train(training)
        return channels


def read_official(state: Mapping[str, Tensor]) -> tuple[ResnetGeneratorConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no ResNet generator.

    Instance norm's running statistics in files of 2017 and 2018 are left out, as the official loader does:
    the network never uses them. The fixed low-pass filters are rebuilt from their definition.

    Raises:
        CheckpointError: where the file is a ResNet generator of a shape that is not known here.
    """
    if not any(re.match(r"model\.\d+\.conv_block\.", key) for key in state):
        return None
    block_numbers = sorted({int(key.split(".")[1]) for key in state if ".conv_block." in key})
    convolutions = sorted(
        int(match[1]) for key in state if (match := re.fullmatch(r"model\.(\d+)\.weight", key)) and state[key].ndim == 4
    )
    first, last = block_numbers[0], block_numbers[-1]
    down = [number for number in convolutions if number < first]
    up = [number for number in convolutions if number > last]
    if "model.1.weight" in state and (len(down) != 3 or len(up) != 3):
        raise CheckpointError(
            f"this ResNet generator has {len(down) - 1} reductions and {len(up) - 1} enlargements; known are 2 and 2"
        )
    head, tail = state["model.1.weight"], state[f"model.{up[-1]}.weight"]
    config = ResnetGeneratorConfig(
        in_channels=head.shape[1],
        out_channels=tail.shape[0],
        width=head.shape[0],
        blocks=len(block_numbers),
        # a learned scale tells batch norm; instance norm has none, though old files store its statistics
        norm="batch" if "model.2.weight" in state else "instance",
        antialias_down=down[2] - down[1] == 4,
        antialias_up=up[0] == last + 2,
        dropout=f"model.{first}.conv_block.6.weight" in state and state[f"model.{first}.conv_block.6.weight"].ndim == 4,
    )
    unused = r".*\.filt" if config.norm == "batch" else r".*\.(filt|running_mean|running_var|num_batches_tracked)"
    weights = {
        key.replace("model.", "layers.", 1): tensor for key, tensor in state.items() if not re.fullmatch(unused, key)
    }
    return config, weights
