"""BicycleGAN (Zhu et al. 2017, arXiv:1711.11586): from style to picture and back, in both orders."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from i2i_rt.errors import I2IError
from i2i_rt.models import across
from i2i_rt.models.bicyclegan import (
    POOL,
    BicycleGANDiscriminator,
    BicycleGANDiscriminatorConfig,
    BicycleGANEncoder,
    BicycleGANEncoderConfig,
    BicycleGANGenerator,
    BicycleGANGeneratorConfig,
)
from i2i_rt.models.initialise import initialise
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.pretrained import Features
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Batch, Product, Recipe, Shape, System
from i2i_rt.systems.losses import adversarial_sum, distance, kl_divergence
from i2i_rt.systems.posterior import sampled
from i2i_rt.systems.reconstruction import Reconstruction
from i2i_rt.systems.settings import Settings
from i2i_rt.systems.step_styles import check_style_size

STYLE_WEIGHT = 0.5
KL_WEIGHT = 0.01


@dataclass(frozen=True)
class BicycleGANSettings(Settings):
    """The size of a style, and what held-out pictures are judged by.

    Attributes:
        style_size: how many numbers a style has.
        features: of LPIPS, pretrained or random; random ones need no download, but compare with no others.
    """

    style_size: int = 8
    features: Features = "pretrained"

    def __post_init__(self) -> None:
        check_style_size(self.style_size)


class BicycleGAN(System[Batch]):
    """A conditional VAE-GAN and a conditional latent regressor that share generator and encoder.

    The first, third, … pair of a batch is encoded and reconstructed, and its input is also translated with a drawn
    style that the encoder has to find again; the other pairs' pictures are what `discriminator_random` compares that
    translation with. Each way has a discriminator of its own, which sees no input.
    """

    phases = ("generator", "discriminator")

    def __init__(
        self,
        generator: BicycleGANGenerator,
        style_encoder: BicycleGANEncoder,
        discriminators: tuple[BicycleGANDiscriminator, BicycleGANDiscriminator],
        features: Features,
    ) -> None:
        super().__init__()
        self.generator, self.style_encoder = generator, style_encoder
        self.discriminator, self.discriminator_random = discriminators
        self.reconstruction = Reconstruction("l1", features)

    def trained_in(self, phase: str) -> tuple[str, ...]:
        if phase == "generator":
            return "generator", "style_encoder"
        return "discriminator", "discriminator_random"

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        if phase == "generator":
            return self.generator_losses(batch, kept)
        return {
            "D_fake": judged(self.discriminator, kept["encoded"], real=False),
            "D_real": judged(self.discriminator, batch.b[::2], real=True),
            "D_random_fake": judged(self.discriminator_random, kept["random"], real=False),
            "D_random_real": judged(self.discriminator_random, batch.b[1::2], real=True),
        }

    def generator_losses(self, batch: Batch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives the losses of both ways; keeps both translations."""
        image, target = batch.a[::2], batch.b[::2]
        mean, log_variance = self.style_encoder.posterior(target)
        style = sampled(mean, log_variance)
        drawn = across.normal(*mean.shape, device=mean.device)
        encoded, random = self.generator(image, style), self.generator(image, drawn)
        kept |= {"encoded": encoded.detach(), "random": random.detach()}
        return {
            "G_GAN": judged(self.discriminator, encoded, real=True),
            "G_GAN_random": judged(self.discriminator_random, random, real=True),
            "reconstruction": self.reconstruction.loss(encoded, target),
            "KL": KL_WEIGHT * kl_divergence(mean, log_variance) * across.count(),
            "style_L1": STYLE_WEIGHT * distance(found_again(self.style_encoder, random), drawn),
        }

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        encoder = networks["style_encoder"]
        assert isinstance(encoder, BicycleGANEncoder)
        return {
            "bundle": Product(
                {"generator": networks["generator"], "style_encoder": encoder},
                preprocessing=Preprocessing("resize", encoder.size, encoder.size),
                style=StyleInfo("normal", mixing="spherical"),
            )
        }

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives input, truth, reconstruction, and the input in two drawn styles."""
        return sample_columns(batch, networks)

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Compares held-out pictures with their reconstruction of input and own style."""
        made = networks["generator"](batch.a, networks["style_encoder"](batch.b))
        return self.reconstruction.scores(made, batch.b)


def judged(discriminator: nn.Module, images: Tensor, *, real: bool) -> Tensor:
    return adversarial_sum(discriminator(images), real=real, loss="least-squares")


def found_again(encoder: nn.Module, images: Tensor) -> Tensor:
    """Gives the mean style of generated images, with gradients to the images and none to the encoder's weights.

    The encoder could otherwise make the drawn style easy to find, in place of the generator.
    """
    weights = {name: weight.detach() for name, weight in encoder.named_parameters()}
    mean: Tensor = functional_call(encoder, weights, (images,))
    return mean


def sample_columns(batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
    """Gives input, truth, reconstruction, and the input in two styles from N(0, 1), for the sample grid."""
    generator, styles = networks["generator"], networks["style_encoder"](batch.b)
    noise = torch.randn(2, styles.shape[1], generator=torch.Generator().manual_seed(0)).to(styles.device)
    drawn = [generator(batch.a, style.expand(len(batch.a), -1)) for style in noise]
    return [batch.a, batch.b, generator(batch.a, styles), *drawn]


def build_bicyclegan(shape: Shape) -> BicycleGAN:
    """Makes the U-Net and the residual encoder as deep as the crops ask: 256x256 pixels become one.

    Raises:
        I2IError: where the crops are no power of two, which the encoder's last pooling asks for.
    """
    size, settings = shape.crop_size, shape.settings
    assert isinstance(settings, BicycleGANSettings)
    if size & (size - 1) or size < 4 * POOL:
        raise I2IError(f"the crop size is {size}; BicycleGAN takes powers of two from {4 * POOL}: give --crop-size 256")
    depth = size.bit_length() - 1
    reductions = depth - (POOL.bit_length() - 1)
    widths = tuple(shape.width * min(level + 1, 4) for level in range(reductions))
    judges = BicycleGANDiscriminatorConfig(
        widths=(shape.discriminator_width, max(shape.discriminator_width // 2, 1)), reductions=3 if size >= 256 else 2
    )
    system = BicycleGAN(
        BicycleGANGenerator(
            BicycleGANGeneratorConfig(style_size=settings.style_size, width=shape.width, depth=min(depth, 8))
        ),
        BicycleGANEncoder(BicycleGANEncoderConfig(style_size=settings.style_size, widths=widths)),
        (BicycleGANDiscriminator(judges), BicycleGANDiscriminator(judges)),
        settings.features,
    )
    initialise(system, "xavier")
    return system


RECIPE = Recipe(
    "paired",
    Shape(),
    epochs=30,
    decay_epochs=30,
    batch=2,
    settings=BicycleGANSettings,
    uses=frozenset({"width", "discriminator_width", "direction"}),
    multiple=2,  # one half is encoded, the other one compared with
)
