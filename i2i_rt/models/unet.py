"""U-Net generator of pix2pix (Isola et al. 2017, arXiv:1611.07004, appendix 6.1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.models.norm import FixedDropout, Norm, Statistics, norm_layer


@dataclass(frozen=True)
class UNetGeneratorConfig:
    """Rebuilds a `UNetGenerator`, together with its weights."""

    in_channels: int = 3
    out_channels: int = 3
    width: int = 64  # channels of the outermost level; doubled inwards up to 8 times
    depth: int = 8  # reductions: 8 for 256x256 images, 7 for 128x128
    norm: Norm = "batch"
    statistics: Statistics = "image"  # of batch norm at test time
    dropout: bool = True
    dropout_seed: int | None = 0  # picks the masks that are used at test time; None switches dropout off there

    def __post_init__(self) -> None:
        if self.depth < 5:
            raise I2IError(f"depth is {self.depth}; a U-Net generator has at least 5 reductions")

    def channels(self, level: int) -> int:
        """Gives the channels after the reduction of `level`, 0 being the outermost."""
        return self.width * (1 << min(level, 3))


class UNetGenerator(nn.Module):
    """Translates `[N, 3, H, W]` in [-1, 1] to the same shape and range; H and W are multiples of `2 ** depth`."""

    def __init__(self, config: UNetGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = self.low = 2**config.depth
        innermost = config.depth - 1
        bias = config.norm == "instance"
        self.down, self.down_norm = nn.ModuleList(), nn.ModuleList()
        self.up, self.up_norm, self.dropout = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in range(config.depth):
            channels = config.channels(level)
            outer = config.channels(level - 1) if level else config.in_channels
            outer_up = config.channels(level - 1) if level else config.out_channels
            edge = level in (0, innermost)
            skip = 1 if level == innermost else 2  # every level but the innermost also gets its own skip
            self.down.append(nn.Conv2d(outer, channels, 4, 2, 1, bias=bias))
            self.down_norm.append(nn.Identity() if edge else norm_layer(config.norm, channels, config.statistics))
            self.up.append(nn.ConvTranspose2d(skip * channels, outer_up, 4, 2, 1, bias=bias or level == 0))
            self.up_norm.append(norm_layer(config.norm, outer_up, config.statistics) if level else nn.Identity())
            # the levels with 8 times the width on both sides, except the innermost
            drops = config.dropout and 4 <= level < innermost
            seed = None if config.dropout_seed is None else config.dropout_seed + level
            self.dropout.append(FixedDropout(outer_up, seed) if drops else nn.Identity())

    def forward(self, image: Tensor) -> Tensor:
        return torch.tanh(self.inside(image, 0))

    def inside(self, x: Tensor, level: int) -> Tensor:
        """Gives what the U-Net from `level` inwards makes of `x`, without the skip connection round it."""
        down = self.down[level](functional.leaky_relu(x, 0.2) if level else x)
        down = self.down_norm[level](down)
        if level < len(self.down) - 1:
            down = self.skip(down, level + 1)
        up = self.up_norm[level](self.up[level](functional.relu(down)))
        result: Tensor = self.dropout[level](up)
        return result

    def skip(self, x: Tensor, level: int) -> Tensor:
        """Gives `x` and what the levels from `level` inwards make of it, along the channels."""
        return torch.cat([x, self.inside(x, level)], 1)


def read_official(state: Mapping[str, Tensor]) -> tuple[UNetGeneratorConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no U-Net generator.

    Raises:
        CheckpointError: where levels are missing.
    """
    if not any(key.startswith("model.model.") for key in state):
        return None
    names = {"model.model.0": "down.0", "model.model.3": "up.0"}
    prefix, level = "model.model.1.model.", 1
    while f"{prefix}1.weight" in state:
        if f"{prefix}5.weight" in state:  # between the outermost and the innermost
            inner = {"1": "down", "2": "down_norm", "5": "up", "6": "up_norm"}
        else:
            inner = {"1": "down", "3": "up", "4": "up_norm"}
        names |= {f"{prefix}{number}": f"{name}.{level}" for number, name in inner.items()}
        prefix, level = f"{prefix}3.model.", level + 1
    if level < 5:
        raise CheckpointError(f"this U-Net has {level} reductions; a pix2pix generator has at least 5")
    batch_norm = "model.model.1.model.2.weight" in state
    config = UNetGeneratorConfig(
        in_channels=state["model.model.0.weight"].shape[1],
        out_channels=state["model.model.3.weight"].shape[1],
        width=state["model.model.0.weight"].shape[0],
        depth=level,
        norm="batch" if batch_norm else "instance",
    )
    weights = {}
    for key, tensor in state.items():
        module, _, parameter = key.rpartition(".")
        if not batch_norm and re.fullmatch("running_mean|running_var|num_batches_tracked", parameter):
            continue
        weights[f"{names.get(module, module)}.{parameter}"] = tensor
    return config, weights
