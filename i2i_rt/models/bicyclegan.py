"""Networks of BicycleGAN (Zhu et al. 2017, arXiv:1711.11586, appendix): U-Net with a style, encoders, discriminator."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.models.edges import Chain, run
from i2i_rt.models.norm import norm_layer
from i2i_rt.models.patchgan import PatchDiscriminator, PatchDiscriminatorConfig

NormOrNone = Literal["instance", "batch", "none"]
Activation = Literal["relu", "lrelu", "elu"]
StyleAt = Literal["input", "all"]
Upsample = Literal["basic", "bilinear"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "lrelu": lambda: nn.LeakyReLU(0.2), "elu": nn.ELU}
# the official places of an encoder block's learned layers -> its norm
BLOCKS = {(0, 2, 3, 5): "batch", (2, 5): "instance", (1, 3): "none"}
POOL = 8  # the encoders' last pooling has a fixed size, which fixes the size of their images


@dataclass(frozen=True)
class BicycleGANGeneratorConfig:
    """Rebuilds a `BicycleGANGenerator`, together with its weights."""

    in_channels: int = 3  # 1 for drawings
    out_channels: int = 3
    style_size: int = 8
    width: int = 64  # channels of the outermost level; doubled inwards up to 8 times
    depth: int = 8  # reductions: 8 for 256x256 images, 7 for 128x128
    style_at: StyleAt = "all"  # where the style enters: beside the image, or at every reduction
    norm: NormOrNone = "instance"
    upsample: Upsample = "basic"  # transposed convolutions, or bilinear and a convolution
    activation: Activation = "relu"  # on the way up

    def __post_init__(self) -> None:
        if self.depth < 3:
            raise I2IError(f"depth is {self.depth}; BicycleGAN's U-Net has at least 3 reductions")
        _check("norm", self.norm, NormOrNone)
        _check("style_at", self.style_at, StyleAt)
        _check("upsample", self.upsample, Upsample)
        _check("activation", self.activation, Activation)

    def channels(self, level: int) -> int:
        """Gives the channels after the reduction of `level`, 0 being the outermost."""
        return self.width * (1 << min(level, 3))


@dataclass(frozen=True)
class BicycleGANEncoderConfig:
    """Rebuilds a `BicycleGANEncoder`, together with its weights."""

    in_channels: int = 3
    style_size: int = 8
    widths: tuple[int, ...] = (64, 128, 192, 256, 256)  # after each reduction
    residual: bool = True  # residual blocks after the first convolution, or convolutions all the way
    norm: NormOrNone = "instance"
    activation: Activation = "lrelu"
    variance: bool = True  # whether the encoder also gives the logarithm of the style's variance

    def __post_init__(self) -> None:
        if len(self.widths) < 2:
            raise I2IError(f"widths has {len(self.widths)} entries; BicycleGAN's encoder has at least 2 reductions")
        _check("norm", self.norm, NormOrNone)
        _check("activation", self.activation, Activation)


@dataclass(frozen=True)
class BicycleGANDiscriminatorConfig:
    """Rebuilds a `BicycleGANDiscriminator`, together with its weights."""

    in_channels: int = 3
    widths: tuple[int, ...] = (64, 32)  # of each scale's first convolution; every scale sees half the size
    reductions: int = 3
    norm: Literal["instance", "batch"] = "instance"
    bias: bool = True  # also of the convolutions before batch norm


def _check(name: str, value: str, known: object) -> None:
    if value not in get_args(known):
        raise I2IError(f"{name} is {value!r}; it must be one of {', '.join(get_args(known))}")


def _norm(norm: NormOrNone, channels: int) -> nn.Module:
    # the official test script switches to evaluation: batch norm uses its running statistics
    return nn.Identity() if norm == "none" else norm_layer(norm, channels, "running")


class BicycleGANGenerator(nn.Module):
    """Translates `[N, C, H, W]` in [-1, 1] with a style `[N, Z]`; H and W are multiples of `2 ** depth`.

    With the style at every reduction, a level's skip connection carries its input; with the style beside the image,
    it carries the rectified input, because the official activation there works in place.
    """

    def __init__(self, config: BicycleGANGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = self.low = 2**config.depth
        innermost = config.depth - 1
        self.activation = ACTIVATIONS[config.activation]()
        self.down, self.down_norm = nn.ModuleList(), nn.ModuleList()
        self.up, self.up_norm = nn.ModuleList(), nn.ModuleList()
        for level in range(config.depth):
            channels = config.channels(level)
            outer = config.channels(level - 1) if level else config.in_channels
            outer_up = config.channels(level - 1) if level else config.out_channels
            style = config.style_size if level == 0 or config.style_at == "all" else 0
            skip = 1 if level == innermost else 2  # every level but the innermost also gets its own skip
            self.down.append(nn.Conv2d(outer + style, channels, 4, 2, 1))
            self.down_norm.append(nn.Identity() if level in (0, innermost) else _norm(config.norm, channels))
            self.up.append(
                nn.ConvTranspose2d(skip * channels, outer_up, 4, 2, 1)
                if config.upsample == "basic"
                else nn.Conv2d(skip * channels, outer_up, 3, padding=1, padding_mode="reflect")
            )
            self.up_norm.append(_norm(config.norm, outer_up) if level else nn.Identity())

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        return torch.tanh(self.inside(image, style.to(image.dtype), 0))

    def inside(self, x: Tensor, style: Tensor, level: int) -> Tensor:
        """Gives what the levels from `level` inwards make of `x`, without the skip connection round them."""
        config = self.config
        if level == 0 or config.style_at == "all":
            x = torch.cat([x, style[:, :, None, None].expand(x.shape[0], -1, *x.shape[2:])], 1)
        down = self.down_norm[level](self.down[level](functional.leaky_relu(x, 0.2) if level else x))
        if level < config.depth - 1:
            skip = down if config.style_at == "all" else functional.leaky_relu(down, 0.2)
            down = torch.cat([self.inside(down, style, level + 1), skip], 1)
        up = self.activation(down)
        if config.upsample == "bilinear":
            up = functional.interpolate(up, scale_factor=2, mode="bilinear", align_corners=False)
        result: Tensor = self.up_norm[level](self.up[level](up))
        return result


class EncoderBlock(nn.Module):
    """`pool(x)` through a 1x1 convolution, plus two normalised and activated 3x3 convolutions of `x`, pooled."""

    def __init__(self, config: BicycleGANEncoderConfig, channels: int, wider: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(config.norm, channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = _norm(config.norm, channels), nn.Conv2d(channels, wider, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, wider, 1)
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, x: Tensor) -> Tensor:
        inner = run([self.norm1, self.activation, self.conv1, self.norm2, self.activation, self.conv2], x)
        result: Tensor = functional.avg_pool2d(inner, 2) + self.shortcut(functional.avg_pool2d(x, 2))
        return result


class BicycleGANEncoder(nn.Module):
    """Gives the style `[N, Z]` of images `[N, C, size, size]` in [-1, 1]: the mean of their posterior."""

    def __init__(self, config: BicycleGANEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.size = POOL * 2 ** len(config.widths)
        first, last = config.widths[0], config.widths[-1]
        layers: list[nn.Module] = [nn.Conv2d(config.in_channels, first, 4, 2, 1)]
        if not config.residual:
            layers.append(ACTIVATIONS[config.activation]())
        for channels, wider in zip(config.widths, config.widths[1:], strict=False):
            if config.residual:
                layers.append(EncoderBlock(config, channels, wider))
            else:
                convolution = nn.Conv2d(channels, wider, 4, 2, 1)
                layers += [convolution, _norm(config.norm, wider), ACTIVATIONS[config.activation]()]
        if config.residual:
            layers.append(ACTIVATIONS[config.activation]())
        self.layers = Chain(*layers, nn.AvgPool2d(POOL))
        self.mean = nn.Linear(last, config.style_size)
        self.log_variance = nn.Linear(last, config.style_size) if config.variance else None

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.mean(self.layers(image).flatten(1))
        return result

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Gives the mean and the logarithm of the variance, `[N, Z]` each, in float32, for training."""
        assert self.log_variance is not None
        features = self.layers(image).flatten(1)
        return self.mean(features).float(), self.log_variance(features).float()


