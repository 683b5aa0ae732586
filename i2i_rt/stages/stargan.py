"""Stages of StarGAN v2 and of the systems with its networks: a translation, and two ways to a style."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from i2i_rt.models.fan import FaceAlignment, masks_of
from i2i_rt.models.stargan import MappingNetwork, StarGANGenerator, StarGANStyleEncoder
from i2i_rt.spec import StageSpec, frames_spec
from i2i_rt.stages.base import Stage, domain_spec, square_frames_spec, to_frames, to_image, vector_spec


class Translate(nn.Module):
    """RGB frames `[N, H, W, 3]` uint8 and styles `[N, S]` float32 to translated frames of the same shape.

    A generator with masks takes those of the faces in the frames themselves.
    """

    def __init__(self, generator: StarGANGenerator, fan: FaceAlignment | None) -> None:
        super().__init__()
        self.generator, self.fan = generator, fan

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        image = to_image(frames, self.generator)
        masks = None if self.fan is None else masks_of(self.fan(image))
        return to_frames(self.generator(image, style, masks))


class StyleFromImage(nn.Module):
    """RGB frames `[N, H, W, 3]` uint8 and their domains `[N]` int64 to styles `[N, S]` float32."""

    def __init__(self, style_encoder: StarGANStyleEncoder) -> None:
        super().__init__()
        self.style_encoder = style_encoder

    def forward(self, reference: Tensor, domain: Tensor) -> Tensor:
        style: Tensor = self.style_encoder(to_image(reference, self.style_encoder), domain)
        return style.float()


class StyleFromNoise(nn.Module):
    """Noise `[N, Z]` float32 from N(0, 1) and domains `[N]` int64 to styles `[N, S]` float32."""

    def __init__(self, mapping_network: MappingNetwork) -> None:
        super().__init__()
        self.mapping_network = mapping_network

    def forward(self, noise: Tensor, domain: Tensor) -> Tensor:
        style: Tensor = self.mapping_network(noise, domain)
        return style.float()


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of `generator`, `mapping_network`, `style_encoder` and, where there are masks, `fan`.

    Masks work at fixed heights only, so that a generator with them takes one size: the style encoder's.
    """
    generator = cast(StarGANGenerator, networks["generator"])
    mapping_network = cast(MappingNetwork, networks["mapping_network"])
    style_encoder = cast(StarGANStyleEncoder, networks["style_encoder"])
    fan = cast(FaceAlignment | None, networks.get("fan"))
    side = style_encoder.config.image_size

    frames, translated = (
        square_frames_spec(name, side) if fan is not None else frames_spec(name, generator.multiple, generator.low)
        for name in ("frames", "translated")
    )
    style, noise = (
        vector_spec("style", generator.config.style_dim),
        vector_spec("noise", mapping_network.config.latent_dim),
    )
    reference, domain = square_frames_spec("reference", side), domain_spec()
    return [
        Stage(StageSpec("translate", (frames, style), (translated,)), Translate(generator, fan).eval()),
        Stage(StageSpec("style_from_image", (reference, domain), (style,)), StyleFromImage(style_encoder).eval()),
        Stage(StageSpec("style_from_noise", (noise, domain), (style,)), StyleFromNoise(mapping_network).eval()),
    ]
