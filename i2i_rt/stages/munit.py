"""Stages of MUNIT: the content of one domain, drawn in a style of the other."""

from collections.abc import Mapping

from torch import Tensor, nn

from i2i_rt.spec import StageSpec, frames_spec
from i2i_rt.stages.base import Stage, to_frames, to_image, vector_spec
from i2i_rt.stages.styled import StyleFromImage


class Translate(nn.Module):
    """Frames `[N, H, W, 3]` uint8 and a style `[N, S]` for each, to translated frames of the same shape."""

    def __init__(self, content_encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.content_encoder, self.decoder = content_encoder, decoder

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        return to_frames(self.decoder(self.content_encoder(to_image(frames, self.content_encoder)), style))


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of the networks `content_encoder`, `style_encoder` and `decoder` of one direction."""
    content_encoder, style_encoder = networks["content_encoder"], networks["style_encoder"]
    sides = content_encoder.multiple, content_encoder.low
    style = vector_spec("style", style_encoder.config.style)  # type: ignore[union-attr,arg-type]
    translate = StageSpec(
        "translate",
        (frames_spec("frames", *sides), style),  # type: ignore[arg-type]
        (frames_spec("translated", *sides),),  # type: ignore[arg-type]
    )
    reference = frames_spec("reference", style_encoder.multiple, style_encoder.low)  # type: ignore[arg-type]
    return [
        Stage(translate, Translate(content_encoder, networks["decoder"]).eval()),
        Stage(StageSpec("style_from_image", (reference,), (style,)), StyleFromImage(style_encoder).eval()),
    ]
