"""GP-UNIT's translation (Yang et al. 2022, arXiv:2204.03641, section 3.2).

A generator learns to give pictures of A the look of a picture of B. What they have in common is read by a content
encoder that a prior distillation has trained, and that stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.metrics.faces import face_network
from i2i_rt.models.arcface import ArcFace
from i2i_rt.models.gpunit import Generator
from i2i_rt.models.gpunit_discriminator import GPUNITDiscriminator, GPUNITDiscriminatorConfig
from i2i_rt.models.gpunit_encoders import ContentEncoder, StyleEncoder
from i2i_rt.models.initialise import initialise
from i2i_rt.models.spectral import add_spectral_norm, convolutions
from i2i_rt.pretrained import Features, FrozenNetwork, vgg19
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Batch, Optimization, Product, Recipe, Shape, System
from i2i_rt.systems.gpunit_networks import NetworkSettings, build_networks, gpunit_product
from i2i_rt.systems.losses import adversarial, distance, gradient_penalty, in_float32
from i2i_rt.systems.perceptual import evenly_weighted_vgg_loss


@dataclass(frozen=True)
class GPUNITSettings(NetworkSettings):
    """Where the content encoder is, sizes beside those of `Shape`, and weights of the losses; defaults are the paper's.

    Attributes:
        content_encoder: a file with it, such as the official content_encoder.pt; without one, it is that of a run of
            gpunit-prior (--from).
        scratch: whether it begins with weights that are drawn and is trained along: the baseline of figure 7,
            which takes no prior (--from).
        reductions: how often the content encoder halves the size; official files have 5.
        skip: whether the generator has dynamic skip connections.
        style_dim, bottleneck: numbers of a style, and of the layer before it.
        max_width: where the discriminator's channels are no longer doubled.
        style_layer: after how many of the discriminator's layers the style is read: its first convolution, and blocks;
            5 for faces.
        content, style, mask, reconstruction, penalty: weights of the losses; that of the adversarial one is 1.
        vgg: weight of VGG's features in the reconstruction.
        identity: weight of the likeness of the face to the one that gives the style; 1 from cats to people.
        faces: with identity, the file of the face recognition network, model_ir_se50.pth.
        reconstruct_with_skips: whether skip connections help with the reconstruction: for men and women.
        flip_style: whether the picture that gives the style is mirrored at every second step; not for faces.
        features: of VGG, pretrained or random; random ones need no download, but compare with no others.
    """

    scratch: bool = False
    max_width: int = 512
    style_layer: int = 4
    content: float = 1.0
    style: float = 50.0
    mask: float = 1.0
    reconstruction: float = 1.0
    vgg: float = 1.0
    penalty: float = 1.0
    identity: float = 0.0
    faces: str = ""
    reconstruct_with_skips: bool = False
    flip_style: bool = True
    features: Features = "pretrained"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("content", "style", "mask", "reconstruction", "vgg", "penalty", "identity"):
            if not getattr(self, name) >= 0:
                raise I2IError(f"--set {name} is {getattr(self, name):g}; it must not be negative")
        if self.scratch and self.content_encoder:
            raise I2IError("--set scratch=true and content_encoder exclude each other")
        if bool(self.identity) != bool(self.faces):
            raise I2IError(
                f"--set identity is {self.identity:g} and faces is {self.faces!r}; the loss of identity needs both a "
                "weight above 0 and the file of the face recognition network (model_ir_se50.pth)"
            )


class FaceLikeness:
    """Compares faces; no part of a system, so that its network is neither trained nor saved with it."""

    def __init__(self, network: ArcFace) -> None:
        self.network = network

    def __call__(self, faces: Tensor, others: Tensor) -> Tensor:
        """Gives 1 minus the cosine of the embeddings of images `[N, 3, H, W]` in [-1, 1], a mean; others stay."""
        network = self.network.to(faces.device)
        with in_float32(faces):
            with torch.no_grad():
                wanted = network(others.float())
            cosines: Tensor = (network(faces.float()) * wanted).sum(1)
            return 1 - cosines.mean()


class GPUNIT(System[Batch]):
    """Generator with style encoder, discriminator with spectral norm, and the content encoder, which stays."""

    phases = ("discriminator", "generator")

    def __init__(
        self,
        content_encoder: ContentEncoder,
        style_encoder: StyleEncoder,
        generator: Generator,
        discriminator: GPUNITDiscriminator,
        settings: GPUNITSettings,
        *,
        identity: FaceLikeness | None = None,
    ) -> None:
        super().__init__()
        self.content_encoder, self.style_encoder = content_encoder, style_encoder
        self.generator, self.discriminator, self.settings = generator, discriminator, settings
        self.identity = identity

    @cached_property
    def vgg(self) -> FrozenNetwork:
        return vgg19(self.settings.features)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if not self.settings.scratch:
            self.content_encoder.eval()  # its estimates of norms stay, too
        return self

    def trained_in(self, phase: str) -> tuple[str, ...]:
        if phase == "discriminator":
            return ("discriminator",)
        return ("generator", "style_encoder", "content_encoder")[: 3 if self.settings.scratch else 2]

    def needs_gradient(self, name: str, phase: str) -> bool:
        return name in self.trained_in(phase)  # no graph goes from one phase to another

    def given(self) -> tuple[str, ...]:
        return () if self.settings.content_encoder or self.settings.scratch else ("content_encoder",)

    def fresh(self) -> tuple[str, ...]:
        return ("content_encoder",) if self.settings.scratch else ()

    def averaged(self) -> tuple[str, ...]:
        return self.trained_in("generator")

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        if "reference" not in kept:
            mirrored = self.settings.flip_style and float(torch.rand(())) < 0.5  # all pictures of a step, or none
            kept["reference"] = batch.b.flip(3) if mirrored else batch.b
        if phase == "discriminator":
            return self.discriminator_losses(batch, kept["reference"])
        return self.generator_losses(batch, kept["reference"])

    def discriminator_losses(self, batch: Batch, reference: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            content, *features = self.content_encoder(batch.a)
            translated = self.generator(content, features, self.style_encoder(reference))
        image = batch.b.detach().requires_grad_()
        with in_float32(image):
            scores = self.discriminator(image)
        return {
            "D_real": adversarial(scores, real=True, loss="cross-entropy"),
            "D_fake": adversarial(self.discriminator(translated), real=False, loss="cross-entropy"),
            "D_R1": self.settings.penalty * gradient_penalty(scores, image),
        }

    def generator_losses(self, batch: Batch, reference: Tensor) -> dict[str, Tensor]:
        """Gives the losses of equations 3 to 6, and the reconstruction."""
        settings = self.settings
        content, *features = self.content_encoder(batch.a)
        own_content, *own_features = self.content_encoder(batch.b)
        with torch.no_grad():
            _, wanted = self.discriminator.judged(batch.b)
        style = self.style_encoder(reference)
        translated, masks = self.generator.decode(content, features, style)
        scores, found = self.discriminator.judged(translated)
        if not settings.reconstruct_with_skips:
            own_features = []
        reconstructed = self.generator(own_content, own_features, style)
        losses = {
            "G_GAN": adversarial(scores, real=True, loss="cross-entropy"),
            "G_content": settings.content * distance(self.content_encoder(translated)[0], content),
            "G_style": settings.style * distance(found, wanted),
            "G_reconstruction": settings.reconstruction * distance(reconstructed, batch.b),
        }
        if masks:
            losses["G_mask"] = settings.mask * torch.stack([mask.float().mean() for mask in masks]).sum()
        if self.identity is not None:
            losses["G_identity"] = settings.identity * self.identity(translated, batch.b)
        if settings.vgg:
            losses["G_VGG"] = settings.vgg * evenly_weighted_vgg_loss(self.vgg, reconstructed, batch.b)
        return losses

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        return {"bundle": gpunit_product(networks, self.discriminator.config.image_size, StyleInfo("fitted"))}

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives pictures of A, of B, and the first ones with the look of the second ones."""
        return [batch.a, batch.b, self.translated(batch, networks)[0]]

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives how far the content moves (L1), and how much of the encoder's features the masks let through."""
        translated, masks = self.translated(batch, networks)
        encoder = networks["content_encoder"]
        moved = (encoder(translated)[0] - encoder(batch.a)[0]).abs().flatten(1).mean(1)
        shares = {f"mask_{level}": mask.flatten(1).mean(1) for level, mask in enumerate(masks, 1)}
        return {"content": moved} | shares

    def translated(self, batch: Batch, networks: Mapping[str, nn.Module]) -> tuple[Tensor, list[Tensor]]:
        content, *features = networks["content_encoder"](batch.a)
        generator = cast(Generator, networks["generator"])
        return generator.decode(content, features, networks["style_encoder"](batch.b))