class BicycleGANDiscriminator(nn.Module):
    """PatchGANs on the image and on halved copies of it: `[N, C, H, W]` in [-1, 1] to raw scores for each scale."""

    def __init__(self, config: BicycleGANDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(
            PatchDiscriminator(
                PatchDiscriminatorConfig(config.in_channels, width, config.reductions, config.norm, bias=config.bias)
            )
            for width in config.widths
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        scores = []
        for index, scale in enumerate(self.scales):
            if index:
                image = functional.avg_pool2d(image, 3, 2, 1, count_include_pad=False)
            scores.append(scale(image))
        return scores


def read_official_generator(
    state: Mapping[str, Tensor], style_size: int | None = None
) -> tuple[BicycleGANGeneratorConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no generator of BicycleGAN.

    Where the style enters beside the image only, shapes give just the sum of both; `style_size` says how much of it
    is style. The activation leaves no trace, nor does the lack of normalisation where the style enters everywhere.

    Raises:
        CheckpointError: where levels are missing, or the style's size is needed and not given.
    """
    everywhere = any(key.startswith("model.submodule.") for key in state)
    if not everywhere and not any(key.startswith("model.model.") for key in state):
        return None
    prefix, levels = "model." if everywhere else "model.model.", []
    while prefix:
        found, prefix = _level(state, prefix, everywhere)
        levels.append(found)
    first, widest = state[f"{levels[0]['down']}.weight"], len(levels) - 1
    if everywhere:
        style_size = state[f"{levels[1]['down']}.weight"].shape[1] - first.shape[0] if widest else None
    elif style_size is None:
        raise CheckpointError("the generator takes the style beside the image, so its size has to be given")
    if style_size is None or style_size < 1 or first.shape[1] <= style_size:
        # not the file's mistake: shapes do not tell a style beside the image
        raise I2IError(
            f"a style of {style_size} numbers leaves no image of the {first.shape[1]} channels that the generator's "
            "first convolution takes; --set nz=… gives the style's size"
        )
    last = state[f"{levels[0]['up']}.weight"]
    basic = last.shape[2] == 4
    batch_norm = any("down_norm" in names for names in levels)
    gap = 2 if batch_norm or everywhere else _gap(levels[1]["down"], state)
    config = BicycleGANGeneratorConfig(
        in_channels=first.shape[1] - style_size,
        out_channels=last.shape[1] if basic else last.shape[0],
        style_size=style_size,
        width=first.shape[0],
        depth=len(levels),
        style_at="all" if everywhere else "input",
        norm="batch" if batch_norm else "instance" if gap == 2 else "none",
        upsample="basic" if basic else "bilinear",
    )
    names = {f"{old}.": f"{part}.{level}." for level, found in enumerate(levels) for part, old in found.items()}
    return config, _renamed(state, names, batch_norm)


def _level(state: Mapping[str, Tensor], prefix: str, everywhere: bool) -> tuple[dict[str, str], str]:
    """Gives one level's official names by ours, and the prefix of the level within, empty where there is none."""
    pattern = r"((?:down|up)\.\d+)\.weight" if everywhere else r"(\d+)\.weight"
    own = [match[1] for key in state if (match := re.fullmatch(re.escape(prefix) + pattern, key))]
    own.sort(key=lambda name: int(name.split(".")[-1]) + (100 if name.startswith("up") else 0))
    convolutions = [f"{prefix}{name}" for name in own if state[f"{prefix}{name}.weight"].ndim == 4]
    if len(convolutions) != 2:
        raise CheckpointError(f"the generator's level {prefix!r} has {len(convolutions)} convolutions; it needs 2")
    found = {"down": convolutions[0], "up": convolutions[1]}
    order = [f"{prefix}{name}" for name in own]
    for name in order:
        if state[f"{name}.weight"].ndim == 1:
            found["down_norm" if order.index(name) < order.index(convolutions[1]) else "up_norm"] = name
    if everywhere:
        inside = f"{prefix}submodule."
    else:
        numbers = [match[1] for key in state if (match := re.match(re.escape(prefix) + r"(\d+)\.model\.", key))]
        inside = f"{prefix}{numbers[0]}.model." if numbers else ""
    return found, inside if any(key.startswith(inside) for key in state) else ""


def _gap(down: str, state: Mapping[str, Tensor]) -> int:
    """Gives how many places lie between a level's reduction and the level within; a norm takes one of them."""
    prefix, _, number = down.rpartition(".")
    inner = [int(match[1]) for key in state if (match := re.match(re.escape(prefix) + r"\.(\d+)\.model\.", key))]
    return inner[0] - int(number) if inner else 2


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str], batch_norm: bool) -> dict[str, Tensor]:
    """Gives a state dict under our names, by the beginnings of keys; old files' statistics of instance norm go."""
    weights = {}
    for key, tensor in state.items():
        module, dot, parameter = key.rpartition(".")
        if not batch_norm and parameter in ("running_mean", "running_var", "num_batches_tracked"):
            continue
        weights[names.get(module + dot, module + dot) + parameter] = tensor
    return weights


def read_official_encoder(
    state: Mapping[str, Tensor],
) -> tuple[BicycleGANEncoderConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no encoder of BicycleGAN.

    Raises:
        CheckpointError: where it is an encoder of an unknown kind.
    """
    if "conv.0.weight" not in state or "fc.0.weight" not in state:
        return None
    residual = any(".shortcut." in key for key in state)
    numbers = sorted({int(match[1]) for key in state if (match := re.match(r"conv\.(\d+)\.", key))})
    names = {"fc.0.": "mean.", "fcVar.0.": "log_variance.", "conv.0.": "layers.0."}
    widths = [state["conv.0.weight"].shape[0]]
    norm = "instance"
    if residual:
        for place, number in enumerate(numbers[1:], 1):
            old, new = f"conv.{number}.", f"layers.{place}."
            inside = {int(match[1]) for key in state if (match := re.match(re.escape(old) + r"conv\.(\d+)\.", key))}
            norm = BLOCKS.get(tuple(sorted(inside)), "")
            first, second = (1, 3) if norm == "none" else (2, 5)
            names |= {
                f"{old}conv.0.": f"{new}norm1.",
                f"{old}conv.{first}.": f"{new}conv1.",
                f"{old}conv.3.": f"{new}norm2.",
                f"{old}conv.{second}.0.": f"{new}conv2.",
                f"{old}shortcut.1.": f"{new}shortcut.",
            }
            if not norm or f"{old}shortcut.1.weight" not in state:
                raise CheckpointError(f"the encoder's block {old!r} is not complete, or of an unknown kind")
            widths.append(state[f"{old}shortcut.1.weight"].shape[0])
    else:
        convolutions = [n for n in numbers if state[f"conv.{n}.weight"].ndim == 4]
        learned = len(convolutions) < len(numbers)
        spaced = len(convolutions) > 2 and convolutions[2] - convolutions[1] == 3
        norm = "batch" if learned else "instance" if spaced else "none"
        for place, number in enumerate(convolutions[1:]):
            names[f"conv.{number}."] = f"layers.{2 + 3 * place}."
            if learned:
                names[f"conv.{number + 1}."] = f"layers.{3 + 3 * place}."
            widths.append(state[f"conv.{number}.weight"].shape[0])
    config = BicycleGANEncoderConfig(
        in_channels=state["conv.0.weight"].shape[1],
        style_size=state["fc.0.weight"].shape[0],
        widths=tuple(widths),
        residual=residual,
        norm=norm,  # type: ignore[arg-type]
        variance="fcVar.0.weight" in state,
    )
    return config, _renamed(state, names, norm == "batch")


def read_official_discriminator(
    state: Mapping[str, Tensor],
) -> tuple[BicycleGANDiscriminatorConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no discriminator of BicycleGAN."""
    heads = sorted(key for key in state if re.fullmatch(r"model(_\d+)?\.0\.weight", key))
    if not heads:
        return None
    scale = heads[0].removesuffix(".0.weight")
    tensors = {key: tensor for key, tensor in state.items() if key.startswith(f"{scale}.") and key.endswith("weight")}
    norms = any(tensor.ndim == 1 for tensor in tensors.values())
    config = BicycleGANDiscriminatorConfig(
        in_channels=state[heads[0]].shape[1],
        widths=tuple(state[head].shape[0] for head in heads),
        reductions=sum(tensor.ndim == 4 for tensor in tensors.values()) - 2,
        norm="batch" if norms else "instance",
        bias=f"{scale}.2.bias" in state,
    )
    names = {head.removesuffix("0.weight"): f"scales.{index}.layers." for index, head in enumerate(heads)}
    weights = {
        re.sub(r"^model(_\d+)?\.", lambda match: names[match[0]], key): tensor
        for key, tensor in state.items()
        if norms or not re.search(r"\.(running_mean|running_var|num_batches_tracked)$", key)
    }
    return config, weights
