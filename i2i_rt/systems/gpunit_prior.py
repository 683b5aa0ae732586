"""GP-UNIT's prior distillation (Yang et al. 2022, arXiv:2204.03641, section 3.2): a content that classes share.

A generator of many classes draws, from one latent code, a picture of each class with things in the same places: linked
pictures. From these a content encoder learns what they have in common, which is all that translation takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.models import across
from i2i_rt.models.gpunit_encoders import ContentEncoder, check_reductions
from i2i_rt.models.gpunit_prior import (
    ContentClassifier,
    Decoder,
    LevelStyles,
    PriorDistillation,
    PriorDistillationConfig,
)
from i2i_rt.models.spectral import add_spectral_norm, convolutions
from i2i_rt.pretrained import Features, FrozenNetwork, vgg19
from i2i_rt.systems.base import LinkedBatch, Optimization, Product, Recipe, Shape, System
from i2i_rt.systems.losses import distance
from i2i_rt.systems.perceptual import evenly_weighted_vgg_loss
from i2i_rt.systems.settings import Settings

NOISE = 0.2  # deviation of what is added to the content before it is decoded


@dataclass(frozen=True)
class GPUNITPriorSettings(Settings):
    """Sizes beside those of `Shape`, and weights of the losses; defaults are the paper's.

    Attributes:
        reductions: how often the content encoder halves the size; translation takes the same number.
        embedding: numbers of a class.
        shape: weight of the loss of shapes, lambda_s.
        content: weight of the distance between linked pictures' contents.
        classification: weight of the classifier that the content is to confuse.
        length: weight of the content's Euclidean length, lambda_r.
        vgg: weight of VGG's features in the reconstruction.
        features: of VGG, pretrained or random; random ones need no download, but compare with no others.
    """

    reductions: int = 5
    embedding: int = 128
    shape: float = 5.0
    content: float = 1.0
    classification: float = 1.0
    length: float = 0.001
    vgg: float = 1.0
    features: Features = "pretrained"

    def __post_init__(self) -> None:
        check_reductions(self.reductions)
        for name in ("shape", "content", "classification", "length", "vgg"):
            if not getattr(self, name) >= 0:
                raise I2IError(f"--set {name} is {getattr(self, name):g}; it must not be negative")


class Reversed(Function):
    """The identity, whose gradient is turned round: what is before it learns the opposite of what is behind it."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


class GPUNITPrior(System[LinkedBatch]):
    """An autoencoder whose content is the same for linked pictures, and tells nothing of their class."""

    phases = ("distillation",)
    content_encoder: ContentEncoder
    level_styles: LevelStyles
    embedding: nn.Embedding
    decoder: Decoder
    classifier: ContentClassifier

    def __init__(self, networks: PriorDistillation, settings: GPUNITPriorSettings) -> None:
        super().__init__()
        for name, network in networks.named_children():
            self.add_module(name, network)
        self.settings = settings

    @cached_property
    def vgg(self) -> FrozenNetwork:
        return vgg19(self.settings.features)

    def trained_in(self, phase: str) -> tuple[str, ...]:
        return tuple(self.networks)

    def losses(self, batch: LinkedBatch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives equation 1 for both pictures of each pair, and what links them.

        As in the official code the length is not squared, the first content goes to the second one, and the style is
        read from mirrored pictures at every second step: it is to know nothing of places.
        """
        settings, rows = self.settings, len(batch.image)
        images, domains = torch.cat([batch.image, batch.other]), torch.cat([batch.domain, batch.other_domain])
        content = self.content_encoder(images)[0]
        noise = [NOISE * across.normal(rows, *content.shape[1:], device=content.device) for _ in range(2)]
        noisy, embedded = content + torch.cat(noise), self.embedding(domains)
        mirrored = float(torch.rand(())) < 0.5
        styles = self.level_styles(images.flip(3) if mirrored else images)
        found, shapes = self.decoder(noisy, embedded, styles)
        wanted = shapes_like(shapes, torch.cat([batch.shape, batch.other_shape]))
        swapped = self.decoder.shaped(noisy.roll(rows, 0), embedded)[1]
        logits = self.classifier(Reversed.apply(content))  # type: ignore[no-untyped-call]
        losses = {
            "reconstruction": functional.mse_loss(found.float(), images.float()),
            "shape": settings.shape * distance(shapes, wanted),
            "swapped_shape": settings.shape * distance(swapped, wanted),
            "content": settings.content * distance(content[:rows], content[rows:].detach()),
            "class": settings.classification * functional.cross_entropy(logits.float(), domains),
            "length": settings.length * content.float().flatten(1).norm(dim=1).mean(),
        }
        if settings.vgg:
            losses["VGG"] = settings.vgg * evenly_weighted_vgg_loss(self.vgg, found, images)
        return losses

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        return {}  # nothing translates yet: gpunit begins with the content encoder (--from)

    def samples(self, batch: LinkedBatch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives linked pictures, the first one again, its shape as it is to be, found, and found in the second one."""
        decoder, embedded = cast(Decoder, networks["decoder"]), networks["embedding"](batch.domain)
        content, other = (networks["content_encoder"](image)[0] for image in (batch.image, batch.other))
        found, shape = decoder(content, embedded, networks["level_styles"](batch.image))
        shapes = (batch.shape, shape, decoder.shaped(other, embedded)[1])
        size = batch.image.shape[2:]
        large = (functional.interpolate(shape.float(), size, mode="nearest") for shape in shapes)
        return [batch.image, batch.other, found, *large]

    def scores(self, batch: LinkedBatch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives L1 distances of contents of linked pictures and of shapes, and how often the class is found."""
        decoder, embedded = cast(Decoder, networks["decoder"]), networks["embedding"](batch.domain)
        content, other = (networks["content_encoder"](image)[0] for image in (batch.image, batch.other))
        shapes = {name: decoder.shaped(given, embedded)[1] for name, given in (("shape", content), ("swapped", other))}
        gaps = {name: (found - shapes_like(found, batch.shape)).abs() for name, found in shapes.items()}
        guessed = networks["classifier"](content).argmax(1) == batch.domain
        means = {name: gap.flatten(1).mean(1) for name, gap in gaps.items()}
        return {"content": (content - other).abs().flatten(1).mean(1), **means, "class": guessed.float()}


def shapes_like(found: Tensor, shapes: Tensor) -> Tensor:
    """Scales the shapes of pictures to the size of those that are found."""
    return functional.interpolate(shapes.float(), found.shape[2:], mode="bilinear", align_corners=False)


def build_gpunit_prior(shape: Shape) -> GPUNITPrior:
    """Makes the networks for the data's classes.

    Raises:
        I2IError: where the crops cannot be halved so often, or the content would be smaller than 4x4.
    """
    settings = cast(GPUNITPriorSettings, shape.settings)
    multiple = 2**settings.reductions
    if shape.crop_size % multiple:
        raise I2IError(f"--crop-size is {shape.crop_size}; it must be a multiple of {multiple}")
    config = PriorDistillationConfig(
        shape.width, len(shape.domains), settings.embedding, settings.reductions, shape.crop_size // multiple
    )
    networks = PriorDistillation(config)
    add_spectral_norm(convolutions(networks))
    return GPUNITPrior(networks, settings)


# The official code takes 45,000 steps of 16 linked pairs and 16 pictures.
RECIPE = Recipe(
    "linked",
    Shape(),
    epochs=45,
    decay_epochs=0,
    batch=16,
    epoch_images=16_000,
    optimization={"": Optimization(betas=(0.9, 0.999))},
    settings=GPUNITPriorSettings,
    uses=frozenset({"width"}),
)
