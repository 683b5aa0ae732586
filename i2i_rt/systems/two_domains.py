"""What MUNIT's and UNIT's trainings share: encoders and a decoder for each of two domains, and a judge of each."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.metrics.pairs import psnr
from i2i_rt.models.initialise import initialise
from i2i_rt.models.munit import LayerNorm, ScalesDiscriminator, ScalesDiscriminatorConfig
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.pretrained import Features, FrozenNetwork, vgg16_without_last_reduction
from i2i_rt.systems.base import Batch, Optimization, Product, Recipe, Shape, System
from i2i_rt.systems.decay import halving
from i2i_rt.systems.losses import AdversarialLoss, adversarial_sum
from i2i_rt.systems.perceptual import normalised_vgg_loss
from i2i_rt.systems.settings import Settings

Sides = dict[str, Tensor]  # of domains "a" and "b"
DIRECTIONS = (("a", "b"), ("b", "a"))


@dataclass(frozen=True)
class TwoDomainsSettings(Settings):
    """Sizes and weights that both systems have."""

    reductions: int = 2
    judge_layers: int = 4
    judge_scales: int = 3
    gan: float = 1.0
    reconstruction: float = 10.0
    cycle: float = 10.0
    vgg: float = 0.0
    features: Features = "pretrained"

    def __post_init__(self) -> None:
        self.at_least(1, "reductions", "judge_layers", "judge_scales")
        self.at_least(0, "gan", "reconstruction", "cycle", "vgg")


class TwoDomains(System[Batch]):
    """The networks `…_a` and `…_b` of two domains of unrelated pictures; the discriminators go first in a step."""

    phases: ClassVar[tuple[str, ...]] = ("discriminator", "generator")
    adversarial_loss: ClassVar[AdversarialLoss] = "least-squares"

    settings: TwoDomainsSettings

    def __init__(self, networks: Mapping[str, nn.Module], settings: TwoDomainsSettings, side: int) -> None:
        """Takes the networks by name; `side` is that of the crops, to which a bundle scales the short side."""
        super().__init__()
        for name, network in networks.items():
            self.add_module(name, network)
        self.settings, self.side = settings, side

    def trained_in(self, phase: str) -> tuple[str, ...]:
        judges = phase == "discriminator"
        return tuple(name for name in self.networks if name.startswith("discriminator") == judges)

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        images = batch._asdict()
        if phase == "generator":
            return self.generator_losses(images)
        with torch.no_grad():
            made = self.translated(images)
        weight = self.settings.gan
        return {
            f"D_{side}": weight * (self.judged(made, side, real=False) + self.judged(images, side, real=True))
            for side in images
        }

    @abstractmethod
    def translated(self, images: Sides) -> Sides:
        """Gives translations by the domain that they are in: what is in "a" was made of the images of "b"."""

    @abstractmethod
    def generator_losses(self, images: Sides) -> dict[str, Tensor]:
        """Gives the weighted losses of encoders and decoders."""

    def network(self, name: str, side: str) -> nn.Module:
        return self.networks[f"{name}_{side}"]

    def judged(self, images: Sides, side: str, *, real: bool) -> Tensor:
        """Gives the loss of a domain's judge, summed over its scales."""
        scores = self.network("discriminator", side)(images[side])
        return adversarial_sum(scores, real=real, loss=self.adversarial_loss)

    def translation_losses(self, images: Sides, made: Sides) -> dict[str, Tensor]:
        """Gives what translations must be: like the domain's pictures, and in VGG's eyes like what they show."""
        settings = self.settings
        losses = {f"G_GAN_{side}": settings.gan * self.judged(made, side, real=True) for side in made}
        if settings.vgg:
            for source, target in DIRECTIONS:
                loss = normalised_vgg_loss(self._vgg, made[target], images[source])
                losses[f"vgg_{target}"] = settings.vgg * loss
        return losses

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        """Gives both directions."""
        folders = zip(("bundle", "bundle-back"), DIRECTIONS, strict=True)
        return {folder: self.product(networks, *direction) for folder, direction in folders}

    @abstractmethod
    def product(self, networks: Mapping[str, nn.Module], source: str, target: str) -> Product:
        """Gives the direction between two domains."""

    def preprocessing(self) -> Preprocessing:
        """Gives what the official test scripts do: the short side to one size, the other in proportion."""
        return Preprocessing("short_side", self.side, self.side, resample="bilinear")

    @abstractmethod
    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives for either domain its pictures, these after encoder and decoder, and their translations."""

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives the PSNR of held-out pictures that were only encoded and decoded."""
        a, again_a, _, b, again_b, _ = self.samples(batch, networks)
        return {"psnr_a": psnr(again_a, a), "psnr_b": psnr(again_b, b)}

    @cached_property
    def _vgg(self) -> FrozenNetwork:
        return vgg16_without_last_reduction(self.settings.features)


def check_crops(shape: Shape, settings: TwoDomainsSettings) -> None:
    """Raises `I2IError` where a decoder would not give crops their size back, or they would be reduced to one place.

    A place alone has no statistics, and no edge to reflect.
    """
    if shape.crop_size % 2**settings.reductions:
        raise I2IError(
            f"--crop-size is {shape.crop_size}; with --set reductions={settings.reductions} it must be a multiple of "
            f"{2**settings.reductions}"
        )
    if shape.crop_size < 2 * 2**settings.reductions:
        raise I2IError(
            f"--crop-size is {shape.crop_size}; with --set reductions={settings.reductions} it must be at least "
            f"{2 * 2**settings.reductions}"
        )


def build_discriminator(shape: Shape, settings: TwoDomainsSettings) -> ScalesDiscriminator:
    """Makes a domain's judge.

    Raises:
        I2IError: where the crops are too small for it.
    """
    halvings = settings.judge_layers + settings.judge_scales - 1
    if shape.crop_size < 2**halvings:
        raise I2IError(
            f"--crop-size is {shape.crop_size}; judges of {settings.judge_layers} layers at {settings.judge_scales} "
            f"scales need at least {2**halvings} (set judge_layers or judge_scales)"
        )
    return ScalesDiscriminator(
        ScalesDiscriminatorConfig(
            width=shape.discriminator_width, layers=settings.judge_layers, scales=settings.judge_scales
        )
    )


def initialise_as_published(system: TwoDomains) -> None:
    """Draws Kaiming's weights for encoders and decoders, N(0, 0.02) for judges, and the scales of layer norm."""
    for name, network in system.networks.items():
        initialise(network, "normal" if name.startswith("discriminator") else "kaiming")
        for module in network.modules():
            if isinstance(module, LayerNorm):
                nn.init.uniform_(module.weight)


# a million steps of one picture of each domain; the learning rate is halved after each hundred thousand
RECIPE = Recipe(
    "unpaired",
    Shape(blocks=4),
    epochs=1,
    decay_epochs=9,
    decay=halving,
    epoch_images=100_000,
    resize="short",
    load_size=256,
    crop_size=256,
    learning_rate=1e-4,
    optimization={"": Optimization(weight_decay=1e-4)},
    settings=TwoDomainsSettings,
    uses=frozenset({"width", "blocks", "discriminator_width"}),
)
