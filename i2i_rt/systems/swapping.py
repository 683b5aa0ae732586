"""The Swapping Autoencoder (Park et al. 2020, arXiv:2007.00653; Park's thesis, sections 4.3 and 4.4.8).

Pictures of one set, without labels, are taken apart into structure and texture and put together again: with their own
texture they must come out as they were, with another picture's they must look real, and small crops of them must look
as if they came from that other picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.metrics.pairs import psnr
from i2i_rt.models import across
from i2i_rt.models.swapping import (
    SwappingEncoder,
    SwappingEncoderConfig,
    SwappingGenerator,
    SwappingGeneratorConfig,
)
from i2i_rt.models.swapping_discriminators import (
    SwappingDiscriminator,
    SwappingDiscriminatorConfig,
    SwappingPatchDiscriminator,
    SwappingPatchDiscriminatorConfig,
    crops,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Optimization, Pictures, Product, Recipe, Shape, System
from i2i_rt.systems.losses import adversarial_each, gradient_penalty_each, in_float32
from i2i_rt.systems.settings import Settings

PENALTY_EVERY = 16  # of the discriminators' steps: R1 is added so rarely, and so many times over


@dataclass(frozen=True)
class SwappingSettings(Settings):
    """Sizes beside those of `Shape`, crops, and loss weights; the defaults are the official ones for 256 pixels.

    Attributes:
        reductions: halvings of the sides on the way to the structure code: 4, for 1024 pixels 5 or 6.
        structure_channels: of the structure code.
        texture_channels: length of the texture code.
        texture_reductions: further halvings on the way to the texture code.
        max_width: where the channels of generator and image discriminator are no longer doubled.
        patch_size: pixels that the patch discriminator's crops are resized to; a power of two, at least 8.
        patch_width: channels of its first layer; they double up to twelve times as many.
        patch_hidden: channels of the layers that compare a crop with its reference.
        crops: cut from every picture.
        smallest, largest: share of the picture's sides that a crop has, width and height on their own.
        reconstruction: weight of the mean absolute difference.
        gan: weight of the image discriminator; swapped pictures count once, reconstructed ones half.
        patch_gan: weight of the patch discriminator.
        penalty, patch_penalty: weights of R1 for images and for crops.
    """

    reductions: int = 4
    structure_channels: int = 8
    texture_channels: int = 2048
    texture_reductions: int = 2
    max_width: int = 512
    patch_size: int = 128
    patch_width: int = 32
    patch_hidden: int = 2048
    crops: int = 8
    smallest: float = 1 / 8
    largest: float = 1 / 4
    reconstruction: float = 1.0
    gan: float = 1.0
    patch_gan: float = 1.0
    penalty: float = 10.0
    patch_penalty: float = 1.0

    def __post_init__(self) -> None:
        self.at_least(1, "reductions", "structure_channels", "texture_channels", "texture_reductions")
        self.at_least(1, "patch_width", "crops")
        self.at_least(2, "max_width", "patch_hidden")  # there are layers of half of them
        self.at_least(0, "reconstruction", "gan", "patch_gan", "penalty", "patch_penalty")
        if self.patch_size < 8 or self.patch_size & (self.patch_size - 1):
            raise I2IError(f"--set patch_size is {self.patch_size}; it must be a power of two, at least 8")
        if not 0 < self.smallest <= self.largest <= 1:
            raise I2IError(
                f"--set smallest is {self.smallest:g} and largest {self.largest:g}; these are shares of a picture's "
                "sides, above 0, at most 1, the first not above the second"
            )


class Places(NamedTuple):
    """Where T crops are cut from each of N pictures: random numbers in [0, 1], as `crops` takes them."""

    flip: Tensor  # [N * T, 1, 1, 1]
    scale: Tensor  # [N * T, 1, 1, 2]
    offset: Tensor  # [N * T, 1, 1, 2]


class SwappingAutoencoder(System[Pictures]):
    """Encoder, generator, and discriminators of pictures and of crops.

    Discriminators and autoencoder take turns, each with pictures of its own: a step moves one of the two. Half of the
    pictures are reconstructed; all are put together with the texture of a neighbour.
    """

    phases = ("discriminator", "penalty", "generator")

    def __init__(
        self,
        encoder: SwappingEncoder,
        generator: SwappingGenerator,
        discriminator: SwappingDiscriminator,
        patch_discriminator: SwappingPatchDiscriminator,
        settings: SwappingSettings,
    ) -> None:
        super().__init__()
        self.encoder, self.generator = encoder, generator
        self.discriminator, self.patch_discriminator = discriminator, patch_discriminator
        self.settings = settings

    def trained_in(self, phase: str) -> tuple[str, ...]:
        turn, autoencoder = divmod(self.step, 2)
        if phase == "generator":
            return ("encoder", "generator") if autoencoder else ()
        if autoencoder or (phase == "penalty" and (turn + 1) % PENALTY_EVERY):
            return ()
        return "discriminator", "patch_discriminator"

    def needs_gradient(self, name: str, phase: str) -> bool:
        return name in self.trained_in(phase)  # no graph goes from one phase to another

    def losses(self, batch: Pictures, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: each.mean() for name, each in self.losses_each(batch.image, phase).items()}

    def losses_each(self, image: Tensor, phase: str) -> dict[str, Tensor]:
        """Gives the weighted losses before their means are taken: a value for each picture, or for each crop."""
        if phase == "discriminator":
            return self.discriminator_losses(image)
        return self.penalty(image) if phase == "penalty" else self.autoencoder_losses(image)

    def discriminator_losses(self, image: Tensor) -> dict[str, Tensor]:
        settings = self.settings
        with torch.no_grad():
            reconstructed, swapped = self.generated(image)
        reference = self.features(image, average=True)
        real, mixed = (self.compare(reference, self.features(images)) for images in (image, swapped))
        judge = self.discriminator
        return {
            "D_real": settings.gan * adversarial_each(judge(image), real=True),
            "D_rec": settings.gan / 2 * adversarial_each(judge(reconstructed), real=False),
            "D_swap": settings.gan / 2 * adversarial_each(judge(swapped), real=False),
            "D_patch_real": settings.patch_gan * adversarial_each(real, real=True),
            "D_patch_swap": settings.patch_gan * adversarial_each(mixed, real=False),
        }

    def penalty(self, image: Tensor) -> dict[str, Tensor]:
        """Gives R1 of both discriminators, as often over as it is left out; in float32 under mixed precision too."""
        settings = self.settings
        with in_float32(image):
            image = image.detach().requires_grad_()
            of_images = gradient_penalty_each(self.discriminator(image), image)
            reference, target = (self.cut(image.detach()).requires_grad_() for _ in range(2))
            network = self.patch_discriminator
            scores = network(network.features(reference, average=True), network.features(target))
            of_crops = gradient_penalty_each(scores, reference, target)
        return {
            "D_R1": PENALTY_EVERY * settings.penalty * of_images,
            # half, because there are crops on both sides
            "D_patch_R1": PENALTY_EVERY * settings.patch_penalty / 2 * of_crops,
        }

    def autoencoder_losses(self, image: Tensor) -> dict[str, Tensor]:
        settings = self.settings
        reconstructed, swapped = self.generated(image)
        with torch.no_grad():
            reference = self.features(image, average=True)
        difference = (reconstructed.float() - self.reconstructed_rows(image)).abs().flatten(1).mean(1)
        return {
            "G_L1": settings.reconstruction * difference,
            "G_rec": settings.gan / 2 * adversarial_each(self.discriminator(reconstructed), real=True),
            "G_swap": settings.gan * adversarial_each(self.discriminator(swapped), real=True),
            "G_patch": settings.patch_gan
            * adversarial_each(self.compare(reference, self.features(swapped)), real=True),
        }

    def generated(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Gives half of the pictures reconstructed, and every picture's texture on its neighbour's structure."""
        structure, texture = self.encoder(image)
        return (
            self.generator(self.reconstructed_rows(structure), self.reconstructed_rows(texture)),
            self.generator(neighbours(structure), texture),
        )

    def reconstructed_rows(self, rows: Tensor) -> Tensor:
        """Gives the first of each pair of neighbours: the same pictures on however many processes they are."""
        return rows[::2]

    def features(self, images: Tensor, *, average: bool = False) -> Tensor:
        """Gives the patch discriminator's features `[N * T, F, 2, 2]` of random crops."""
        return self.patch_discriminator.features(self.cut(images), average=average)

    def compare(self, reference: Tensor, target: Tensor) -> Tensor:
        scores: Tensor = self.patch_discriminator(reference, target)
        return scores

    def cut(self, images: Tensor) -> Tensor:
        """Cuts random crops, `[N, T, 3, P, P]`."""
        settings = self.settings
        return crops(images, settings.patch_size, *self.places(images), scales=(settings.smallest, settings.largest))

    def places(self, images: Tensor) -> Places:
        rows = len(images) * self.settings.crops
        return Places(*(across.uniform(rows, 1, 1, size, device=images.device) for size in (1, 2, 2)))

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        encoder = networks["encoder"]
        assert isinstance(encoder, SwappingEncoder)
        side = self.discriminator.config.side << (len(self.discriminator.config.widths) - 1)
        preprocessing = Preprocessing(
            "scale_shortside", side, multiple=max(16, encoder.multiple), round_always=True, exact=True
        )
        kept = {name: networks[name] for name in ("encoder", "generator")}
        return {"bundle": Product(kept, None, preprocessing, StyleInfo(prior="fitted", mixing="linear"))}

    def samples(self, batch: Pictures, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives pictures, reconstructions, other pictures, and the pictures with these ones' textures."""
        assert batch.other is not None
        structure, texture = networks["encoder"](batch.image)
        _, other = networks["encoder"](batch.other)
        generator = networks["generator"]
        return [batch.image, generator(structure, texture), batch.other, generator(structure, other)]

    def scores(self, batch: Pictures, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives the reconstructions' PSNR, and how much of the texture and structure codes a swap keeps (cosine)."""
        assert batch.other is not None
        encoder, generator = networks["encoder"], networks["generator"]
        structure, texture = encoder(batch.image)
        _, other = encoder(batch.other)
        kept, taken = encoder(generator(structure, other))
        return {
            "psnr": psnr(generator(structure, texture).clamp(-1, 1), batch.image),
            "texture": (taken * other).sum(1),  # both have length one
            "structure": (kept * structure).sum(1).mean((1, 2)),
        }


def neighbours(rows: Tensor) -> Tensor:
    """Exchanges each even row with the odd one that follows it."""
    return rows.view(-1, 2, *rows.shape[1:]).flip(1).view_as(rows)


def build_swapping(shape: Shape) -> SwappingAutoencoder:
    """Makes the networks for square crops.

    Raises:
        I2IError: where the reductions do not fit the size of the crops.
    """
    settings, side, width = cast(SwappingSettings, shape.settings), shape.crop_size, shape.width
    reductions, texture = settings.reductions, settings.texture_channels
    encoder = SwappingEncoderConfig(
        widths=tuple(width * 2**level for level in range(reductions + 1)),
        texture_widths=tuple(
            min(texture, width * 2 ** (reductions + 1 + level)) for level in range(settings.texture_reductions)
        ),
        structure_channels=settings.structure_channels,
        texture_channels=texture,
    )
    if side % encoder.multiple or side < encoder.low:  # before there are networks, which could be too large
        raise I2IError(
            f"--crop-size is {side}; with {reductions} reductions and {settings.texture_reductions} of the texture it "
            f"must be a multiple of {encoder.multiple}, at least {encoder.low}: set reductions to another number"
        )
    # the generator is four times as wide as the encoder where both have the picture's sides
    widths = [min(settings.max_width, 4 * width * 2 ** (reductions - level)) for level in range(reductions + 1)]
    generator = SwappingGenerator(
        SwappingGeneratorConfig(
            structure_channels=settings.structure_channels,
            texture_channels=texture,
            head_widths=(round(widths[0] / 2), widths[0]),
            widths=tuple(widths[1:]),
        )
    )
    return SwappingAutoencoder(
        SwappingEncoder(encoder),
        generator,
        SwappingDiscriminator(discriminator_config(side, shape.discriminator_width, settings.max_width)),
        SwappingPatchDiscriminator(patch_discriminator_config(settings)),
        settings,
    )


def discriminator_config(side: int, width: int, most: int) -> SwappingDiscriminatorConfig:
    """Gives the discriminator that reduces crops of `side` pixels to 4 or 3.

    Raises:
        I2IError: where that leaves a remainder.
    """
    levels = (side // 4 - 1).bit_length()
    if side % 2**levels:
        raise I2IError(f"--crop-size is {side}; it must be 3 or 4 times a power of two, such as 256 or 384")
    widths = tuple(min(most, width * 2**level) for level in range(levels + 1))
    return SwappingDiscriminatorConfig(widths=widths, side=side >> levels, hidden=widths[-1])


def patch_discriminator_config(settings: SwappingSettings) -> SwappingPatchDiscriminatorConfig:
    most = 12 * settings.patch_width
    reductions = settings.patch_size.bit_length() - 3  # to 4x4
    widths = tuple(min(most, settings.patch_width * 2**level) for level in range(reductions + 1))
    hidden = settings.patch_hidden
    return SwappingPatchDiscriminatorConfig(
        widths=widths, wide=2 * widths[-1], features=widths[-1], hidden=(hidden, hidden, hidden // 2)
    )


ADAM = Optimization(betas=(0.0, 0.99))
# Adam's step and memory, as if the steps of R1 had been taken together with those of the other losses
LAZY = PENALTY_EVERY / (PENALTY_EVERY + 1)
LAZY_ADAM = Optimization(rate=LAZY, betas=(0.0, 0.99**LAZY))
# 25 million pictures, those of the discriminators' steps and of the autoencoder's together
RECIPE = Recipe(
    "pictures",
    Shape(width=32, discriminator_width=128),
    epochs=25,
    decay_epochs=0,
    batch=16,
    resize="short",
    load_size=256,
    crop_size=256,
    learning_rate=2e-3,
    epoch_images=1_000_000,
    optimization={"": ADAM, "discriminator": LAZY_ADAM, "patch_discriminator": LAZY_ADAM},
    settings=SwappingSettings,
    uses=frozenset({"width", "discriminator_width"}),
    multiple=2,
)
