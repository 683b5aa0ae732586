"""The segmentation networks of CyCADA (Hoffman et al. 2018, arXiv:1711.03213, section 4.2): DRN-26 and FCN8s.

They label translated street scenes. Both take RGB images in [0, 1] less ImageNet's mean, divided by its deviation,
and give a score for each class at every place.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.models import across
from i2i_rt.models.initialise import initialise
from i2i_rt.models.synchronized import SynchronizedBatchNorm

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures, RGB in [0, 1]


def normalised(image: Tensor) -> Tensor:
    """Gives images `[N, 3, H, W]` in [-1, 1] as the networks take them."""
    mean, deviation = (image.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return ((image + 1) / 2 - mean) / deviation


@dataclass(frozen=True)
class DilatedResnetConfig:
    """Rebuilds a `DilatedResnet`, together with its weights."""

    blocks: tuple[int, ...] = (1, 1, 2, 2, 2, 2, 1, 1)  # of each of the up to eight levels
    widths: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 512, 512)
    classes: int = 19

    def __post_init__(self) -> None:
        if not 5 <= len(self.blocks) == len(self.widths) <= 8 or min(self.blocks) < 1:
            raise I2IError("a dilated ResNet has five to eight levels, each with a width and at least one block")
        _check_classes(self.classes)


# of the eight levels: how much each reduces, how wide its convolutions reach, whether its blocks add their input
_STRIDES = (1, 2, 2, 2, 1, 1, 1, 1)
_DILATIONS = (1, 1, 1, 1, 2, 4, 2, 1)
_RESIDUAL = (True, True, True, True, True, True, False, False)


class DilatedBlock(nn.Module):
    """Two 3x3 convolutions with batch norm; where `residual`, the input is added before the last activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int, residual: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.first_norm = SynchronizedBatchNorm(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, dilation, dilation, bias=False)
        self.second_norm = SynchronizedBatchNorm(outputs)
        self.residual = residual
        self.skip: nn.Module = nn.Identity()
        if residual and (stride != 1 or inputs != outputs):
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), SynchronizedBatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inside: Tensor = self.second_norm(self.second(functional.relu(self.first_norm(self.first(x)))))
        return functional.relu(inside + self.skip(x) if self.residual else inside)


