"""SinCUT's pair: StyleGAN2-type generator and discriminator (section 3.3 and appendix of Park et al. 2020).

Layers are those of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958): equalised learning rate, residual blocks with
blurred reductions, one demodulated up-sampling convolution with noise. There is no style: nothing modulates.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError
from i2i_rt.models.norm import tiled
from i2i_rt.models.resample import Blur

BLUR_TAPS = (1, 3, 3, 1)


@dataclass(frozen=True)
class SinCUTGeneratorConfig:
    """Rebuilds a `SinCUTGenerator`, together with its weights."""

    in_channels: int = 3
    out_channels: int = 3
    width: int = 80  # channels at the input's resolution
    inner_width: int = 160  # channels at half the resolution
    blocks: int = 3  # residual blocks on each side of the middle
    noise_seed: int | None = 0  # picks the noise that is used at test time; None leaves it out


@dataclass(frozen=True)
class SinCUTDiscriminatorConfig:
    """Rebuilds a `SinCUTDiscriminator`, together with its weights."""

    in_channels: int = 3
    widths: tuple[int, ...] = (32, 64, 128, 256, 384)  # at 64, 32, 16, 8 and 4 pixels


def activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2) * math.sqrt(2)


class EqualizedConv(nn.Module):
    """Convolution whose stored weight has variance one; `down` blurs and halves, `activated` adds bias and ReLU."""

    def __init__(
        self, channels: int, out_channels: int, size: int, *, down: bool = False, activated: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, channels, size, size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if activated else None
        self.scale = 1 / math.sqrt(channels * size**2)
        self.blur = Blur(channels, BLUR_TAPS, (2, 2) if size == 3 else (1, 1)) if down else None
        self.stride, self.padding = (2, 0) if down else (1, size // 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.blur is not None:
            x = self.blur(x)
        x = functional.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)
        return x if self.bias is None else activate(x)


class EqualizedLinear(nn.Module):
    """Linear layer whose stored weight has variance one; the bias is stored as it is used."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight / math.sqrt(self.weight.shape[1]), self.bias)


class EqualizedResidualBlock(nn.Module):
    """`(f(x) + skip(x)) / sqrt(2)`, at half the resolution where `down`."""

    def __init__(self, channels: int, out_channels: int, *, down: bool) -> None:
        super().__init__()
        self.conv1 = EqualizedConv(channels, channels, 3)
        self.conv2 = EqualizedConv(channels, out_channels, 3, down=down)
        self.skip = EqualizedConv(channels, out_channels, 1, down=True, activated=False) if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)
        return result


