"""Networks of EGSC-IT (Ma et al. 2019, arXiv:1805.11145): translation whose style follows an exemplar.

A's encoder, shared blocks and B's decoder translate from A to B, as in UNIT (Liu et al. 2017). Before B's decoder a
mask from the picture's own features keeps semantics apart, and the exemplar's statistics set the style (section 3).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.kernels import norm_act, tiled
from i2i_rt.models.edges import run
from i2i_rt.models.norm import AffineInstanceNorm
from i2i_rt.models.tensorflow import AnySameConv2d, to_torch

Domain = Literal["A", "B"]
LEAKY = nn.LeakyReLU(0.2)
NOISE_PERIOD = 32  # places after which the fixed noise repeats


@dataclass(frozen=True)
class EgscitGeneratorConfig:
    """Rebuilds an `EgscitGenerator`, together with its weights."""

    in_channels: int = 3
    out_channels: int = 3
    width: int = 64  # channels after the first convolution; doubled at each reduction
    reductions: int = 2  # 0 for digits
    encoder_blocks: int = 3
    shared_encoder_blocks: int = 1
    shared_decoder_blocks: int = 1
    decoder_blocks: int = 3
    mask_low: float = 0.5  # the least that a mask leaves of a feature
    noise_seed: int | None = 0  # picks the noise in the shared code; None leaves it out

    def __post_init__(self) -> None:
        if self.width < 1 or self.reductions < 0:
            raise I2IError(f"width is {self.width} and reductions is {self.reductions}; they must be at least 1 and 0")


@dataclass(frozen=True)
class EgscitStyleEncoderConfig:
    """Rebuilds an `EgscitStyleEncoder`, together with its weights."""

    in_channels: int = 3
    width: int = 64
    reductions: int = 2
    blocks: int = 3


@dataclass(frozen=True)
class EgscitAutoencoderConfig:
    """Rebuilds an `EgscitAutoencoder`, together with its weights."""

    in_channels: int = 3
    out_channels: int = 3
    width: int = 64
    reductions: int = 2
    encoder_blocks: int = 3
    shared_encoder_blocks: int = 1
    shared_decoder_blocks: int = 1
    decoder_blocks: int = 3


@dataclass(frozen=True)
class EgscitDiscriminatorConfig:
    """Rebuilds an `EgscitDiscriminator`, together with its weights."""

    in_channels: int = 3
    widths: tuple[int, ...] = (64, 128, 256, 512)


class ResidualBlock(nn.Module):
    """`x + conv(relu(conv(x)))` on reflected edges."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.conv2(functional.relu(self.conv1(x)))
        return result


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """Makes `count` blocks in a row."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


class Encoder(nn.Module):
    """`[N, 3, H, W]` to features `[N, C, H / 2^r, W / 2^r]` after the last residual block."""

    def __init__(self, in_channels: int, width: int, reductions: int, blocks: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(reductions + 1)]
        self.convs = nn.ModuleList([nn.Conv2d(in_channels, width, 7, padding=3, padding_mode="reflect")])
        for channels in widths[:-1]:
            self.convs.append(nn.Conv2d(channels, 2 * channels, 3, 2, 1, padding_mode="reflect"))
        self.blocks = residual_blocks(widths[-1], blocks)

    def forward(self, image: Tensor) -> Tensor:
        for convolution in self.convs:
            image = functional.leaky_relu(convolution(image), 0.2)
        result: Tensor = self.blocks(image)
        return result


class Decoder(nn.Module):
    """Features `[N, C, h, w]` to an image in [-1, 1], `2^r` times as large."""

    def __init__(self, out_channels: int, width: int, reductions: int, blocks: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(reductions, -1, -1)]
        self.blocks = residual_blocks(widths[0], blocks)
        self.deconvs = nn.ModuleList(nn.ConvTranspose2d(channels, channels // 2, 3, 2) for channels in widths[:-1])
        self.last = nn.Conv2d(widths[-1], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        for deconvolution in self.deconvs:
            # TensorFlow's SAME cuts the last row and column off
            x = functional.leaky_relu(deconvolution(x)[:, :, :-1, :-1], 0.2)
        return torch.tanh(self.last(x))


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the mean and variance of each plane of `[N, C, H, W]`, `[N, C, 1, 1]` in float32."""
    variance, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)
    return mean, variance


