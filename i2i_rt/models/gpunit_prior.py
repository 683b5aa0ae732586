"""Prior distillation of GP-UNIT (Yang et al. 2022, arXiv:2204.03641, section 3.1): how its content is learned.

The content encoder is trained together with a style encoder, a decoder and a classifier on pictures of 291 kinds of
objects; translation needs the content encoder alone. Spectral norm is folded into the kernels.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.models.gpunit import StyledNorm
from i2i_rt.models.gpunit_encoders import (
    ContentEncoder,
    ContentEncoderConfig,
    check_reductions,
    read_official_content_encoder,
    widths_of,
)
from i2i_rt.models.norm import InstanceNorm
from i2i_rt.models.spectral import fold_spectral_norm


@dataclass(frozen=True)
class PriorDistillationConfig:
    """Rebuilds a `PriorDistillation`, together with its weights."""

    width: int = 64  # channels at the full resolution; 8 times as many at the lowest ones
    classes: int = 292
    embedding: int = 128  # values of a class
    reductions: int = 5  # how often the content encoder halves the size
    content_size: int = 8  # pixels of each side of the content

    def __post_init__(self) -> None:
        if min(self.width, self.classes, self.embedding) < 1:
            raise I2IError("width, classes and embedding of a prior distillation must be at least 1")
        check_reductions(self.reductions)
        if self.content_size < 4:
            raise I2IError(
                f"the content has {self.content_size} pixels a side, and a prior distillation needs 4: halve larger "
                "images, or halve them less often"
            )


class LevelStyles(nn.Module):
    """Images to the mean and the standard deviation of the feature of each of six levels, `[N, C, 1, 1]` each.

    The levels begin at 1/2 of the size, and there is one more than reductions. The decoder uses half of them.
    """

    def __init__(self, width: int, reductions: int) -> None:
        super().__init__()
        channels = (3, *widths_of(width, reductions + 1))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, 2, 1, padding_mode="reflect") for before, after in pairwise(channels)
        )

    def forward(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        styles = []
        for convolution in self.convolutions:
            image = functional.leaky_relu(convolution(image), 0.2)
            deviation, mean = torch.std_mean(image, (2, 3), correction=1, keepdim=True)
            styles.append((mean, deviation))
        return styles


class Decoder(nn.Module):
    """Content, class and level styles to the image and, from its lower half alone, the shape of the object.

    The shape, three channels at twice the size of the content, sees the class but no style: what it shows must lie
    in the content.
    """

    def __init__(self, width: int, embedding: int, reductions: int) -> None:
        super().__init__()
        *finer, _, widest = widths_of(width, reductions)
        self.lift, self.lift_norm = nn.Conv2d(1, widest, 1), InstanceNorm(widest)
        self.classed = nn.ModuleList(_reflected(widest, widest) for _ in range(5))
        self.class_norms = nn.ModuleList(StyledNorm(embedding, widest) for _ in range(5))
        self.to_shape = _reflected(widest, 3)
        channels = (widest, *reversed(finer))
        self.styled = nn.ModuleList(_reflected(before, after) for before, after in pairwise(channels))
        self.style_norms = nn.ModuleList(InstanceNorm(after) for after in channels[1:])
        self.to_image = _reflected(width, 3)

    def forward(
        self, content: Tensor, embedded: Tensor, styles: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Gives the image `[N, 3, 32 h, 32 w]` and the shape `[N, 3, 2 h, 2 w]`, both in [-1, 1]."""
        x, shape = self.shaped(content, embedded)
        used = reversed(styles[: len(self.styled)])
        # the finest style belongs to the widest image, so they are taken from the coarsest one down to the first
        for convolution, norm, (mean, deviation) in zip(self.styled, self.style_norms, used, strict=True):
            x = functional.relu(norm(convolution(_twice(x))) * deviation + mean)
        return torch.tanh(self.to_image(_twice(x))), shape

    def shaped(self, content: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Gives the features that the image goes on from, and the shape."""
        x = self.lift_norm(self.lift(content), slope=0.2)
        for index, (convolution, norm) in enumerate(zip(self.classed, self.class_norms, strict=True)):
            if index == 4:
                x = _twice(x)
            x = norm(convolution(x), embedded, slope=0.0)
        return x, torch.tanh(self.to_shape(x))


class ContentClassifier(nn.Module):
    """Content `[N, 1, 8, 8]`, or of another size, to logits of its class.

    The training makes them useless by reversing the gradient.
    """

    def __init__(self, classes: int, content_size: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(1, 32, 3, 2, 1, padding_mode="reflect"),
                _reflected(32, 64),
                nn.Conv2d(64, classes, (content_size + 1) // 2),
            ]
        )
        self.linear = nn.Linear(classes, classes)

    def forward(self, content: Tensor) -> Tensor:
        for convolution in self.convolutions:
            content = functional.leaky_relu(convolution(content), 0.2)
        logits: Tensor = self.linear(content.flatten(1))
        return logits


class PriorDistillation(nn.Module):
    """The five networks; `forward` decodes images `[N, 3, 256, 256]` of the classes `labels` `[N]`."""

    def __init__(self, config: PriorDistillationConfig) -> None:
        super().__init__()
        self.config = config
        self.content_encoder = ContentEncoder(ContentEncoderConfig(width=config.width, reductions=config.reductions))
        self.level_styles = LevelStyles(config.width, config.reductions)
        self.embedding = nn.Embedding(config.classes, config.embedding)
        self.decoder = Decoder(config.width, config.embedding, config.reductions)
        self.classifier = ContentClassifier(config.classes, config.content_size)

    def forward(self, image: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Gives the image again and its shape; a fifth of `noise` `[N, 1, 8, 8]` is added to the content."""
        content = self.content_encoder(image)[0] + 0.2 * noise
        decoded: tuple[Tensor, Tensor] = self.decoder(content, self.embedding(labels), self.level_styles(image))
        return decoded


def _reflected(channels: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(channels, after, 3, padding=1, padding_mode="reflect")


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def read_official(state: Mapping[str, Tensor]) -> tuple[PriorDistillationConfig, dict[str, Tensor]]:
    """Finds the config of the group `ae_ema` of a prior distillation in its shapes, and its weights."""
    names = {
        "fc": "decoder.lift",
        "G.layer1.0": "decoder.classed.0",
        "G.layer1.1": "decoder.classed.1",
        "G.layer1.2": "decoder.classed.2",
        "G.layer2": "decoder.classed.3",
        "G.layer3": "decoder.classed.4",
        "G.layer4": "decoder.styled.0",
        "G.layer5": "decoder.styled.1",
        "G.layer6": "decoder.styled.2",
        "G.layer7": "decoder.to_image",
        "G.tomask": "decoder.to_shape",
        "C.layer1": "classifier.convolutions.0",
        "C.layer2": "classifier.convolutions.1",
        "C.layer3": "classifier.convolutions.2",
        "C.fc3": "classifier.linear",
        "embed": "embedding",
        **{f"styleE.layer{level + 1}": f"level_styles.convolutions.{level}" for level in range(6)},
    }
    content = {key.removeprefix("contentE."): state[key] for key in state if key.startswith("contentE.")}
    content_config, content_weights = read_official_content_encoder(content)
    weights = {f"content_encoder.{key}": tensor for key, tensor in content_weights.items()}
    for key, tensor in fold_spectral_norm(state).items():
        if key.startswith("contentE."):
            continue
        module, _, parameter = re.sub(r"\.(conv|norm\.style)\.", ".", key).rpartition(".")
        own = names.get(module, module)
        if ".norm.style." in key:
            own = own.replace("classed", "class_norms") + ".affine"
        weights[f"{own}.{parameter}"] = tensor
    classes, embedding = state["embed.weight"].shape
    return PriorDistillationConfig(content_config.width, classes, embedding), weights
