"""Stages of BicycleGAN: translation with a style, and the style of a picture."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from i2i_rt.models.bicyclegan import BicycleGANEncoder, BicycleGANGenerator
from i2i_rt.spec import StageSpec, frames_spec
from i2i_rt.stages.base import Stage, square_frames_spec, to_frames, to_image, vector_spec

# parts of 65536, as PIL's conversion to grey takes them (ITU-R BT.601)
LUMA = (19595.0, 38470.0, 7471.0)


def to_input(frames: Tensor, network: BicycleGANGenerator | BicycleGANEncoder) -> Tensor:
    """Gives frames `[N, H, W, 3]` uint8 as images in [-1, 1] with the network's channels: 3, or 1 of grey."""
    if network.config.in_channels == 3:
        return to_image(frames, network)
    red, green, blue = frames.float().unbind(-1)
    # sums of whole numbers below 2 ** 24: exact in float32
    grey = torch.floor((red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]) / 65536 + 0.5)
    return (grey[:, None] / 127.5 - 1).to(next(network.parameters()).dtype)


class Translate(nn.Module):
    """Frames `[N, H, W, 3]` uint8 and styles `[N, Z]` to translated frames."""

    def __init__(self, generator: BicycleGANGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        return to_frames(self.generator(to_input(frames, self.generator), style))


class StyleFromImage(nn.Module):
    """References `[N, S, S, 3]` uint8, S being the size that the encoder was trained on, to styles `[N, Z]`."""

    def __init__(self, encoder: BicycleGANEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, reference: Tensor) -> Tensor:
        style: Tensor = self.encoder(to_input(reference, self.encoder))
        return style.float()


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of a `generator` and, where there is one, a `style_encoder`."""
    generator = cast(BicycleGANGenerator, networks["generator"])
    style = vector_spec("style", generator.config.style_size)
    sides = (generator.multiple, generator.low)
    translate = StageSpec("translate", (frames_spec("frames", *sides), style), (frames_spec("translated", *sides),))
    result = [Stage(translate, Translate(generator).eval())]
    if "style_encoder" in networks:
        encoder = cast(BicycleGANEncoder, networks["style_encoder"])
        spec = StageSpec("style_from_image", (square_frames_spec("reference", encoder.size),), (style,))
        result.append(Stage(spec, StyleFromImage(encoder).eval()))
    return result
