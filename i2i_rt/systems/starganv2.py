"""StarGAN v2 (Choi et al. 2020, arXiv:1912.01865), also with a smooth style space (Liu et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.importers.stargan import read_fan
from i2i_rt.metrics.lpips import Lpips, lpips
from i2i_rt.metrics.styles import diversity, path_smoothness
from i2i_rt.models import across
from i2i_rt.models.fan import FaceAlignment, masks_of
from i2i_rt.models.initialise import initialise
from i2i_rt.models.stargan import (
    MappingNetwork,
    MappingNetworkConfig,
    StarGANDiscriminator,
    StarGANDiscriminatorConfig,
    StarGANGenerator,
    StarGANGeneratorConfig,
    StarGANStyleEncoder,
    StarGANStyleEncoderConfig,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.pretrained import Features
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import DomainBatch, Optimization, Product, Recipe, Shape, System
from i2i_rt.systems.losses import adversarial, distance, gradient_penalty, in_float32
from i2i_rt.systems.settings import Settings
from i2i_rt.systems.smoothing import Smoothing, SmoothingSettings, Triplet


@dataclass(frozen=True)
class StarGANv2Settings(Settings):
    """Sizes beside those of `Shape`, and weights of the losses; the defaults are those for AFHQ (appendix B).

    Attributes:
        mapping_rate: what the mapping network's learning rate is multiplied with; it learns slower than the others.
        max_width: where channels are no longer doubled.
        style_dim, latent_dim, mapping_width: numbers of a style, of the noise, and between them.
        style, cycle: lambda_sty and lambda_cyc.
        diversity: lambda_ds at the first step, from which it falls evenly to 0; 1 for faces.
        penalty: weight of R1.
        features: of the LPIPS that scores are measured with; "random" ones need no download, and compare with no
            other figures.
        w_hpf: for faces 1: details pass the masks of the face, in a high-pass filter that is divided by it.
        fan: with w_hpf, the file of the face alignment network, wing.ckpt.
    """

    mapping_rate: float = 0.01
    max_width: int = 512
    style_dim: int = 64
    latent_dim: int = 16
    mapping_width: int = 512
    style: float = 1.0
    diversity: float = 2.0
    cycle: float = 1.0
    penalty: float = 1.0
    features: Features = "pretrained"
    w_hpf: float = 0.0
    fan: str = ""

    def __post_init__(self) -> None:
        self.at_least(0, "style", "diversity", "cycle", "penalty", "mapping_rate", "w_hpf")
        if bool(self.w_hpf) != bool(self.fan):
            raise I2IError(
                f"--set w_hpf is {self.w_hpf:g} and fan is {self.fan!r}; masks of faces need both a w_hpf above 0 and "
                "the file of the face alignment network (wing.ckpt)"
            )


@dataclass(frozen=True)
class SmoothStarGANv2Settings(StarGANv2Settings, SmoothingSettings):
    """StarGAN v2's settings, and the weights of the smoothing losses; the defaults are the official training script's.

    Attributes:
        style, diversity, cycle, penalty: the weights of StarGAN v2's losses.
        triplet, margin: of the loss that keeps domains apart; the authors say that a weight of 0.1 is often enough.
        regularization: of the codes' mean squares, where it has grown.
        regularization_start: share of the steps after which it grows from 0, evenly until the last step.
        content: of LPIPS between a picture and its translation; 0 leaves it out.
        features: of LPIPS; "random" ones need no download, and are no measure of likeness.
        mapping_rate: what the mapping network's learning rate is multiplied with.
        w_hpf, fan: for masks of faces, 1 and the file of the face alignment network, wing.ckpt.
        max_width, style_dim, latent_dim, mapping_width: sizes of the networks.
    """

    style: float = 2.0
    diversity: float = 1.0

    def __post_init__(self) -> None:
        StarGANv2Settings.__post_init__(self)
        SmoothingSettings.__post_init__(self)


DRAWS = 4  # translations of an image whose diversity is scored
WAY_STEPS = 20  # T of the paper: of ways whose smoothness is scored


class FaceMasks:
    """Gives the masks of the faces in images; no part of a system, so that it is neither trained nor saved with it."""

    def __init__(self, network: FaceAlignment) -> None:
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return masks_of(self.network.to(image.device)(image))


class StyleSource(NamedTuple):
    """A network, and what it makes two styles of a domain from: noise `[N, Z]` or references `[N, 3, H, W]`."""

    network: nn.Module
    given: Tensor
    other: Tensor


class StarGANv2(System[DomainBatch]):
    """Generator, mapping network, style encoder, and a discriminator with an output for each domain.

    A step has two passes, with styles made from noise and with those of references; in the second one only the
    generator moves, as in the papers' code.
    """

    phases = ("discriminator-latent", "discriminator-reference", "generator-latent", "generator-reference")

    def __init__(
        self,
        networks: tuple[StarGANGenerator, MappingNetwork, StarGANStyleEncoder, StarGANDiscriminator],
        settings: StarGANv2Settings,
        domains: tuple[str, ...],
        *,
        faces: FaceMasks | None = None,
        smoothing: Smoothing | None = None,
    ) -> None:
        super().__init__()
        self.generator, self.mapping_network, self.style_encoder, self.discriminator = networks
        self.settings, self.domains, self.faces, self.smoothing = settings, domains, faces, smoothing

    def trained_in(self, phase: str) -> tuple[str, ...]:
        if phase.startswith("discriminator"):
            return ("discriminator",)
        return ("generator", "mapping_network", "style_encoder") if phase == "generator-latent" else ("generator",)

    def needs_gradient(self, name: str, phase: str) -> bool:
        return name in self.trained_in(phase)  # no graph goes from one phase to another

    def rate(self, name: str) -> float:
        return self.settings.mapping_rate if name == "mapping_network" else 1.0

    def losses(self, batch: DomainBatch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        network, _, source = phase.partition("-")
        styles = self.from_noise(batch, kept) if source == "latent" else self.from_references(batch)
        if network == "discriminator":
            losses = self.discriminator_losses(batch, styles)
        else:
            losses = self.generator_losses(batch, styles, kept)
            if self.smoothing is not None:
                losses |= self.smoothing.of_images(batch.image, kept.pop("translated"))
                if source == "latent":
                    losses |= self.smoothing.of_codes(self.triplet(batch, kept), done=self.done)
        return {f"{network[0].upper()}_{source}_{name}": loss for name, loss in losses.items()}

    @property
    def done(self) -> float:
        return self.step / self.steps

    def from_noise(self, batch: DomainBatch, kept: dict[str, Tensor]) -> StyleSource:
        """Gives the step's noise, the same in all its phases."""
        for name in ("noise", "other noise"):
            if name not in kept:
                kept[name] = across.normal(len(batch.image), self.settings.latent_dim, device=batch.image.device)
        return StyleSource(self.mapping_network, kept["noise"], kept["other noise"])

    def from_references(self, batch: DomainBatch) -> StyleSource:
        return StyleSource(self.style_encoder, batch.reference, batch.other_reference)

    def triplet(self, batch: DomainBatch, kept: dict[str, Tensor]) -> Triplet:
        """Gives codes made from noise and those of pictures by turns; the negatives are of the images' own domains."""
        apart = batch.target != batch.domain
        if self.step % 2:
            network, given, other = self.from_references(batch)
            negative = kept["own style"]
        else:
            network, given, other = self.from_noise(batch, kept)
            negative = network(given, batch.domain)
        return Triplet(network(given, batch.target), network(other, batch.target), negative, apart)

    def discriminator_losses(self, batch: DomainBatch, styles: StyleSource) -> dict[str, Tensor]:
        with torch.no_grad():
            style = styles.network(styles.given, batch.target)
            translated = self.generator(batch.image, style, self.masks(batch.image))
        image = batch.image.detach().requires_grad_()
        with in_float32(image):
            scores = self.judge(image, batch.domain)
        return {
            "real": adversarial(scores, real=True, loss="cross-entropy"),
            "fake": adversarial(self.judge(translated, batch.target), real=False, loss="cross-entropy"),
            "R1": self.settings.penalty * gradient_penalty(scores, image),
        }

    def generator_losses(self, batch: DomainBatch, styles: StyleSource, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives equation 6; keeps the translation and the images' own styles."""
        settings, image = self.settings, batch.image
        style, masks = styles.network(styles.given, batch.target), self.masks(image)
        translated = self.generator(image, style, masks)
        with torch.no_grad():
            other = self.generator(image, styles.network(styles.other, batch.target), masks)
        own = self.style_encoder(image, batch.domain)
        back = self.generator(translated, own, self.masks(translated))
        kept |= {"translated": translated, "own style": own}
        return {
            "GAN": adversarial(self.judge(translated, batch.target), real=True, loss="cross-entropy"),
            "style": settings.style * distance(self.style_encoder(translated, batch.target), style),
            "diversity": -settings.diversity * (1 - self.done) * distance(translated, other),
            "cycle": settings.cycle * distance(back, image),
        }

    def judge(self, image: Tensor, domain: Tensor) -> Tensor:
        """Gives the discriminator's scores `[N, 1]` of images as ones of their domains."""
        scores: Tensor = self.discriminator(image).gather(1, domain[:, None])
        return scores

    def masks(self, image: Tensor) -> tuple[Tensor, Tensor] | None:
        return None if self.faces is None else self.faces(image)

    def averaged(self) -> tuple[str, ...]:
        return "generator", "mapping_network", "style_encoder"

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        kept = {name: networks[name] for name in self.averaged()}
        if self.faces is not None:
            kept["fan"] = self.faces.network
        side = self.style_encoder.config.image_size
        preprocessing = Preprocessing("resize", side, side, resample="bilinear")
        return {"bundle": Product(kept, None, preprocessing, StyleInfo("network", self.domains, "linear"))}

    def samples(self, batch: DomainBatch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives images, translations by noise, references, and translations by these."""
        noise = torch.randn(len(batch.image), self.settings.latent_dim).to(batch.image)
        styles = (
            networks["mapping_network"](noise, batch.target),
            networks["style_encoder"](batch.reference, batch.target),
        )
        masks = self.masks(batch.image)
        by_noise, by_reference = (networks["generator"](batch.image, style, masks) for style in styles)
        return [batch.image, by_noise, batch.reference, by_reference]

    def scores(self, batch: DomainBatch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives the diversity of translations by noise, and the smoothness of a way between two styles.

        The way goes from a style of the image's own domain to one of the target.
        """
        masks = self.masks(batch.image)

        def style(domain: Tensor) -> Tensor:
            noise = torch.randn(len(domain), self.settings.latent_dim).to(batch.image)
            drawn: Tensor = networks["mapping_network"](noise, domain)
            return drawn

        def translated(styles: list[Tensor]) -> Tensor:
            images = [networks["generator"](batch.image, style, masks).clamp(-1, 1) for style in styles]
            return torch.stack(images, 1)  # [N, K, 3, H, W]

        first, last = style(batch.domain), style(batch.target)
        way = translated([torch.lerp(first, last, step / WAY_STEPS) for step in range(WAY_STEPS + 1)])
        several = translated([style(batch.target) for _ in range(DRAWS)])
        smooth = path_smoothness(self.lpips, way)
        return {
            self.lpips.named("diversity"): diversity(self.lpips, several),
            self.lpips.named("smoothness"): torch.from_numpy(smooth.ps),
        }

    @cached_property
    def lpips(self) -> Lpips:
        """What scores are measured with; needed for them alone."""
        return lpips(self.settings.features)


def build_starganv2(shape: Shape) -> StarGANv2:
    """Makes the networks for square crops, of a side that is a power of two.

    Raises:
        I2IError: where the crops have another size, or the file of the face alignment network cannot be used.
    """
    return _build(shape, None)


def build_smoothing(shape: Shape) -> StarGANv2:
    """Makes StarGAN v2 with the losses for a smooth style space.

    Raises:
        I2IError: as `build_starganv2`, and where the perceptual distance's weights cannot be had.
    """
    settings = cast(SmoothStarGANv2Settings, shape.settings)
    return _build(shape, Smoothing(settings))


def _build(shape: Shape, smoothing: Smoothing | None) -> StarGANv2:
    settings, side, domains = cast(StarGANv2Settings, shape.settings), shape.crop_size, len(shape.domains)
    if side < 32 or side & (side - 1):
        raise I2IError(f"--crop-size is {side}; StarGAN v2 takes a power of two, at least 32")
    # down to 16x16 or, where the details come through the masks, to 8x8
    levels = side.bit_length() - (4 if settings.w_hpf else 5)
    width, most, style = shape.width, settings.max_width, settings.style_dim
    system = StarGANv2(
        (
            StarGANGenerator(StarGANGeneratorConfig(width, most, levels, style, settings.w_hpf)),
            MappingNetwork(MappingNetworkConfig(settings.latent_dim, settings.mapping_width, style, domains)),
            StarGANStyleEncoder(StarGANStyleEncoderConfig(width, most, side, style, domains)),
            StarGANDiscriminator(StarGANDiscriminatorConfig(shape.discriminator_width, most, side, domains)),
        ),
        settings,
        shape.domains,
        faces=FaceMasks(read_fan(Path(settings.fan))) if settings.w_hpf else None,
        smoothing=smoothing,
    )
    initialise(system, "kaiming")
    return system


# Appendix B: 100,000 steps of 8 images
RECIPE = Recipe(
    "domains",
    Shape(),
    epochs=100,
    decay_epochs=0,
    batch=8,
    load_size=256,
    learning_rate=1e-4,
    epoch_images=8000,
    optimization={"": Optimization(betas=(0.0, 0.99), weight_decay=1e-4)},
    settings=StarGANv2Settings,
    uses=frozenset({"width", "discriminator_width"}),
    ema=0.999,
)
# as many steps of 4 images
SMOOTHING_RECIPE = replace(RECIPE, batch=4, epoch_images=4000, settings=SmoothStarGANv2Settings)