class DemodulatedUpsample(nn.Module):
    """Doubles height and width by a transposed convolution of unit-norm filters, adds noise, activates."""

    PERIOD = 128

    def __init__(self, channels: int, out_channels: int, noise_seed: int | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, channels, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.blur = Blur(out_channels, BLUR_TAPS, (1, 1), gain=4)
        noise = None
        if noise_seed is not None:
            drawn = np.random.Generator(np.random.PCG64(noise_seed)).standard_normal((1, 1, self.PERIOD, self.PERIOD))
            noise = torch.from_numpy(drawn.astype("float32"))
        self.noise: Tensor | None
        self.register_buffer("noise", noise, persistent=False)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """`noise` `[N, 1, 2H, 2W]` stands in for what is drawn in training and kept fixed at test time."""
        weight = self.weight / math.sqrt(self.weight[0].numel())
        weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        x = self.blur(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        if noise is None and self.training:
            noise = torch.randn_like(x[:, :1])
        elif noise is None and self.noise is not None:
            noise = tiled(self.noise, x).to(x.dtype)
        if noise is not None:
            x = x + self.noise_strength * noise
        return activate(x + self.bias[:, None, None])


class SinCUTGenerator(nn.Module):
    """Translates `[N, 3, H, W]` in [-1, 1]; H, W multiples of 4. There is no tanh: values may leave [-1, 1].

    The official script draws new noise for every image; here one draw, repeated periodically, serves all images,
    so that frames of a video do not flicker.
    """

    multiple = 4
    low = 16

    def __init__(self, config: SinCUTGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width, inner = config.width, config.inner_width
        self.encoder = nn.Sequential(
            nn.Identity(),
            EqualizedConv(config.in_channels, width, 1),
            EqualizedResidualBlock(width, inner, down=True),
            *(EqualizedResidualBlock(inner, inner, down=False) for _ in range(config.blocks)),
        )
        self.decoder = nn.Sequential(
            *(EqualizedResidualBlock(inner, inner, down=False) for _ in range(config.blocks)),
            DemodulatedUpsample(inner, width, config.noise_seed),
            EqualizedConv(width, config.out_channels, 1),
        )

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.finish(image, -1, noise)

    def finish(self, feature: Tensor, index: int, noise: Tensor | None = None) -> Tensor:
        """Gives the translated image from the output of the encoder's layer `index`, one of `features`."""
        x = self.encoder[index + 1 :](feature)
        for layer in self.decoder:
            x = layer(x, noise) if isinstance(layer, DemodulatedUpsample) else layer(x)
        result: Tensor = x
        return result

    def features(self, image: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Gives the outputs of the encoder's layers named by `indices` (SinCUT contrasts 0, 2 and 4)."""
        found = {}
        for index, layer in enumerate(self.encoder[: max(indices) + 1]):
            image = layer(image)
            found[index] = image
        return [found[index] for index in indices]

    def feature_channels(self, indices: Sequence[int]) -> list[int]:
        """Gives the channels of each tensor of `features`."""
        known = {0: self.config.in_channels, 1: self.config.width}
        return [known.get(index, self.config.inner_width) for index in indices]


class SinCUTDiscriminator(nn.Module):
    """Gives one raw score for each crop: `[N, 3, 64, 64]` in [-1, 1] to `[N, 1]`."""

    def __init__(self, config: SinCUTDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.layers = nn.Sequential(
            EqualizedConv(config.in_channels, widths[0], 1),
            *(EqualizedResidualBlock(a, b, down=True) for a, b in itertools.pairwise(widths)),
        )
        self.final_conv = EqualizedConv(widths[-1], widths[-1], 3)
        self.final_linear = nn.Sequential(EqualizedLinear(widths[-1] * 16, widths[-1]), EqualizedLinear(widths[-1], 1))

    def forward(self, image: Tensor) -> Tensor:
        hidden = self.final_conv(self.layers(image)).flatten(1)
        score: Tensor = self.final_linear[1](activate(self.final_linear[0](hidden)))
        return score


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names official tensors as here: a layer's weight and bias lie in one module, biases are `[C]`."""
    weights = {}
    for key, tensor in state.items():
        if key.endswith(".kernel"):  # the fixed blur
            continue
        name = re.sub(r"^convs\.", "layers.", key).replace(".convs.", ".")
        name = name.replace(".noise.weight", ".noise_strength").replace(".activate.", ".").replace(".conv.", ".")
        if not name.startswith("final_linear"):
            # a layer's parts are numbered below it: encoder.1.0.weight, encoder.2.conv1.1.bias
            name = re.sub(r"^(.+\.(?:\d+|conv1|conv2|skip)|final_conv)\.\d+\.(weight|bias)$", r"\1.\2", name)
            tensor = tensor.flatten() if name.endswith(".bias") else tensor
        weights[name] = tensor.squeeze(0) if tensor.ndim == 5 else tensor
    return weights


def read_official_generator(state: Mapping[str, Tensor]) -> tuple[SinCUTGeneratorConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no SinCUT generator.

    Raises:
        CheckpointError: where the generator has more than the one reduction that SinCUT uses.
    """
    if "encoder.convs.1.0.weight" not in state:
        return None
    reductions = [key for key in state if re.fullmatch(r"encoder\.convs\.\d+\.skip\.1\.weight", key)]
    if reductions != ["encoder.convs.2.skip.1.weight"]:
        raise CheckpointError(f"this StyleGAN2-type generator has {len(reductions)} reductions; SinCUT's has 1")
    ends = [key for key in state if re.fullmatch(r"decoder\.convs\.\d+\.0\.weight", key)]
    if len(ends) != 1:
        raise CheckpointError("this StyleGAN2-type generator has no final 1x1 convolution; the file is not complete")
    blocks = [key for key in state if re.fullmatch(r"encoder\.convs\.\d+\.conv1\.0\.weight", key)]
    config = SinCUTGeneratorConfig(
        in_channels=state["encoder.convs.1.0.weight"].shape[1],
        out_channels=state[ends[0]].shape[0],
        width=state["encoder.convs.1.0.weight"].shape[0],
        inner_width=state["encoder.convs.2.skip.1.weight"].shape[0],
        blocks=len(blocks) - 1,
    )
    return config, _renamed(state)


def read_official_discriminator(
    state: Mapping[str, Tensor],
) -> tuple[SinCUTDiscriminatorConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no SinCUT discriminator."""
    if "convs.0.0.weight" not in state or "final_linear.1.weight" not in state:
        return None
    widths = [state["convs.0.0.weight"].shape[0]]
    while f"convs.{len(widths)}.skip.1.weight" in state:
        widths.append(state[f"convs.{len(widths)}.skip.1.weight"].shape[0])
    return SinCUTDiscriminatorConfig(state["convs.0.0.weight"].shape[1], tuple(widths)), _renamed(state)
