"""pix2pix (Isola et al. 2017, arXiv:1611.07004): translation learned from pairs."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.models.initialise import initialise
from i2i_rt.models.patchgan import PatchDiscriminator, PatchDiscriminatorConfig
from i2i_rt.models.unet import UNetGenerator, UNetGeneratorConfig
from i2i_rt.systems.base import Batch, Product, Recipe, Shape, System
from i2i_rt.systems.losses import adversarial, distance

RECONSTRUCTION_WEIGHT = 100.0


class Pix2Pix(System[Batch]):
    """A U-Net, and a discriminator that sees the input (first) and an image of B together.

    Batch norm takes the statistics of the images on its own device, as the papers' code does on several devices.
    """

    phases = ("discriminator", "generator")

    def __init__(self, generator: UNetGenerator, discriminator: PatchDiscriminator) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def trained_in(self, phase: str) -> tuple[str, ...]:
        return (phase,)

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        if phase == "discriminator":
            translated = kept["translated"] = self.generator(batch.a)
            fake = self.discriminator(torch.cat([batch.a, translated.detach()], 1))
            real = self.discriminator(torch.cat([batch.a, batch.b], 1))
            return {
                "D_fake": adversarial(fake, real=False, loss="cross-entropy") / 2,
                "D_real": adversarial(real, real=True, loss="cross-entropy") / 2,
            }
        translated = kept["translated"]
        scores = self.discriminator(torch.cat([batch.a, translated], 1))
        return {
            "G_GAN": adversarial(scores, real=True, loss="cross-entropy"),
            "G_L1": RECONSTRUCTION_WEIGHT * distance(translated, batch.b),
        }

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        return {"bundle": Product({"generator": networks["generator"]})}

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        return [batch.a, networks["generator"](batch.a), batch.b]


def build_pix2pix(shape: Shape) -> Pix2Pix:
    """Makes a U-Net as deep as the crops allow, at most 8 reductions: 256x256 pixels become one.

    Raises:
        I2IError: where the crops cannot be halved five times.
    """
    depth = min((shape.crop_size & -shape.crop_size).bit_length() - 1, 8)
    if depth < 5:
        raise I2IError(
            f"the crop size is {shape.crop_size}; pix2pix halves it at least five times: "
            "give a multiple of 32 with --crop-size, best 256"
        )
    system = Pix2Pix(
        UNetGenerator(UNetGeneratorConfig(width=shape.width, depth=depth)),
        PatchDiscriminator(PatchDiscriminatorConfig(in_channels=6, width=shape.discriminator_width, norm="batch")),
    )
    initialise(system, "normal")
    return system


RECIPE = Recipe(
    "paired",
    Shape(),
    epochs=100,
    decay_epochs=100,
    decay_lead=1,
    uses=frozenset({"width", "discriminator_width", "direction"}),
)
