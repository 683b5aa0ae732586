"""Stages of EGSC-IT: translation with the style of an exemplar, and the style of an exemplar."""

from collections.abc import Mapping
from typing import cast

from torch import nn

from i2i_rt.models.egscit import EgscitGenerator, EgscitStyleEncoder
from i2i_rt.spec import StageSpec, frames_spec
from i2i_rt.stages.base import Stage, vector_spec
from i2i_rt.stages.styled import StyleFromImage, TranslateStyled


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of a `generator` and its `style_encoder`."""
    generator = cast(EgscitGenerator, networks["generator"])
    encoder = cast(EgscitStyleEncoder, networks["style_encoder"])
    style = vector_spec("style", generator.style_size)
    sides = (generator.multiple, generator.low)
    translate = StageSpec("translate", (frames_spec("frames", *sides), style), (frames_spec("translated", *sides),))
    reference = frames_spec("reference", encoder.multiple, encoder.low)
    return [
        Stage(translate, TranslateStyled(generator).eval()),
        Stage(StageSpec("style_from_image", (reference,), (style,)), StyleFromImage(encoder).eval()),
    ]