class DilatedResnet(nn.Module):
    """Scores `[N, classes, H, W]` of images `[N, 3, H, W]` (Yu et al. 2017, arXiv:1705.09914, DRN-A without pooling).

    An eighth of the resolution at most; then the convolutions reach wider instead.
    """

    multiple = 8
    low = 32

    def __init__(self, config: DilatedResnetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(3, config.widths[0], 7, padding=3, bias=False)
        self.stem_norm = SynchronizedBatchNorm(config.widths[0])
        self.levels = nn.ModuleList()
        inputs = config.widths[0]
        settings = zip(config.blocks, config.widths, _STRIDES, _DILATIONS, _RESIDUAL, strict=False)
        for blocks, width, stride, dilation, residual in settings:
            level = [DilatedBlock(inputs, width, stride, dilation, residual)]
            level += [DilatedBlock(width, width, 1, dilation, residual) for _ in range(blocks - 1)]
            self.levels.append(nn.Sequential(*level))
            inputs = width
        self.last = nn.Conv2d(inputs, config.classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = functional.relu(self.stem_norm(self.stem(image)))
        for level in self.levels:
            x = level(x)
        return functional.interpolate(self.last(x), image.shape[-2:], mode="bilinear", align_corners=True)


@dataclass(frozen=True)
class FCN8sConfig:
    """Rebuilds an `FCN8s`, together with its weights."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)  # of VGG16's five levels
    features: int = 4096
    classes: int = 19

    def __post_init__(self) -> None:
        if len(self.widths) != 5:
            raise I2IError(f"FCN8s has five levels, not {len(self.widths)}")
        _check_classes(self.classes)


_VGG_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each level
# the numbers of the convolutions among VGG16's layers: two for a convolution with its activation, one for pooling
_VGG_NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


class BilinearUpsample(nn.Module):
    """Enlarges `[N, C, h, w]` by a fixed transposed convolution of `2 * factor`, not cropped."""

    def __init__(self, factor: int, channels: int) -> None:
        super().__init__()
        self.factor, self.channels = factor, channels
        ramp = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
        self.register_buffer("kernel", (ramp[:, None] * ramp).repeat(channels, 1, 1, 1), persistent=False)
        self.kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv_transpose2d(x, self.kernel.to(x.dtype), stride=self.factor, groups=self.channels)


class FCN8s(nn.Module):
    """Scores `[N, classes, H, W]` of images `[N, 3, H, W]` (Long et al. 2015, arXiv:1411.4038, section 4.2).

    VGG16 with a border of zeros so wide that the crops below always fit; scores of the last level and of the third
    and fourth poolings are added, each enlarged to the next.
    """

    multiple = 32
    low = 32

    def __init__(self, config: FCN8sConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList()
        inputs = 3
        for width, layers in zip(config.widths, _VGG_CONVOLUTIONS, strict=True):
            self.levels.append(
                nn.ModuleList(
                    nn.Conv2d(inputs if layer == 0 else width, width, 3, padding=1) for layer in range(layers)
                )
            )
            inputs = width
        self.head = nn.ModuleList(
            [nn.Conv2d(inputs, config.features, 7), nn.Conv2d(config.features, config.features, 1)]
        )
        self.last = nn.Conv2d(config.features, config.classes, 1)
        self.score3 = nn.Conv2d(config.widths[2], config.classes, 1)
        self.score4 = nn.Conv2d(config.widths[3], config.classes, 1)
        self.twice, self.eight_times = BilinearUpsample(2, config.classes), BilinearUpsample(8, config.classes)

    def poolings(self, image: Tensor) -> list[Tensor]:
        """Gives what each level's pooling gives."""
        x = functional.pad(image, (99, 99, 99, 99))
        found = []
        for level in self.levels:
            assert isinstance(level, nn.ModuleList)
            for layer in level:
                x = functional.relu(layer(x))
            x = functional.max_pool2d(x, 2, ceil_mode=True)
            found.append(x)
        return found

    def forward(self, image: Tensor) -> Tensor:
        _, _, third, fourth, x = self.poolings(image)
        for layer in self.head:
            x = functional.relu(layer(x))
            if self.training:
                # dropout of whole channels, the same ones on several processes as on one
                x = x * (across.normal(len(x), x.shape[1], 1, 1, device=x.device) > 0) * 2
        x = self.twice(self.last(x))
        x = x + _crop(self.score4(0.01 * fourth), x, 5)  # the factors of FCN's training of all levels at once
        x = self.twice(x)
        x = x + _crop(self.score3(0.0001 * third), x, 9)
        return _crop(self.eight_times(x), image, 31)


def draw_weights(network: DilatedResnet | FCN8s) -> None:
    """Draws weights for a training that begins with none of ImageNet's.

    ReLU keeps the variance. FCN8s begins with the scores of its last level alone, as its code has it.
    """
    initialise(network, "kaiming")
    if isinstance(network, FCN8s):
        for layer in (network.score3, network.score4):
            nn.init.zeros_(layer.weight)


def _crop(x: Tensor, like: Tensor, offset: int) -> Tensor:
    height, width = like.shape[-2:]
    return x[:, :, offset : offset + height, offset : offset + width]


def _check_classes(classes: int) -> None:
    if not 1 <= classes <= 256:
        raise I2IError(f"classes is {classes}; it must be between 1 and 256")


def read_official_drn(state: Mapping[str, Tensor]) -> tuple[DilatedResnetConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no dilated ResNet.

    The last two levels' blocks do not add their input, yet the file may hold weights to fit it: they are left out.
    """
    if not {"conv1.weight", "layer1.0.conv1.weight"} & set(state):
        return None
    if any(".conv3." in key for key in state):
        raise CheckpointError("this dilated ResNet has blocks of three convolutions; known are those of two")
    places = [re.match(r"layer(\d+)\.(\d+)\.", key) for key in state]
    blocks: dict[int, int] = {}
    for place in filter(None, places):
        level, number = int(place[1]), int(place[2])
        blocks[level] = max(blocks.get(level, 0), number + 1)
    names = {"conv1": "first", "bn1": "first_norm", "conv2": "second", "bn2": "second_norm", "downsample": "skip"}
    weights = {}
    for key, tensor in state.items():
        match = re.fullmatch(r"layer(\d+)\.(\d+)\.(conv1|bn1|conv2|bn2|downsample)\.(.+)", key)
        if match is None:
            ours = {"conv1": "stem", "bn1": "stem_norm", "fc": "last"}
            part, _, parameter = key.partition(".")
            weights[f"{ours.get(part, part)}.{parameter}"] = tensor
        elif match[3] != "downsample" or int(match[1]) <= 6:
            weights[f"levels.{int(match[1]) - 1}.{match[2]}.{names[match[3]]}.{match[4]}"] = tensor
    try:
        _ = state["conv1.weight"]
        widths = tuple(state[f"layer{level}.0.conv2.weight"].shape[0] for level in range(1, len(blocks) + 1))
        config = DilatedResnetConfig(
            tuple(blocks[level] for level in range(1, len(blocks) + 1)), widths, state["fc.weight"].shape[0]
        )
    except KeyError as error:
        raise CheckpointError(f"this dilated ResNet is not complete: {error} is missing") from error
    return config, weights


def read_official_fcn8s(state: Mapping[str, Tensor]) -> tuple[FCN8sConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no FCN8s.

    The fixed bilinear kernels are rebuilt from their definition.
    """
    if not any(key.startswith("vgg_head.") for key in state):
        return None
    ours = {"vgg_head.0": "head.0", "vgg_head.3": "head.1", "vgg_head.6": "last"}
    ours |= {"score_pool3": "score3", "score_pool4": "score4"}
    numbers = iter(_VGG_NUMBERS)
    for level, layers in enumerate(_VGG_CONVOLUTIONS):
        ours |= {f"vgg.{next(numbers)}": f"levels.{level}.{layer}" for layer in range(layers)}
    weights = {}
    for key, tensor in state.items():
        part, _, parameter = key.rpartition(".")
        if not part.startswith("upscore"):
            weights[f"{ours.get(part, part)}.{parameter}"] = tensor
    try:
        widths = tuple(state[f"vgg.{number}.weight"].shape[0] for number in (0, 5, 10, 17, 24))
        classes, features = state["vgg_head.6.weight"].shape[:2]
    except KeyError as error:
        raise CheckpointError(f"this FCN8s is not complete: {error} is missing") from error
    return FCN8sConfig(widths, features, classes), weights
