"""Stages of StEP: translation with a style, and styles of pictures and of noise."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from i2i_rt.models.step import StepEncoder, StepGenerator, StepMapper
from i2i_rt.spec import StageSpec, frames_spec
from i2i_rt.stages.base import Stage, to_frames, to_image, vector_spec


class Translate(nn.Module):
    """Frames `[N, H, W, 3]` uint8 and styles `[N, Z]` to translated frames."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        return to_frames(self.generator(to_image(frames, self.generator), style))


class StyleFromImage(nn.Module):
    """References `[N, H, W, 3]` uint8 to styles `[N, Z]`."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, reference: Tensor) -> Tensor:
        style: Tensor = self.encoder(to_image(reference, self.encoder))
        return style.float()


class StyleFromNoise(nn.Module):
    """Noise `[N, M]` to styles `[N, Z]`."""

    def __init__(self, mapper: StepMapper) -> None:
        super().__init__()
        self.mapper = mapper

    def forward(self, noise: Tensor) -> Tensor:
        style: Tensor = self.mapper(noise.to(next(self.mapper.parameters()).dtype))
        return style.float()


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of a `generator`, and of a `style_encoder` and a `mapper` where they are there."""
    generator = cast(StepGenerator, networks["generator"])
    style = vector_spec("style", generator.config.style_size)
    sides = (generator.multiple, generator.low)
    translate = StageSpec("translate", (frames_spec("frames", *sides), style), (frames_spec("translated", *sides),))
    result = [Stage(translate, Translate(generator).eval())]
    if "style_encoder" in networks:
        encoder = cast(StepEncoder, networks["style_encoder"])
        reference = frames_spec("reference", encoder.multiple, encoder.low)
        spec = StageSpec("style_from_image", (reference,), (style,))
        result.append(Stage(spec, StyleFromImage(encoder).eval()))
    if "mapper" in networks:
        mapper = cast(StepMapper, networks["mapper"])
        spec = StageSpec("style_from_noise", (vector_spec("noise", mapper.config.widths[0]),), (style,))
        result.append(Stage(spec, StyleFromNoise(mapper).eval()))
    return result
