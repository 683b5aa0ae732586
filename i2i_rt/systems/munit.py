"""MUNIT (Huang et al. 2018, arXiv:1804.04732): contents that two domains share, styles that each has of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.metrics.lpips import Lpips, lpips
from i2i_rt.metrics.styles import diversity
from i2i_rt.models import across
from i2i_rt.models.munit import (
    ContentEncoder,
    ContentEncoderConfig,
    Decoder,
    DecoderConfig,
    StyleEncoder,
    StyleEncoderConfig,
)
from i2i_rt.spec import StyleInfo
from i2i_rt.systems import two_domains
from i2i_rt.systems.base import Batch, Product, Shape
from i2i_rt.systems.losses import distance
from i2i_rt.systems.two_domains import (
    DIRECTIONS,
    Sides,
    TwoDomains,
    TwoDomainsSettings,
    build_discriminator,
    check_crops,
    initialise_as_published,
)

DRAWS = 4  # styles in which a held-out picture is drawn to score how diverse they are


@dataclass(frozen=True)
class MunitSettings(TwoDomainsSettings):
    """Sizes beside those of `Shape`, and loss weights; the defaults are the official ones for edges and shoes.

    Attributes:
        reductions: halvings of the sides on the way to the content.
        judge_layers, judge_scales: strided convolutions of the judges, and at how many sizes they see a picture.
        gan: weight of the judges' least squares, summed over the scales.
        reconstruction: weight of the mean absolute difference of pictures that were only encoded and decoded.
        cycle: the same after there and back; 10 for summer and winter or street scenes.
        vgg: weight of the difference in VGG's features after instance norm; 1 for street scenes.
        features: of VGG and LPIPS, pretrained or random; random ones need no download, but compare with no others.
        style_size: how many numbers a style has.
        perceptron: widths between the style and the blocks' scales and shifts.
        content, style: weights of finding content and style again in a translation.
    """

    cycle: float = 0.0
    style_size: int = 8
    perceptron: tuple[int, ...] = (256, 256)
    content: float = 1.0
    style: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "style_size")
        self.at_least(0, "content", "style")
        if min(self.perceptron, default=1) < 1:
            raise I2IError(f"--set perceptron is {','.join(map(str, self.perceptron))}; each width must be at least 1")


class Munit(TwoDomains):
    """Content encoder, style encoder, decoder and discriminator of each domain."""

    settings: MunitSettings

    def translated(self, images: Sides) -> Sides:
        styles = {side: self.drawn(images[side]) for side in images}
        contents = {side: self.network("content_encoder", side)(images[side]) for side in images}
        return self.decoded(contents, styles)

    def decoded(self, contents: Sides, styles: Sides) -> Sides:
        """Gives each domain's contents drawn by the other's decoder, by that other domain."""
        return {
            target: self.network("decoder", target)(contents[source], styles[target]) for source, target in DIRECTIONS
        }

    def drawn(self, images: Tensor) -> Tensor:
        """Draws a style `[N, S]` for each image."""
        return across.normal(len(images), self.settings.style_size, device=images.device)

    def generator_losses(self, images: Sides) -> dict[str, Tensor]:
        settings = self.settings
        drawn = {side: self.drawn(images[side]) for side in images}
        contents = {side: self.network("content_encoder", side)(images[side]) for side in images}
        styles = {side: self.network("style_encoder", side)(images[side]) for side in images}
        made = self.decoded(contents, drawn)
        losses = self.translation_losses(images, made)
        for source, target in DIRECTIONS:
            again = self.network("decoder", source)(contents[source], styles[source])
            content = self.network("content_encoder", target)(made[target])
            style = self.network("style_encoder", target)(made[target])
            losses[f"reconstruction_{source}"] = settings.reconstruction * distance(again, images[source])
            losses[f"content_{source}"] = settings.content * distance(content, contents[source])
            losses[f"style_{target}"] = settings.style * distance(style, drawn[target])
            if settings.cycle:
                back = self.network("decoder", source)(content, styles[source])
                losses[f"cycle_{source}"] = settings.cycle * distance(back, images[source])
        return losses

    def product(self, networks: Mapping[str, nn.Module], source: str, target: str) -> Product:
        """Gives the content encoder of one domain, style encoder and decoder of the other."""
        return Product(
            {
                "content_encoder": networks[f"content_encoder_{source}"],
                "style_encoder": networks[f"style_encoder_{target}"],
                "decoder": networks[f"decoder_{target}"],
            },
            preprocessing=self.preprocessing(),
            style=StyleInfo("normal"),
        )

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives for both directions the pictures, reconstructed, and in the styles of the other domain's pictures."""
        images = batch._asdict()
        columns = []
        for source, target in DIRECTIONS:
            content = networks[f"content_encoder_{source}"](images[source])
            taken = networks[f"style_encoder_{target}"](images[target])
            columns += [
                images[source],
                networks[f"decoder_{source}"](content, networks[f"style_encoder_{source}"](images[source])),
                networks[f"decoder_{target}"](content, taken),
            ]
        return columns

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives the PSNR of reconstructions, and how diverse translations in drawn styles are."""
        images, scores = batch._asdict(), super().scores(batch, networks)
        name = self._lpips.named("diversity")
        for source, target in DIRECTIONS:
            content = networks[f"content_encoder_{source}"](images[source])
            several = []
            for _ in range(DRAWS):
                style = torch.randn(len(content), self.settings.style_size).to(content)
                several.append(networks[f"decoder_{target}"](content, style))
            scores[f"{name}_{target}"] = diversity(self._lpips, torch.stack(several, 1))
        return scores

    @cached_property
    def _lpips(self) -> Lpips:
        return lpips(self.settings.features)


def build_munit(shape: Shape) -> Munit:
    """Makes the networks of both domains.

    Raises:
        I2IError: where the crops are too small for the discriminators, or of a size that decoders do not give.
    """
    settings = shape.settings
    assert isinstance(settings, MunitSettings)
    check_crops(shape, settings)
    width, reductions = shape.width, settings.reductions
    networks: dict[str, nn.Module] = {}
    for side in ("a", "b"):
        networks |= {
            f"content_encoder_{side}": ContentEncoder(
                ContentEncoderConfig(width=width, reductions=reductions, blocks=shape.blocks)
            ),
            f"style_encoder_{side}": StyleEncoder(
                StyleEncoderConfig(
                    widths=(width, 2 * width, 4 * width, 4 * width, 4 * width), style=settings.style_size
                )
            ),
            f"decoder_{side}": Decoder(
                DecoderConfig(
                    width=width,
                    enlargements=reductions,
                    blocks=shape.blocks,
                    style=settings.style_size,
                    perceptron=settings.perceptron,
                )
            ),
            f"discriminator_{side}": build_discriminator(shape, settings),
        }
    system = Munit(networks, settings, shape.crop_size)
    initialise_as_published(system)
    return system


RECIPE = replace(two_domains.RECIPE, settings=MunitSettings)
