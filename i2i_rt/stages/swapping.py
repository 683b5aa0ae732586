"""Stages of the Swapping Autoencoder: apart, together, and both at once."""

from collections.abc import Mapping

from torch import Tensor, nn

from i2i_rt.models.swapping import SwappingEncoder, SwappingGenerator
from i2i_rt.spec import Axis, StageSpec, TensorSpec, frames_spec
from i2i_rt.stages.base import Stage, to_frames, to_image, vector_spec


class Encode(nn.Module):
    """Frames `[N, H, W, 3]` to structure `[N, S, h, w]` and texture `[N, T]`, both float32."""

    def __init__(self, encoder: SwappingEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        structure, texture = self.encoder(to_image(frames, self.encoder))
        return structure, texture


class Decode(nn.Module):
    """Structure `[N, S, h, w]` and texture `[N, T]` to frames; codes of any length, sums and mixtures too."""

    def __init__(self, generator: SwappingGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, structure: Tensor, texture: Tensor) -> Tensor:
        return to_frames(self.generator(structure, texture))


class Translate(nn.Module):
    """Frames `[N, H, W, 3]` with another texture, `style` `[N, T]`, to frames of the same shape."""

    def __init__(self, encoder: SwappingEncoder, generator: SwappingGenerator) -> None:
        super().__init__()
        self.encoder, self.generator = encoder, generator

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        structure = self.encoder.structure(to_image(frames, self.encoder))
        return to_frames(self.generator(structure, style))


class StyleFromImage(nn.Module):
    """Frames `[N, H, W, 3]` to their texture `[N, T]`."""

    def __init__(self, encoder: SwappingEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, reference: Tensor) -> Tensor:
        return self.encoder.texture(to_image(reference, self.encoder))


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of `encoder` and `generator`."""
    encoder, generator = networks["encoder"], networks["generator"]
    assert isinstance(encoder, SwappingEncoder) and isinstance(generator, SwappingGenerator)
    multiple, low = encoder.multiple, encoder.low
    frames = frames_spec("frames", multiple, low)
    style = vector_spec("style", generator.config.texture_channels)
    texture = TensorSpec("texture", "float32", style.axes)
    channels = Axis("S", size=encoder.config.structure_channels)
    structure = TensorSpec("structure", "float32", (Axis("N"), channels, Axis("h"), Axis("w")))
    # as many pixels as the structure has places times `multiple`: lengths that no input has
    decoded = TensorSpec("translated", "uint8", (Axis("N"), Axis("H_out"), Axis("W_out"), Axis("C", size=3)))
    return [
        Stage(
            StageSpec("translate", (frames, style), (frames_spec("translated", multiple, low),)),
            Translate(encoder, generator).eval(),
        ),
        Stage(
            StageSpec("style_from_image", (frames_spec("reference", multiple, low),), (style,)),
            StyleFromImage(encoder).eval(),
        ),
        Stage(StageSpec("encode", (frames,), (structure, texture)), Encode(encoder).eval()),
        Stage(StageSpec("decode", (structure, texture), (decoded,)), Decode(generator).eval()),
    ]
