"""SPADE, also called GauGAN (Park et al. 2019, arXiv:1903.07291): pictures learned from label maps.

Where the paper and its code differ, this is the code: Adam's second beta is 0.9, not 0.999, and spectral norm is left
out of the first and the last layers. The code's KL divergence is a sum over the batch, so its share grows with it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.label_names import label_info
from i2i_rt.models import across
from i2i_rt.models.initialise import initialise
from i2i_rt.models.multiscale import MultiscaleDiscriminator, MultiscaleDiscriminatorConfig
from i2i_rt.models.spade import (
    UNKNOWN,
    Conditioning,
    SpadeBlock,
    SpadeGenerator,
    SpadeGeneratorConfig,
    Upsampling,
    instance_edges,
    semantics_of,
)
from i2i_rt.models.spade_encoder import SpadeEncoder, SpadeEncoderConfig
from i2i_rt.models.spectral import add_spectral_norm, without_spectral_norm
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.pretrained import Features, FrozenNetwork, vgg19
from i2i_rt.spec import LabelInfo, StyleInfo
from i2i_rt.systems.base import LabelledBatch, Optimization, Product, Recipe, Shape, System
from i2i_rt.systems.losses import feature_matching, hinge, kl_divergence
from i2i_rt.systems.perceptual import vgg_loss
from i2i_rt.systems.posterior import sampled
from i2i_rt.systems.settings import Settings

FEATURES_WEIGHT = 10.0
KL_WEIGHT = 0.05
STYLE = 256  # length of the VAE's code


@dataclass(frozen=True)
class SpadeSettings(Settings):
    """What the label maps hold, and which of the paper's variants is trained; the defaults are those of COCO-Stuff.

    Attributes:
        labels: how many classes there are; the label maps' values count from 0.
        unknown: the value 255 is allowed, and has a channel of its own.
        instances: there are instance maps, and the networks see the edges between instances.
        data_set: coco, ade20k and cityscapes have names and colours; the files of ade20k have 0 for unknown.
        vae: an encoder of images gives styles, which the first layer takes in place of the label map.
        upsampling: normal, more or most: features are doubled five, six or seven times until they are a picture.
        conditioning: spade, or concat for the baseline that has the label map beside its features.
        norm: batch or instance.
        hidden: channels between the label map and the scales.
        vgg_weight: of the VGG loss; 0 leaves it out.
        features: of VGG, pretrained or random; random ones need no download, but say little about likeness.
    """

    labels: int = 182
    unknown: bool = True
    instances: bool = True
    data_set: Literal["custom", "coco", "ade20k", "cityscapes"] = "custom"
    vae: bool = False
    upsampling: Upsampling = "normal"
    conditioning: Conditioning = "spade"
    norm: Literal["batch", "instance"] = "batch"
    hidden: int = 128
    vgg_weight: float = 10.0
    features: Features = "pretrained"

    def __post_init__(self) -> None:
        if not 1 <= self.labels <= UNKNOWN:
            raise I2IError(f"--set labels is {self.labels}; a label map has 1 to {UNKNOWN} classes")
        self.at_least(0, "vgg_weight")

    def info(self) -> LabelInfo:
        return label_info(self.data_set, self.labels, unknown=self.unknown, edges=self.instances)

    def config(self, width: int, crop_size: int) -> SpadeGeneratorConfig:
        """Describes the generator for crops of a size."""
        plain = SpadeGeneratorConfig(
            self.labels,
            unknown=self.unknown,
            edges=self.instances,
            width=width,
            upsampling=self.upsampling,
            norm=self.norm,
            hidden=self.hidden,
            conditioning=self.conditioning,
        )
        if crop_size % plain.multiple:
            raise I2IError(
                f"the crop size is {crop_size}; SPADE with upsampling {self.upsampling!r} makes pictures of multiples "
                f"of {plain.multiple}: give one with --crop-size"
            )
        first = crop_size // plain.multiple
        return (
            SpadeGeneratorConfig(**{**vars(plain), "style": STYLE, "first_size": (first, first)}) if self.vae else plain
        )


class Spade(System[LabelledBatch]):
    """A generator with its discriminator of two scales and, as a VAE, an encoder of images.

    The discriminator judges pictures that the generator makes anew once it has been moved, as the official code does.
    """

    phases = ("generator", "discriminator")

    def __init__(
        self,
        generator: SpadeGenerator,
        discriminator: MultiscaleDiscriminator,
        encoder: SpadeEncoder | None,
        *,
        settings: SpadeSettings,
        crop_size: int,
    ) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        if encoder is not None:
            self.encoder = encoder
        self.settings, self.crop_size, self.info = settings, crop_size, settings.info()
        self.vgg: FrozenNetwork | None = None
        if settings.vgg_weight:
            self.vgg = vgg19(settings.features)

    def trained_in(self, phase: str) -> tuple[str, ...]:
        generating = ("generator", "encoder") if self.settings.vae else ("generator",)
        return generating if phase == "generator" else ("discriminator",)

    def needs_gradient(self, name: str, phase: str) -> bool:
        return name in self.trained_in(phase)

    def losses(self, batch: LabelledBatch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        if phase == "generator":
            self._check_positions(batch.labels)
            semantics = kept["semantics"] = self._semantics(batch)
            return self._generator_losses(semantics, batch.image)
        with torch.no_grad():
            style, _ = self._drawn_style(batch.image)
            made = self.generator(kept["semantics"], style)
        fake, real = self._judged(kept["semantics"], made, batch.image)
        return {
            "D_fake": _mean(hinge(layers[-1], real=False) for layers in fake),
            "D_real": _mean(hinge(layers[-1], real=True) for layers in real),
        }

    def _generator_losses(self, semantics: Tensor, image: Tensor) -> dict[str, Tensor]:
        style, divergence = self._drawn_style(image)
        made = self.generator(semantics, style)
        fake, real = self._judged(semantics, made, image)
        matched = _mean(feature_matching(f[:-1], r[:-1]) for f, r in zip(fake, real, strict=True))
        found = {
            "G_GAN": _mean(-layers[-1].float().mean() for layers in fake),
            "G_features": FEATURES_WEIGHT * matched,
        }
        if self.vgg is not None:
            found["G_VGG"] = self.settings.vgg_weight * vgg_loss(self.vgg, made, image)
        if divergence is not None:
            found["G_KL"] = KL_WEIGHT * across.count() * divergence  # a sum, where gradients are averaged
        return found

    def _drawn_style(self, image: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Draws styles `[N, Z]` from what the encoder says of images; gives them and their KL divergence."""
        if not self.settings.vae:
            return None, None
        mean, log_variance = self.encoder(image)
        return sampled(mean, log_variance), kl_divergence(mean, log_variance)

    def _judged(self, semantics: Tensor, made: Tensor, image: Tensor) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Gives the outputs of all layers for made and real images, scale by scale, of one batch with both."""
        pairs = torch.cat([torch.cat([semantics, picture], 1) for picture in (made, image)])
        scales = self.discriminator(pairs)
        halves = [[layer.chunk(2) for layer in layers] for layers in scales]
        fake, real = ([[half[side] for half in layers] for layers in halves] for side in (0, 1))
        return fake, real

    def _check_positions(self, labels: Tensor) -> None:
        """Raises `I2IError` where a batch is too small for batch norm."""
        config = self.generator.config
        positions = labels.numel() // config.multiple**2 * across.count()
        if config.norm == "batch" and positions < 2:
            raise I2IError(
                "batch norm needs more than one position, and the first layer has one an image here: give --batch 2, "
                f"or --crop-size {2 * config.multiple}"
            )

    def _semantics(self, batch: LabelledBatch) -> Tensor:
        """Gives the label maps as the networks take them.

        Raises:
            I2IError: where they are not what the settings say.
        """
        labels, known, config = batch.labels, len(self.info.names), self.generator.config
        wrong = labels >= known
        if config.unknown:
            wrong &= labels != UNKNOWN
        if wrong.any():
            value = int(labels[wrong][0])
            hint = "unknown=true allows it" if value == UNKNOWN else "labels says how many there are"
            raise I2IError(f"a label map has the value {value}; known are 0 to {known - 1}: --set {hint}")
        if config.edges and batch.instances is None:
            raise I2IError(
                "there are no instance maps beside the label maps; train without them: --set instances=false"
            )
        edges = instance_edges(batch.instances) if config.edges and batch.instances is not None else None
        return semantics_of(labels, edges, config, batch.image.dtype)

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        kept = [name for name in ("generator", "encoder") if name in networks]
        return {
            "bundle": Product(
                {name: without_spectral_norm(networks[name]) for name in kept},
                preprocessing=Preprocessing("resize", self.crop_size, self.crop_size),
                style=StyleInfo("normal", mixing="spherical") if self.settings.vae else None,
                labels=self.info,
            )
        }

    def samples(self, batch: LabelledBatch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        palette = torch.zeros(UNKNOWN + 1, 3)
        palette[: len(self.info.palette)] = torch.tensor(self.info.palette, dtype=torch.float32)
        coloured = (palette / 127.5 - 1).to(batch.image.device)[batch.labels].permute(0, 3, 1, 2)
        return [coloured, self._made(batch, networks), batch.image]

    def scores(self, batch: LabelledBatch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        return {"L1": (self._made(batch, networks) - batch.image).abs().mean((1, 2, 3))}

    def _made(self, batch: LabelledBatch, networks: Mapping[str, nn.Module]) -> Tensor:
        """Makes a picture of each label map; of the mean of its image's styles, where there are styles."""
        style = networks["encoder"](batch.image)[0] if self.settings.vae else None
        made: Tensor = networks["generator"](self._semantics(batch), style)
        return made


