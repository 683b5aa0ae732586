"""Stages of GP-UNIT: a translation with a style, the style of a picture, and a sampled style."""

from collections.abc import Mapping

from torch import Tensor, nn

from i2i_rt.models.gpunit import Generator
from i2i_rt.models.gpunit_encoders import ContentEncoder, StyleEncoder, StyleSampler
from i2i_rt.spec import StageSpec, frames_spec
from i2i_rt.stages.base import Stage, to_frames, to_image, vector_spec
from i2i_rt.stages.styled import StyleFromImage, StyleFromNoise


class Translate(nn.Module):
    """RGB frames `[N, H, W, 3]` uint8 and styles `[N, S]` float32 to translated frames of the same shape.

    The masks of the skip connections are no output: what computes nothing else leaves the graph.
    """

    def __init__(self, encoder: ContentEncoder, generator: Generator) -> None:
        super().__init__()
        self.encoder, self.generator = encoder, generator

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        content, *features = self.encoder(to_image(frames, self.encoder))
        return to_frames(self.generator(content, features, style))


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of `content_encoder`, `style_encoder`, `generator` and, where there is one, `sampler`.

    All are convolutional: 256x256 is what the networks were trained on and what the official script resizes to, and
    other sizes run too.
    """
    content_encoder, style_encoder = networks["content_encoder"], networks["style_encoder"]
    generator, sampler = networks["generator"], networks.get("sampler")
    assert isinstance(content_encoder, ContentEncoder) and isinstance(style_encoder, StyleEncoder)
    assert isinstance(generator, Generator)
    style = vector_spec("style", generator.config.style_dim)
    frames, translated = (
        frames_spec(name, content_encoder.multiple, content_encoder.low) for name in ("frames", "translated")
    )
    reference = frames_spec("reference", style_encoder.multiple, style_encoder.low)
    result = [
        Stage(StageSpec("translate", (frames, style), (translated,)), Translate(content_encoder, generator).eval()),
        Stage(StageSpec("style_from_image", (reference,), (style,)), StyleFromImage(style_encoder).eval()),
    ]
    if sampler is not None:
        assert isinstance(sampler, StyleSampler)
        noise = vector_spec("noise", sampler.config.noise_dim)
        result.append(Stage(StageSpec("style_from_noise", (noise,), (style,)), StyleFromNoise(sampler).eval()))
    return result
