"""UNIT (Liu et al. 2017, arXiv:1703.00848) as its later code has it: two VAEs whose codes mean the same.

No weights are shared between the domains; what keeps the codes alike is the cycle and the VAEs' prior.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from i2i_rt.metrics.pairs import psnr
from i2i_rt.models import across
from i2i_rt.models.munit import ContentEncoder, ContentEncoderConfig, Decoder, DecoderConfig
from i2i_rt.systems.base import Batch, Product, Recipe, Shape
from i2i_rt.systems.decay import halving
from i2i_rt.systems.losses import distance
from i2i_rt.systems.two_domains import (
    DIRECTIONS,
    OPTIMIZATION,
    STEPS_BEFORE_HALVING,
    Sides,
    TwoDomains,
    TwoDomainsSettings,
    build_discriminator,
    initialise_as_published,
)


@dataclass(frozen=True)
class UnitSettings(TwoDomainsSettings):
    """Sizes beside those of `Shape`, and loss weights; the defaults are the official ones for street scenes.

    Attributes:
        reductions: halvings of the sides on the way to the code.
        judge_layers, judge_scales: strided convolutions of the judges, and how often the picture is halved for them.
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
        for name in ("kl", "cycle_kl"):
            self._at_least(name, 0)


class Unit(TwoDomains):
    """Encoder, decoder and discriminator of each domain. Codes are the means of normal distributions of variance 1."""

    settings: UnitSettings

    def translated(self, images: Sides) -> Sides:
        noisy = {side: self.with_noise(self.network("encoder", side)(images[side])) for side in images}
        return self.decoded(noisy)

    def decoded(self, codes: Sides) -> Sides:
        """Gives each domain's codes drawn by the other's decoder, by that other domain."""
        return {target: self.network("decoder", target)(codes[source]) for source, target in DIRECTIONS}

    def with_noise(self, codes: Tensor) -> Tensor:
        return codes + across.normal(*codes.shape, device=codes.device)

    def generator_losses(self, images: Sides) -> dict[str, Tensor]:
        settings = self.settings
        codes = {side: self.network("encoder", side)(images[side]) for side in images}
        noisy = {side: self.with_noise(codes[side]) for side in images}
        made = self.decoded(noisy)
        losses = self.translation_losses(images, made)
        for source, target in DIRECTIONS:
            again = self.network("decoder", source)(noisy[source])
            code = self.network("encoder", target)(made[target])
            losses[f"reconstruction_{source}"] = settings.reconstruction * distance(again, images[source])
            losses[f"kl_{source}"] = settings.kl * codes[source].float().square().mean()
            losses[f"cycle_kl_{source}"] = settings.cycle_kl * code.float().square().mean()
            if settings.cycle:
                back = self.network("decoder", source)(self.with_noise(code))
                losses[f"cycle_{source}"] = settings.cycle * distance(back, images[source])
        return losses

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        """Gives both directions: the encoder of one domain, the decoder of the other."""
        return {
            folder: Product(
                {"encoder": networks[f"encoder_{source}"], "decoder": networks[f"decoder_{target}"]},
                preprocessing=self.preprocessing(),
            )
            for folder, (source, target) in zip(("bundle", "bundle-back"), DIRECTIONS, strict=True)
        }

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives for both directions the pictures, reconstructed, and translated; without noise."""
        columns = []
        for image, (source, target) in zip(batch, DIRECTIONS, strict=True):
            code = networks[f"encoder_{source}"](image)
            columns += [image, networks[f"decoder_{source}"](code), networks[f"decoder_{target}"](code)]
        return columns

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives the PSNR of held-out pictures that were only encoded and decoded."""
        a, again_a, _, b, again_b, _ = self.samples(batch, networks)
        return {"psnr_a": psnr(again_a, a), "psnr_b": psnr(again_b, b)}


def build_unit(shape: Shape) -> Unit:
    """Makes the networks of both domains.

    Raises:
        I2IError: where the crops are too small for the discriminators.
    """
    settings = shape.settings
    assert isinstance(settings, UnitSettings)
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


# a million steps of one picture of each domain
RECIPE = Recipe(
    "unpaired",
    Shape(blocks=4),
    epochs=1,
    decay_epochs=9,
    decay=halving,
    epoch_images=STEPS_BEFORE_HALVING,
    load_size=256,
    crop_size=256,
    learning_rate=1e-4,
    optimization=OPTIMIZATION,
    settings=UnitSettings,
    uses=frozenset({"width", "blocks", "discriminator_width"}),
)
