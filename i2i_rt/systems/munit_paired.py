"""MUNIT-p, the baseline of StEP (Meshry et al. 2021, section 4): MUNIT's cross-cycle for pairs, on StEP's networks.

With `cycle=false` it is the paper's other baseline, BicycleGAN v1: BicycleGAN's objective on StEP's networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from i2i_rt.models import across
from i2i_rt.models.step import StepDiscriminator, StepEncoder, StepGenerator
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Batch, Product, Shape, System
from i2i_rt.systems.bicyclegan import KL_WEIGHT, STYLE_WEIGHT, found_again, sample_columns
from i2i_rt.systems.losses import distance, kl_divergence
from i2i_rt.systems.posterior import sampled
from i2i_rt.systems.reconstruction import Reconstruction
from i2i_rt.systems.step import RECIPE as STEP_RECIPE
from i2i_rt.systems.step import StepSettings, judged, step_product
from i2i_rt.systems.step_networks import build_discriminator, build_generator, build_style_encoder


@dataclass(frozen=True)
class MunitPairedSettings(StepSettings):
    """What StEP can be told, and which of its baselines it is.

    Attributes:
        cycle: false leaves the cyclic reconstruction out, which makes it BicycleGAN v1 of the paper.
        style_size: how many numbers a style has.
        reconstruction: vgg, or l1 of pixels, the official code's other choice, for which no weights are needed.
        features: of VGG and LPIPS, pretrained or random; random ones need no download, but compare with no others.
    """

    cycle: bool = True


class MunitPaired(System[Batch]):
    """Generator, style encoder with a Gaussian posterior, and one discriminator for both kinds of translations.

    Neighbours of a batch are the two pairs that exchange their styles. The official code adds up the losses of both
    and averages adversarial terms together with a zero, which the weights here say in one number.
    """

    phases = ("generator", "discriminator")

    def __init__(
        self,
        generator: StepGenerator,
        style_encoder: StepEncoder,
        discriminator: StepDiscriminator,
        settings: MunitPairedSettings,
    ) -> None:
        super().__init__()
        self.generator, self.style_encoder, self.discriminator = generator, style_encoder, discriminator
        self.cycle = settings.cycle
        self.pair = 2 if settings.cycle else 1  # pictures that a loss of the official code adds up
        self.reconstruction = Reconstruction(settings.reconstruction, settings.features)

    def trained_in(self, phase: str) -> tuple[str, ...]:
        return ("discriminator",) if phase == "discriminator" else ("generator", "style_encoder")

    def averaged(self) -> tuple[str, ...]:
        return "generator", "style_encoder"

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        if phase == "generator":
            return self.generator_losses(batch, kept)
        fake, real = self.pair / (2 * self.pair + 1), self.pair / (self.pair + 1)
        return {
            "D_fake": fake * judged(self.discriminator, kept["translated"], batch.a, real=False),
            "D_random": fake * judged(self.discriminator, kept["random"], batch.a, real=False),
            "D_real": real * judged(self.discriminator, batch.b, batch.a, real=True),
        }

    def generator_losses(self, batch: Batch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives direct and cyclic reconstruction and the latent regression; keeps both kinds of translations."""
        mean, log_variance = self.posterior(batch.b)
        style = sampled(mean, log_variance)
        drawn = across.normal(*mean.shape, device=mean.device)
        maps = self.generator.encode(batch.a)
        translated, random = self.generator.decode(maps, style), self.generator.decode(maps, drawn)
        kept |= {"translated": translated.detach(), "random": random.detach()}
        adversarial = self.pair / (self.pair + 1)
        losses = {
            "G_GAN": adversarial * judged(self.discriminator, translated, batch.a, real=True),
            "G_GAN_random": adversarial * judged(self.discriminator, random, batch.a, real=True),
            "reconstruction": self.pair * self.reconstruction.loss(translated, batch.b),
            "KL": KL_WEIGHT * kl_divergence(mean, log_variance) * across.count(),
            "style_L1": self.pair * STYLE_WEIGHT * distance(found_again(MeanStyle(self.style_encoder), random), drawn),
        }
        if self.cycle:
            neighbour = torch.arange(len(style), device=style.device) ^ 1
            exchanged = self.generator.decode(maps, style[neighbour])
            own = sampled(*self.posterior(exchanged))[neighbour]
            cycled = self.generator.decode(maps, own)
            losses["cycle"] = self.pair * self.reconstruction.loss(cycled, batch.b)
        return losses

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.style_encoder.posterior(self.style_encoder.features(images))

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        return {"bundle": step_product(networks, StyleInfo("normal"))}

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives input, truth, reconstruction, and the input in two drawn styles."""
        return sample_columns(batch, networks)

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Compares held-out pictures with their reconstruction of input and own style."""
        made = networks["generator"](batch.a, networks["style_encoder"](batch.b))
        return self.reconstruction.scores(made, batch.b)


class MeanStyle(nn.Module):
    """Gives the mean of the encoder's posterior in place of the style."""

    def __init__(self, encoder: StepEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        mean, _ = self.encoder.posterior(self.encoder.features(images))
        return mean


def build_munit_paired(shape: Shape) -> MunitPaired:
    settings = shape.settings
    assert isinstance(settings, MunitPairedSettings)
    return MunitPaired(
        build_generator(shape, settings.style_size),
        build_style_encoder(shape, settings.style_size),
        build_discriminator(shape),
        settings,
    )


# The official code trains the generator alone for the drawn styles, with a second optimiser of a tenth of the rate;
# here these losses have BicycleGAN's weights and the same optimiser as the others.
RECIPE = replace(STEP_RECIPE, epochs=600, settings=MunitPairedSettings, multiple=2)  # two exchange styles