def restyle(x: Tensor, style: Tensor, mask: Tensor | None = None) -> Tensor:
    """Gives masked features the exemplar's statistics, `style` `[N, 2C]`: factors less one, then shifts.

    As the official code has it, the features are divided by their variance, not by its root. Planes of one value,
    where that would be a division by nothing, come out as the shift alone.
    """
    gamma, beta = style.float().chunk(2, 1)
    return norm_act(x, gamma, beta, mask=mask, eps=1e-6, one_plus=True, by_variance=True)


class EgscitStyleEncoder(nn.Module):
    """Gives the style `[N, 2C]` of exemplars `[N, 3, H, W]` in [-1, 1]: statistics of their features, in float32."""

    def __init__(self, config: EgscitStyleEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2**config.reductions
        self.low = 4 * self.multiple
        self.style_size = 2 * config.width * self.multiple
        self.features = Encoder(config.in_channels, config.width, config.reductions, config.blocks)

    def forward(self, image: Tensor) -> Tensor:
        mean, variance = moments(self.features(image))
        return torch.cat([mean - 1, variance], 1)[:, :, 0, 0]


class EgscitGenerator(nn.Module):
    """Translates `[N, 3, H, W]` in [-1, 1] with a style `[N, 2C]`; H and W are multiples of `2 ** reductions`.

    The official code adds noise from N(0, 1) to the shared code at test time too, and the decoder has never seen a
    code without it; here one draw, repeated periodically, serves all images, so that videos do not flicker.
    """

    def __init__(self, config: EgscitGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2**config.reductions
        self.low = 4 * self.multiple
        channels = config.width * self.multiple
        self.style_size = 2 * channels
        self.encoder = Encoder(config.in_channels, config.width, config.reductions, config.encoder_blocks)
        self.shared_encoder = residual_blocks(channels, config.shared_encoder_blocks)
        self.shared_decoder = residual_blocks(channels, config.shared_decoder_blocks)
        self.decoder = Decoder(config.out_channels, config.width, config.reductions, config.decoder_blocks)
        self.mask_features = Encoder(config.in_channels, config.width, config.reductions, config.encoder_blocks)
        self.noise: Tensor | None
        noise = None
        if config.noise_seed is not None:
            generator = np.random.Generator(np.random.PCG64(config.noise_seed))
            shape = (1, channels, NOISE_PERIOD, NOISE_PERIOD)
            noise = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
        self.register_buffer("noise", noise, persistent=False)

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        return self.decode(self.encode(image), mask=self.mask(image), style=style)

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Gives the shared code `[N, C, h, w]` with `noise` of its shape, by default the fixed one."""
        code: Tensor = self.shared_encoder(self.encoder(image))
        if noise is None and self.noise is not None:
            noise = tiled(self.noise, code)
        return code if noise is None else code + noise.to(code.dtype)

    def mask(self, image: Tensor) -> Tensor:
        """Gives what to multiply features with, `[N, C, h, w]` in [`mask_low`, 1]."""
        low = self.config.mask_low
        return torch.sigmoid(self.mask_features(image)) * (1 - low) + low

    def decode(self, code: Tensor, *, mask: Tensor | None = None, style: Tensor | None = None) -> Tensor:
        """Gives the image of a shared code, masked and in a style; either may be left out."""
        x = self.shared_decoder(code)
        if style is not None:
            x = restyle(x, style, mask)
        elif mask is not None:
            x = x * mask
        result: Tensor = self.decoder(x)
        return result


class EgscitAutoencoder(nn.Module):
    """Encodes and decodes images of one domain, `[N, 3, H, W]` in [-1, 1]; its encoder then gives masks and styles."""

    def __init__(self, config: EgscitAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.width * 2**config.reductions
        self.encoder = Encoder(config.in_channels, config.width, config.reductions, config.encoder_blocks)
        self.shared_encoder = residual_blocks(channels, config.shared_encoder_blocks)
        self.shared_decoder = residual_blocks(channels, config.shared_decoder_blocks)
        self.decoder = Decoder(config.out_channels, config.width, config.reductions, config.decoder_blocks)

    def forward(self, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Gives the reconstruction and the code, which has `noise` of its shape added to it."""
        code = self.shared_encoder(self.encoder(image)) + noise
        return self.decoder(self.shared_decoder(code)), code


class EgscitDiscriminator(nn.Module):
    """Scores `[N, 3, H, W]` in [-1, 1], `[N, 1, h, w]`. Activations come twice, and after the scores too."""

    def __init__(self, config: EgscitDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        channels = config.in_channels
        for step, wider in enumerate(config.widths):
            self.convs.append(AnySameConv2d(channels, wider, 4, 2))
            self.norms.append(AffineInstanceNorm(wider) if step else nn.Identity())
            channels = wider
        self.scores = nn.Conv2d(channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        for convolution, norm in zip(self.convs, self.norms, strict=True):
            image = run([norm, LEAKY], functional.leaky_relu(convolution(image), 0.2))
        return functional.leaky_relu(self.scores(image), 0.2)


def read_official_generator(
    state: Mapping[str, Tensor], source: Domain, target: Domain
) -> tuple[EgscitGeneratorConfig, dict[str, Tensor]]:
    """Finds the config of the way from one domain to another in the shapes of TensorFlow's variables.

    The same domain twice gives the way that reconstructs.

    Raises:
        CheckpointError: where a part is missing, or the network normalises, which no published one does.
    """
    parts = {
        f"UNIT/encoder_{source}": "encoder",
        "UNIT/share_encoder": "shared_encoder",
        "UNIT/share_generator": "shared_decoder",
        f"UNIT/generator_{target}": "decoder",
        f"VAEGAN_recon_{source}/part1": "mask_features",
    }
    weights = _read(state, parts)
    encoder = f"UNIT/encoder_{source}"
    first = state[f"{encoder}/conv_0/conv2d/kernel"]
    config = EgscitGeneratorConfig(
        in_channels=first.shape[2],
        out_channels=weights["decoder.last.weight"].shape[0],
        width=first.shape[3],
        reductions=_count(state, encoder, "conv") - 1,
        encoder_blocks=_count(state, encoder, "resblock"),
        shared_encoder_blocks=_count(state, "UNIT/share_encoder", "resblock"),
        shared_decoder_blocks=_count(state, "UNIT/share_generator", "resblock"),
        decoder_blocks=_count(state, f"UNIT/generator_{target}", "resblock"),
    )
    return config, weights


def read_official_style_encoder(
    state: Mapping[str, Tensor], domain: Domain
) -> tuple[EgscitStyleEncoderConfig, dict[str, Tensor]]:
    """Finds the config of a domain's feature network in the shapes of TensorFlow's variables.

    Raises:
        CheckpointError: where it is missing.
    """
    scope = f"VAEGAN_recon_{domain}/part1"
    weights = _read(state, {scope: "features"})
    first = state[f"{scope}/conv_0/conv2d/kernel"]
    config = EgscitStyleEncoderConfig(
        in_channels=first.shape[2],
        width=first.shape[3],
        reductions=_count(state, scope, "conv") - 1,
        blocks=_count(state, scope, "resblock"),
    )
    return config, weights


def read_official_autoencoder(
    state: Mapping[str, Tensor], domain: Domain
) -> tuple[EgscitAutoencoderConfig, dict[str, Tensor]]:
    """Finds the config of a domain's autoencoder, of the first stage of the training.

    Raises:
        CheckpointError: where a part is missing.
    """
    scope = f"VAEGAN_recon_{domain}"
    names = ("encoder", "shared_encoder", "shared_decoder", "decoder")
    weights = _read(state, {f"{scope}/part{number}": name for number, name in enumerate(names, 1)})
    first = state[f"{scope}/part1/conv_0/conv2d/kernel"]
    config = EgscitAutoencoderConfig(
        in_channels=first.shape[2],
        out_channels=weights["decoder.last.weight"].shape[0],
        width=first.shape[3],
        reductions=_count(state, f"{scope}/part1", "conv") - 1,
        encoder_blocks=_count(state, f"{scope}/part1", "resblock"),
        shared_encoder_blocks=_count(state, f"{scope}/part2", "resblock"),
        shared_decoder_blocks=_count(state, f"{scope}/part3", "resblock"),
        decoder_blocks=_count(state, f"{scope}/part4", "resblock"),
    )
    return config, weights


def read_official_discriminator(
    state: Mapping[str, Tensor], scope: str
) -> tuple[EgscitDiscriminatorConfig, dict[str, Tensor]]:
    """Finds the config of the discriminator in `scope`, such as `UNIT/discriminator_A`."""
    kernels = [state[f"{scope}/conv_{n}/weights"] for n in range(_count(state, scope, "conv"))]
    config = EgscitDiscriminatorConfig(kernels[0].shape[2], tuple(kernel.shape[3] for kernel in kernels))
    names = {"conv_": "convs.", "ins_norm_": "norms.", "dis_logit": "scores"}
    parameters = {"weights": "weight", "biases": "bias", "gamma": "weight", "beta": "bias"}
    weights = {}
    for name, tensor in state.items():
        if match := re.fullmatch(rf"{re.escape(scope)}/(conv_|ins_norm_|dis_logit)(\d*)/(\w+)", name):
            part, number, parameter = match.groups()
            weights[f"{names[part]}{number}.{parameters.get(parameter, parameter)}"] = to_torch(tensor)
    return config, weights


def _count(state: Mapping[str, Tensor], scope: str, layer: str) -> int:
    return len({match[1] for name in state if (match := re.match(rf"{re.escape(scope)}/{layer}_(\d+)/", name))})


# the ends of official names -> ours
NAMES = (
    (r"conv_(\d+)/conv2d", r"convs.\1"),
    (r"resblock_(\d+)/res(\d)/conv2d", r"blocks.\1.conv\2"),
    (r"deconv_(\d+)/conv2d_transpose", r"deconvs.\1"),
    (r"deconv_tanh/conv2d_transpose", r"last"),
)


def _read(state: Mapping[str, Tensor], parts: Mapping[str, str]) -> dict[str, Tensor]:
    """Gives the variables of several scopes under our names, in PyTorch's layout.

    Raises:
        CheckpointError: where a scope is empty, or has layers that are not known here.
    """
    weights = {}
    for scope, part in parts.items():
        found = [name for name in state if name.startswith(f"{scope}/")]
        if not found:
            raise CheckpointError(
                f"the checkpoint has no variable {scope}/…; EGSC-IT's second stage saves UNIT/…, its first stage "
                "VAEGAN_recon_A/… and VAEGAN_recon_B/…, and both are needed"
            )
        for name in found:
            module, _, parameter = name.removeprefix(f"{scope}/").rpartition("/")
            ours = next((re.sub(old, new, module) for old, new in NAMES if re.fullmatch(old, module)), None)
            if ours is None or parameter not in ("kernel", "bias"):
                raise CheckpointError(f"the checkpoint has {name!r}, a layer that no published EGSC-IT network has")
            if part.startswith("shared"):
                ours = ours.removeprefix("blocks.")
            value = to_torch(state[name])
            if ours == "last" and parameter == "kernel":  # a transposed convolution of one place is a plain one
                value = value.transpose(0, 1).contiguous()
            weights[f"{part}.{ours}.{'weight' if parameter == 'kernel' else 'bias'}"] = value
    return weights