def _mean(scalars: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(scalars)).mean()


def build_spade(shape: Shape) -> Spade:
    """Makes the networks, with spectral norm where the official code has it.

    Raises:
        I2IError: where the crops are not of a multiple that the generator can make.
    """
    settings = shape.settings
    assert isinstance(settings, SpadeSettings)
    config = settings.config(shape.width, shape.crop_size)
    generator = SpadeGenerator(config)
    discriminator = MultiscaleDiscriminator(
        MultiscaleDiscriminatorConfig(in_channels=config.channels + 3, width=shape.discriminator_width)
    )
    encoder = SpadeEncoder(SpadeEncoderConfig(shape.width, STYLE)) if settings.vae else None
    system = Spade(generator, discriminator, encoder, settings=settings, crop_size=shape.crop_size)
    initialise(system, "xavier")
    for block in generator.blocks:
        assert isinstance(block, SpadeBlock)
        add_spectral_norm(layer for layer in list(block.children()) if isinstance(layer, nn.Conv2d))
    # those before an instance norm
    add_spectral_norm(
        layer for layer in list(discriminator.modules()) if isinstance(layer, nn.Conv2d) and layer.bias is None
    )
    if encoder is not None:
        add_spectral_norm(encoder.convolutions)
    return system


SLOW, FAST = (Optimization(rate, betas=(0.0, 0.9)) for rate in (0.5, 2.0))  # two time-scales: 1e-4 and 4e-4
RECIPE = Recipe(
    "labelled",
    Shape(),
    epochs=100,
    decay_epochs=100,
    batch=32,
    optimization={"": SLOW, "discriminator": FAST},
    settings=SpadeSettings,
    uses=frozenset({"width", "discriminator_width"}),
    synchronized=True,
)
