"""Stages of TUNIT: a translation with a style, and the style of a picture."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from i2i_rt.models.tunit import GuidingNetwork, TUNITGenerator
from i2i_rt.spec import StageSpec, frames_spec
from i2i_rt.stages.base import Stage, square_frames_spec, to_image, vector_spec
from i2i_rt.stages.styled import TranslateStyled


class StyleFromImage(nn.Module):
    """RGB frames `[N, H, W, 3]` uint8 to their styles `[N, S]` float32."""

    def __init__(self, guiding_network: GuidingNetwork) -> None:
        super().__init__()
        self.guiding_network = guiding_network

    def forward(self, reference: Tensor) -> Tensor:
        style, _ = self.guiding_network(to_image(reference, self.guiding_network))
        return style.float()  # type: ignore[no-any-return]


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of `generator` and `guiding_network`.

    The guiding network runs at any size, but what a style says depends on it: references have the size of training.
    """
    generator = cast(TUNITGenerator, networks["generator"])
    guiding_network = cast(GuidingNetwork, networks["guiding_network"])
    frames, translated = (frames_spec(name, generator.multiple, generator.low) for name in ("frames", "translated"))
    style = vector_spec("style", generator.config.style_dim)
    reference = square_frames_spec("reference", generator.config.image_size)
    return [
        Stage(StageSpec("translate", (frames, style), (translated,)), TranslateStyled(generator).eval()),
        Stage(StageSpec("style_from_image", (reference,), (style,)), StyleFromImage(guiding_network).eval()),
    ]
