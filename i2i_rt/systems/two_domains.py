"""What MUNIT's and UNIT's trainings share: encoders and a decoder for each of two domains, and a judge of each."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.models.initialise import initialise
from i2i_rt.models.munit import LayerNorm, ScalesDiscriminator, ScalesDiscriminatorConfig
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.pretrained import Features, FrozenNetwork, vgg16_without_last_reduction
from i2i_rt.systems.base import Batch, Optimization, Shape, System
from i2i_rt.systems.losses import adversarial_sum
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
        for name in ("reductions", "judge_layers", "judge_scales"):
            self._at_least(name, 1)
        for name in ("gan", "reconstruction", "cycle", "vgg"):
            self._at_least(name, 0)

    def _at_least(self, name: str, least: int) -> None:
        if getattr(self, name) < least:
            raise I2IError(f"--set {name} is {getattr(self, name):g}; it must be at least {least}")


class TwoDomains(System[Batch]):
    """The networks `…_a` and `…_b` of two domains of unrelated pictures; the discriminators go first in a step."""

    phases: ClassVar[tuple[str, ...]] = ("discriminator", "generator")

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
        """Gives the least squares of a domain's judge, summed over its scales."""
        return adversarial_sum(self.network("discriminator", side)(images[side]), real=real, loss="least-squares")

    def translation_losses(self, images: Sides, made: Sides) -> dict[str, Tensor]:
        """Gives what translations must be: like the domain's pictures, and in VGG's eyes like what they show."""
        settings = self.settings
        losses = {f"G_GAN_{side}": settings.gan * self.judged(made, side, real=True) for side in made}
        if settings.vgg:
            for source, target in DIRECTIONS:
                loss = normalised_vgg_loss(self._vgg, made[target], images[source])
                losses[f"vgg_{target}"] = settings.vgg * loss
        return losses

    def preprocessing(self) -> Preprocessing:
        """Gives what the official test scripts do: the short side to one size, the other in proportion."""
        return Preprocessing("short_side", self.side, self.side, resample="bilinear")

    @cached_property
    def _vgg(self) -> FrozenNetwork:
        return vgg16_without_last_reduction(self.settings.features)


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


OPTIMIZATION = {"": Optimization(weight_decay=1e-4)}
STEPS_BEFORE_HALVING = 100_000  # an epoch of theirs: the learning rate is halved after each
