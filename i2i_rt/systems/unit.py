"""UNIT (Liu et al. 2017, arXiv:1703.00848) as its later code has it: two VAEs whose codes mean the same.

No weights are shared between the domains; what keeps the codes alike is the cycle and the VAEs' prior.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from i2i_rt.models.munit import ContentEncoder, ContentEncoderConfig, Decoder, DecoderConfig
from i2i_rt.systems import two_domains
from i2i_rt.systems.base import Batch, Product, Shape
from i2i_rt.systems.losses import distance, mean_square
from i2i_rt.systems.posterior import noisy
from i2i_rt.systems.two_domains import (
    DIRECTIONS,
    Sides,
    TwoDomains,
    TwoDomainsSettings,
    build_discriminator,
    check_crops,
    initialise_as_published,
)


@dataclass(frozen=True)
class UnitSettings(TwoDomainsSettings):
    """Sizes beside those of `Shape`, and loss weights; the defaults are the official ones for street scenes.

    Attributes:
        reductions: halvings of the sides on the way to the code.
        judge_layers, judge_scales: strided convolutions of the judges, and at how many sizes they see a picture.
        gan: weight of the judges' least squares, summed over the scales.
        reconstruction: weight of the mean absolute difference of pictures that were only encoded and decoded.
        cycle: the same after there and back.
        vgg: weight of the difference in VGG's features after instance norm.
        features: of VGG, pretrained or random; random ones need no download, but compare with no others.
        kl, cycle_kl: weights of the squared codes of pictures and of translations.
    """

    vgg: float = 1.0
    kl: float = 0.01
    cycle_kl: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "kl", "cycle_kl")


class Unit(TwoDomains):
    """Encoder, decoder and discriminator of each domain. Codes are the means of normal distributions of variance 1."""

    settings: UnitSettings

    def encoded(self, networks: Mapping[str, nn.Module], side: str, image: Tensor) -> Tensor:
        code: Tensor = networks[f"encoder_{side}"](image)
        return code

    def decoded(self, networks: Mapping[str, nn.Module], side: str, code: Tensor) -> Tensor:
        image: Tensor = networks[f"decoder_{side}"](code)
        return image

    def divergence(self, code: Tensor, drawn: Tensor) -> Tensor:
        """Gives how far from N(0, 1) codes are, of which there are means and what was drawn."""
        return mean_square(code)

    def translated(self, images: Sides) -> Sides:
        networks, made = self.networks, {}
        for source, target in DIRECTIONS:
            code = noisy(self.encoded(networks, source, images[source]))
            made[target] = self.decoded(networks, target, code)
        return made

    def generator_losses(self, images: Sides) -> dict[str, Tensor]:
        settings, networks = self.settings, self.networks
        codes = {side: self.encoded(networks, side, images[side]) for side in images}
        drawn = {side: noisy(codes[side]) for side in images}
        made = {target: self.decoded(networks, target, drawn[source]) for source, target in DIRECTIONS}
        losses = self.translation_losses(images, made)
        for source, target in DIRECTIONS:
            again = self.decoded(networks, source, drawn[source])
            found = self.encoded(networks, target, made[target])
            found_drawn = noisy(found)
            losses[f"reconstruction_{source}"] = settings.reconstruction * distance(again, images[source])
            losses[f"kl_{source}"] = settings.kl * self.divergence(codes[source], drawn[source])
            losses[f"cycle_kl_{source}"] = settings.cycle_kl * self.divergence(found, found_drawn)
            if settings.cycle:
                back = self.decoded(networks, source, found_drawn)
                losses[f"cycle_{source}"] = settings.cycle * distance(back, images[source])
        return losses

    def product(self, networks: Mapping[str, nn.Module], source: str, target: str) -> Product:
        """Gives the encoder of one domain, the decoder of the other."""
        return Product(
            {"encoder": networks[f"encoder_{source}"], "decoder": networks[f"decoder_{target}"]},
            preprocessing=self.preprocessing(),
        )

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives for both directions the pictures, reconstructed, and translated; without noise."""
        columns = []
        for image, (source, target) in zip(batch, DIRECTIONS, strict=True):
            code = self.encoded(networks, source, image)
            columns += [image, self.decoded(networks, source, code), self.decoded(networks, target, code)]
        return columns


def build_unit(shape: Shape) -> Unit:
    """Makes the networks of both domains.

    Raises:
        I2IError: where the crops are too small for the discriminators, or of a size that decoders do not give.
    """
    settings = shape.settings
    assert isinstance(settings, UnitSettings)
    check_crops(shape, settings)
    reductions = settings.reductions
    networks: dict[str, nn.Module] = {}
    for side in ("a", "b"):
        networks |= {
            f"encoder_{side}": ContentEncoder(
                ContentEncoderConfig(width=shape.width, reductions=reductions, blocks=shape.blocks)
            ),
            f"decoder_{side}": Decoder(
                DecoderConfig(width=shape.width, enlargements=reductions, blocks=shape.blocks, style=0)
            ),
            f"discriminator_{side}": build_discriminator(shape, settings),
        }
    system = Unit(networks, settings, shape.crop_size)
    initialise_as_published(system)
    return system


RECIPE = replace(two_domains.RECIPE, settings=UnitSettings)
