"""Networks of UNIT as its paper has them (Liu et al. 2017, arXiv:1703.00848, section 3): domains share inner layers.

The encoders' last and the decoders' first residual blocks are the same for both domains. Two official variants
differ in what surrounds the residual blocks: the street scenes' has no norm there, the animals' instance norm.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.models.edges import Chain
from i2i_rt.models.munit import count, weight_of, without_statistics
from i2i_rt.models.norm import InstanceNorm

OuterNorm = Literal["none", "instance"]


def _activation(norm: OuterNorm, channels: int) -> nn.Module:
    return Chain(InstanceNorm(channels), nn.ReLU()) if norm == "instance" else nn.LeakyReLU(0.01)


class ResidualBlock(nn.Module):
    """`x + f(x)` with two 3x3 convolutions on edges of zeros, and instance norm; no activation after the sum.

    `dropout` is the share of what is added that training leaves out.
    """

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norm, self.dropout = InstanceNorm(channels), dropout

    def forward(self, x: Tensor) -> Tensor:
        inside = self.second(self.norm(self.first(x), slope=0.0))
        if self.training and self.dropout:
            return x + functional.dropout(self.norm(inside), self.dropout)
        result: Tensor = self.norm(inside, residual=x)
        return result


def residual_blocks(channels: int, count: int, dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels, dropout) for _ in range(count)))


@dataclass(frozen=True)
class SharedEncoderConfig:
    """Rebuilds a `SharedEncoder`, together with its weights."""

    in_channels: int = 3
    width: int = 64  # channels after the first convolution; doubled at each reduction
    reductions: int = 2
    blocks: int = 4  # residual blocks: those of the domain, then the shared ones
    norm: OuterNorm = "none"  # after the strided convolutions

    def __post_init__(self) -> None:
        _check(self.norm, self.width, self.blocks)


class SharedEncoder(nn.Module):
    """One domain's images `[N, 3, H, W]` in [-1, 1] to the shared code `[N, width * 2 ** r, H / 2 ** r, W / 2 ** r]`.

    The noise that training adds to the code is left out, as the official code does at test time.
    """

    def __init__(self, config: SharedEncoderConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2**config.reductions
        self.low = max(8, 2 * self.multiple)
        widths = [config.width << level for level in range(config.reductions + 1)]
        self.convolutions = nn.ModuleList([nn.Conv2d(config.in_channels, config.width, 7, padding=3)])
        self.convolutions.extend(nn.Conv2d(width, 2 * width, 3, 2, 1) for width in widths[:-1])
        # the first convolution has no norm in either variant
        self.activations = nn.ModuleList([_activation("none", config.width)])
        self.activations.extend(_activation(config.norm, width) for width in widths[1:])
        self.blocks = residual_blocks(widths[-1], config.blocks, dropout)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for layer, activation in zip(self.convolutions, self.activations, strict=True):
            x = activation(layer(x))
        result: Tensor = self.blocks(x)
        return result


@dataclass(frozen=True)
class SharedDecoderConfig:
    """Rebuilds a `SharedDecoder`, together with its weights."""

    out_channels: int = 3
    width: int = 64  # channels before the last convolution; those of the code are `width * 2 ** enlargements`
    enlargements: int = 2
    blocks: int = 4  # residual blocks: the shared ones, then those of the domain
    norm: OuterNorm = "none"  # after the transposed convolutions

    def __post_init__(self) -> None:
        _check(self.norm, self.width, self.blocks)


class SharedDecoder(nn.Module):
    """The shared code `[N, C, h, w]` to one domain's images in [-1, 1]."""

    def __init__(self, config: SharedDecoderConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        widths = [config.width << level for level in range(config.enlargements, -1, -1)]
        self.blocks = residual_blocks(widths[0], config.blocks, dropout)
        self.convolutions = nn.ModuleList(nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1) for width in widths[:-1])
        self.activations = nn.ModuleList(_activation(config.norm, width) for width in widths[1:])
        self.last = nn.ConvTranspose2d(config.width, config.out_channels, 1)

    def forward(self, code: Tensor) -> Tensor:
        x = self.blocks(code)
        for layer, activation in zip(self.convolutions, self.activations, strict=True):
            x = activation(layer(x))
        return torch.tanh(self.last(x))


def with_shared_blocks(encoder: SharedEncoder, shared: nn.Sequential) -> SharedEncoder:
    """Puts an encoder and the blocks that follow it for both domains together, without copying them."""
    blocks = nn.Sequential(*encoder.blocks, *shared)
    with torch.device("meta"):
        whole = SharedEncoder(replace(encoder.config, blocks=len(blocks)))
    whole.convolutions, whole.blocks = encoder.convolutions, blocks
    return whole