def build_gpunit(shape: Shape) -> GPUNIT:
    """Makes the networks for square crops, of a side that is a power of two.

    Raises:
        I2IError: where the crops have another size, or a file of weights cannot be used.
    """
    settings = cast(GPUNITSettings, shape.settings)
    content_encoder, style_encoder, generator = build_networks(shape)
    discriminator = GPUNITDiscriminator(
        GPUNITDiscriminatorConfig(shape.discriminator_width, settings.max_width, shape.crop_size, settings.style_layer)
    )
    for network in (style_encoder, generator, discriminator):
        initialise(network, "kaiming")
    add_spectral_norm(convolutions(discriminator))
    return GPUNIT(
        content_encoder,
        style_encoder,
        generator,
        discriminator,
        settings,
        identity=FaceLikeness(face_network("pretrained", Path(settings.faces))) if settings.identity else None,
    )


# Section 4: 75,000 steps of 16 pictures
RECIPE = Recipe(
    "unpaired",
    Shape(),
    epochs=75,
    decay_epochs=0,
    batch=16,
    learning_rate=1e-4,
    epoch_images=16_000,
    optimization={"": Optimization(betas=(0.0, 0.99), weight_decay=1e-4)},
    settings=GPUNITSettings,
    uses=frozenset({"width", "discriminator_width", "direction"}),
    ema=0.999,
)
