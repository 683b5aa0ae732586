"""Discriminator of GP-UNIT (Yang et al. 2022, arXiv:2204.03641): StarGAN v2's, which also tells a picture's style."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.models.spectral import fold_spectral_norm
from i2i_rt.models.stargan import Trunk


@dataclass(frozen=True)
class GPUNITDiscriminatorConfig:
    """Rebuilds a `GPUNITDiscriminator`, together with its weights."""

    width: int = 64
    max_width: int = 512
    image_size: int = 256  # a power of two; each side of the images
    style_layer: int = 4  # after how many layers the style is read: the first convolution, and blocks

    def __post_init__(self) -> None:
        if min(self.width, self.max_width) < 1:
            raise I2IError("width and max_width of a discriminator must be at least 1")
        if self.image_size < 8 or self.image_size & (self.image_size - 1):
            raise I2IError(f"image_size is {self.image_size}; it must be a power of two, at least 8")
        layers = self.image_size.bit_length() - 2
        if not 1 <= self.style_layer <= layers:
            raise I2IError(
                f"style_layer is {self.style_layer}; for images of {self.image_size} pixels it must be 1 to {layers}"
            )


class GPUNITDiscriminator(nn.Module):
    """Judges images `[N, 3, image_size, image_size]`: one score each, `[N, 1]`."""

    def __init__(self, config: GPUNITDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.width, config.max_width, config.image_size)
        self.head = nn.Conv2d(self.trunk.channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.judged(image)[0]

    def judged(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Gives the scores, and the styles `[N, C]`: the means of a middle block's channels."""
        features = self.trunk.features(image)
        scores: Tensor = self.head(self.trunk.reduced(features[-1]))
        return scores.flatten(1), features[self.config.style_layer - 1].mean((2, 3))


def read_official(state: Mapping[str, Tensor], style_layer: int) -> tuple[GPUNITDiscriminatorConfig, dict[str, Tensor]]:
    """Finds the config of the group `d` in its shapes, and its weights, with spectral norm folded into them.

    `style_layer` is what keys and shapes do not tell.
    """
    last = max(int(match[1]) for key in state if (match := re.match(r"model\.(\d+)\.", key)))
    blocks = last - 2  # behind them, an activation
    names = {
        r"^model\.0\.": "trunk.first.",
        rf"^model\.{last}\.": "trunk.last.",
        r"^linear\.": "head.",
        r"\.conv_0\.": ".conv1.",
        r"\.conv_1\.": ".conv2.",
        r"\.conv_s\.": ".shortcut.",
    }
    weights = {}
    for key, tensor in fold_spectral_norm(state).items():
        own = key
        for official, name in names.items():
            own = re.sub(official, name, own)
        weights[re.sub(r"^model\.(\d+)\.", lambda m: f"trunk.blocks.{int(m[1]) - 1}.", own)] = tensor
    config = GPUNITDiscriminatorConfig(
        weights["trunk.first.weight"].shape[0], weights["head.weight"].shape[1], 2 ** (blocks + 2), style_layer
    )
    return config, weights