def behind_shared_blocks(shared: nn.Sequential, decoder: SharedDecoder) -> SharedDecoder:
    """Puts a decoder and the blocks before it for both domains together, without copying them."""
    blocks = nn.Sequential(*shared, *decoder.blocks)
    with torch.device("meta"):
        whole = SharedDecoder(replace(decoder.config, blocks=len(blocks)))
    whole.blocks, whole.convolutions, whole.last = blocks, decoder.convolutions, decoder.last
    return whole


def _check(norm: str, width: int, blocks: int) -> None:
    if norm not in get_args(OuterNorm):
        raise I2IError(f"norm is {norm!r}; it must be one of {', '.join(get_args(OuterNorm))}")
    if width < 1 or blocks < 1:
        raise I2IError(f"width is {width} and blocks is {blocks}; both must be at least 1")


def outer_norm(state: Mapping[str, Tensor]) -> OuterNorm | None:
    """Tells the variant from the unused statistics that files of PyTorch 0.3 hold; None where there are none."""
    norms = {key.rpartition(".")[0] for key in state if key.endswith("running_mean")}
    if not norms:
        return None
    return "instance" if "encode_A.1.model.1" in norms else "none"


def read_official_encoder(
    state: Mapping[str, Tensor], domain: Literal["A", "B"], norm: OuterNorm
) -> tuple[SharedEncoderConfig, dict[str, Tensor]]:
    """Picks a domain's encoder and the shared blocks after it out of an official file of both domains."""
    state = without_statistics(state)
    own = f"encode_{domain}"
    front, end = _front(state, own), count(state, rf"{own}\.(\d+)\.")
    head = weight_of(state, f"{own}.0.model.0.weight")
    shared = count(state, r"enc_shared\.(\d+)\.")
    config = SharedEncoderConfig(head.shape[1], head.shape[0], front - 1, end - front + shared, norm)
    weights = {}
    for key, tensor in state.items():
        if key.startswith(f"{own}."):
            weights[_name(key, {f"{own}.{index}": f"convolutions.{index}" for index in range(front)}, front)] = tensor
        elif key.startswith("enc_shared."):
            weights[_name(key, {}, front - end)] = tensor
    return config, weights


def read_official_decoder(
    state: Mapping[str, Tensor], domain: Literal["A", "B"], norm: OuterNorm
) -> tuple[SharedDecoderConfig, dict[str, Tensor]]:
    """Picks the shared blocks and a domain's decoder after them out of an official file of both domains."""
    state = without_statistics(state)
    own = f"decode_{domain}"
    blocks, end = count(state, rf"{own}\.(\d+)\.model\.3\."), max(count(state, rf"{own}\.(\d+)\."), 1)
    last = weight_of(state, f"{own}.{end - 1}.weight")
    shared = count(state, r"dec_shared\.(\d+)\.")
    config = SharedDecoderConfig(last.shape[1], last.shape[0], end - 1 - blocks, shared + blocks, norm)
    names = {f"{own}.{blocks + index}": f"convolutions.{index}" for index in range(config.enlargements)}
    weights = {}
    for key, tensor in state.items():
        if key.startswith(f"{own}.{end - 1}."):
            weights[key.replace(f"{own}.{end - 1}", "last", 1)] = tensor
        elif key.startswith(f"{own}."):
            weights[_name(key, names, -shared)] = tensor
        elif key.startswith("dec_shared."):
            weights[_name(key, {}, 0)] = tensor
    return config, weights


def _front(state: Mapping[str, Tensor], own: str) -> int:
    """Counts the convolutions before an encoder's first residual block, which has a second convolution."""
    residual = [int(match[1]) for key in state if (match := re.match(rf"{own}\.(\d+)\.model\.3\.", key))]
    return min(residual) if residual else count(state, rf"{own}\.(\d+)\.")


def _name(key: str, convolutions: Mapping[str, str], first: int) -> str:
    """Gives our name of a key `<part>.<number>.model.<0 or 3>.<parameter>`; block 0 of ours has the number `first`."""
    match = re.fullmatch(r"(\w+)\.(\d+)\.model\.([03])\.(\w+)", key)
    if match is None:
        return key
    part, number, layer, parameter = match.groups()
    if f"{part}.{number}" in convolutions:
        return f"{convolutions[f'{part}.{number}']}.{parameter}"
    return f"blocks.{int(number) - first}.{'first' if layer == '0' else 'second'}.{parameter}"
