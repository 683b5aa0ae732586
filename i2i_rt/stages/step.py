"""Stages of StEP: translation with a style, and styles of pictures and of noise."""

from collections.abc import Mapping
from typing import cast

from torch import nn

from i2i_rt.models.step import StepEncoder, StepGenerator, StepMapper
from i2i_rt.spec import StageSpec, frames_spec
from i2i_rt.stages.base import Stage, vector_spec
from i2i_rt.stages.styled import StyleFromImage, StyleFromNoise, TranslateStyled


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of a `generator`, and of a `style_encoder` and a `mapper` where they are there."""
    generator = cast(StepGenerator, networks["generator"])
    style = vector_spec("style", generator.config.style_size)
    sides = (generator.multiple, generator.low)
    translate = StageSpec("translate", (frames_spec("frames", *sides), style), (frames_spec("translated", *sides),))
    result = [Stage(translate, TranslateStyled(generator).eval())]
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
