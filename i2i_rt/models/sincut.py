"""SinCUT's pair: StyleGAN2-type generator and discriminator (section 3.3 and appendix of Park et al. 2020).

Layers are those of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958): equalised learning rate, residual blocks with
blurred reductions, one demodulated up-sampling convolution with noise. There is no style: nothing modulates.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from i2i_rt.errors import CheckpointError
from i2i_rt.models.modulated import EqualizedConv, EqualizedLinear, EqualizedResidualBlock, StyledConv, activate


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
            StyledConv(inner, width, up=True, noise_seed=config.noise_seed),
            EqualizedConv(width, config.out_channels, 1),
        )

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.finish(image, -1, noise)

    def finish(self, feature: Tensor, index: int, noise: Tensor | None = None) -> Tensor:
        """Gives the translated image from the output of the encoder's layer `index`, one of `features`."""
        x = self.encoder[index + 1 :](feature)
        for layer in self.decoder:
            x = layer(x, noise=noise) if isinstance(layer, StyledConv) else layer(x)
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
