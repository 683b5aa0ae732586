"""EGSC-IT's first stage (Ma et al. 2019, section 3.3): a VAE-GAN a domain, of which the encoder is kept.

The encoder's features give the masks and the styles of the second stage, `egscit`, and do not change there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.metrics.pairs import psnr
from i2i_rt.models.egscit import (
    Decoder,
    EgscitDiscriminator,
    EgscitDiscriminatorConfig,
    EgscitStyleEncoder,
    EgscitStyleEncoderConfig,
    residual_blocks,
)
from i2i_rt.models.initialise import initialise
from i2i_rt.systems.base import Batch, Optimization, Product, Recipe, Shape, System
from i2i_rt.systems.losses import adversarial, distance, mean_square
from i2i_rt.systems.posterior import noisy
from i2i_rt.systems.settings import Settings

DOMAINS = ("a", "b")
SHARED_BLOCKS = 1  # of the residual blocks, those next to the code

# weights of the losses, in the official training scripts
ADVERSARIAL_WEIGHT = 10.0
RECONSTRUCTION_WEIGHT = 100.0
KL_WEIGHT = 0.1
POWER = 0.9  # of the learning rate's decay (section A.2)


@dataclass(frozen=True)
class EgscitMasksSettings(Settings):
    """The depth of the networks.

    Attributes:
        reductions: how often encoders halve the size; the same in both stages; 0 for single digits.
        layers: strided convolutions of a discriminator.
    """

    reductions: int = 2
    layers: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.reductions <= 4:
            raise I2IError(f"--set reductions={self.reductions}; it must lie between 0 and 4")
        if self.layers < 1:
            raise I2IError(f"--set layers={self.layers}; a discriminator has at least one")


class Remainder(nn.Module):
    """What an autoencoder has beside the features: code with noise `[N, C, h, w]`, and image in [-1, 1]."""

    def __init__(self, width: int, reductions: int, blocks: int) -> None:
        super().__init__()
        channels = width << reductions
        self.shared_encoder = residual_blocks(channels, SHARED_BLOCKS)
        self.shared_decoder = residual_blocks(channels, SHARED_BLOCKS)
        self.decoder = Decoder(3, width, reductions, blocks)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        code = noisy(self.shared_encoder(features))
        return self.decoder(self.shared_decoder(code)), code


class EgscitMasks(System[Batch]):
    """An autoencoder and a discriminator for each domain; the domains know nothing of each other."""

    phases = ("generator", "discriminator")

    def __init__(self, shape: Shape, settings: EgscitMasksSettings) -> None:
        super().__init__()
        self.features_a, self.features_b = (build_features(shape, settings) for _ in DOMAINS)
        self.remainder_a, self.remainder_b = (
            Remainder(shape.width, settings.reductions, shape.blocks) for _ in DOMAINS
        )
        # named apart from those of the second stage, which begin anew
        self.discriminator_of_a, self.discriminator_of_b = (build_discriminator(shape, settings) for _ in DOMAINS)

    def trained_in(self, phase: str) -> tuple[str, ...]:
        if phase == "discriminator":
            return "discriminator_of_a", "discriminator_of_b"
        return "features_a", "features_b", "remainder_a", "remainder_b"

    def rate(self, name: str) -> float:
        return polynomial(self.step, self.steps)

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = {}
        for domain, image in zip(DOMAINS, batch, strict=True):
            judge = self.networks[f"discriminator_of_{domain}"]
            if phase == "discriminator":
                losses[f"D_{domain}"] = judged_apart(judge, image, kept[domain])
                continue
            made, code = reconstructed(self.networks, domain, image)
            kept[domain] = made.detach()
            losses |= {
                f"G_GAN_{domain}": ADVERSARIAL_WEIGHT * adversarial(judge(made), real=True, loss="least-squares"),
                f"L1_{domain}": RECONSTRUCTION_WEIGHT * distance(made, image),
                f"KL_{domain}": KL_WEIGHT * mean_square(code),
            }
        return losses

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        """Gives none: nothing translates yet."""
        return {}

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives the pictures of each domain and their reconstructions."""
        made = [reconstructed(networks, domain, image)[0] for domain, image in zip(DOMAINS, batch, strict=True)]
        return [batch.a, made[0], batch.b, made[1]]

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives the PSNR of reconstructions of held-out pictures."""
        a, again_a, b, again_b = self.samples(batch, networks)
        return {"psnr_a": psnr(again_a, a), "psnr_b": psnr(again_b, b)}


def reconstructed(networks: Mapping[str, nn.Module], domain: str, image: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the image again, and its code."""
    features = networks[f"features_{domain}"]
    assert isinstance(features, EgscitStyleEncoder)
    made, code = networks[f"remainder_{domain}"](features.features(image))
    return made, code


def judged_apart(judge: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Gives a discriminator's loss."""
    both = (
        adversarial(judge(real), real=True, loss="least-squares"),
        adversarial(judge(fake), real=False, loss="least-squares"),
    )
    return torch.stack(both).mean()


def polynomial(step: int, steps: int) -> float:
    """Gives what the learning rate is multiplied with: it falls from 1 before the first step to 0 after the last."""
    return float(max(1 - step / steps, 0.0) ** POWER)


def build_features(shape: Shape, settings: EgscitMasksSettings) -> EgscitStyleEncoder:
    features = EgscitStyleEncoder(EgscitStyleEncoderConfig(3, shape.width, settings.reductions, shape.blocks))
    if shape.crop_size % features.multiple:
        raise I2IError(
            f"--crop-size is {shape.crop_size}; with --set reductions={settings.reductions} it must be a multiple of "
            f"{features.multiple}"
        )
    return features


def build_discriminator(shape: Shape, settings: EgscitMasksSettings) -> EgscitDiscriminator:
    if shape.crop_size <= 2**settings.layers:  # one place has no statistics to normalise with
        raise I2IError(
            f"--crop-size is {shape.crop_size}; with --set layers={settings.layers} it must be more than "
            f"{2**settings.layers}"
        )
    widths = tuple(shape.discriminator_width << layer for layer in range(settings.layers))
    return EgscitDiscriminator(EgscitDiscriminatorConfig(3, widths))


def draw(system: nn.Module) -> None:
    """Draws a system's weights as the official code does its discriminators' (Glorot and Bengio 2010).

    Its generators' have a deviation of 0.02, which is the same for 256 channels; narrow networks would let too little
    through. The last layers do have it: where tanh saturates before features tell anything, a colour is lost for good.
    """
    initialise(system, "xavier", 1.0)
    for module in system.modules():
        if isinstance(module, Decoder):
            initialise(module.last, "normal")


def build_egscit_masks(shape: Shape) -> EgscitMasks:
    assert isinstance(shape.settings, EgscitMasksSettings)
    system = EgscitMasks(shape, shape.settings)
    draw(system)
    return system


# Table 6, with the batch and the size of faces. The official code makes as many steps, of 8 pictures, as the set has
# pictures; the learning rate falls in all of them, by `polynomial`.
RECIPE = Recipe(
    "unpaired",
    Shape(blocks=3, crop_size=128),
    epochs=8,
    decay_epochs=0,
    batch=8,
    load_size=144,
    crop_size=128,
    learning_rate=1e-4,
    optimization={"": Optimization(betas=(0.5, 0.999))},
    settings=EgscitMasksSettings,
    uses=frozenset({"width", "blocks", "discriminator_width", "direction"}),
)
