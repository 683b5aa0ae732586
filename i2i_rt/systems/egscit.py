"""EGSC-IT's second stage (Ma et al. 2019, arXiv:1805.11145): translation in the style of an exemplar.

UNIT's networks, whose middle both domains share, translate; masks and styles come from the first stage's features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.metrics.pairs import psnr
from i2i_rt.models.egscit import (
    Decoder,
    EgscitGenerator,
    EgscitGeneratorConfig,
    EgscitStyleEncoder,
    Encoder,
    residual_blocks,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.pretrained import Features, FrozenNetwork, vgg19_caffe
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Batch, Product, Shape, System
from i2i_rt.systems.egscit_masks import (
    ADVERSARIAL_WEIGHT,
    DOMAINS,
    KL_WEIGHT,
    RECONSTRUCTION_WEIGHT,
    SHARED_BLOCKS,
    EgscitMasksSettings,
    build_discriminator,
    build_features,
    draw,
    judged_apart,
    polynomial,
)
from i2i_rt.systems.egscit_masks import RECIPE as MASKS_RECIPE
from i2i_rt.systems.losses import adversarial, distance, mean_square
from i2i_rt.systems.perceptual import content_distance, directions, style_distance
from i2i_rt.systems.posterior import noisy

TRANSLATED = ("encoder_a", "encoder_b", "shared_encoder", "shared_decoder", "decoder_a", "decoder_b")
NOISE_SEED = 0  # of the noise in bundles, as the importer has it
TURN = 5  # steps of the generators to one of the discriminators


@dataclass(frozen=True)
class EgscitSettings(EgscitMasksSettings):
    """The depth of the networks, and what guides the translation.

    Attributes:
        reductions: how often encoders halve the size; the same in both stages; 0 for single digits.
        layers: strided convolutions of a discriminator.
        masks: false leaves the feature masks out (an ablation of section 4).
        adain: false leaves the exemplar's statistics out; such a run has no style and leaves no bundle.
        mask_low: eta, the least that a mask leaves of a feature.
        content: lambda_c, of the distance to the source; 10 for single digits and faces.
        style: lambda_s, of the distance to the exemplar; 1000 for single digits, 5000 for faces.
        features: of VGG, pretrained or random; random ones need no download, but compare with no others.
    """

    masks: bool = True
    adain: bool = True
    mask_low: float = 0.5
    content: float = 100.0
    style: float = 10000.0
    features: Features = "pretrained"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.mask_low <= 1:
            raise I2IError(f"--set mask_low={self.mask_low}; it must lie between 0 and 1")
        for name in ("content", "style"):
            if getattr(self, name) < 0:
                raise I2IError(f"--set {name}={getattr(self, name)}; it must not be negative")


class Egscit(System[Batch]):
    """Both ways of translation, the features of both domains, and a discriminator for each.

    With `content` and `style` of 0 there is no perceptual loss, which is another of the paper's ablations.
    """

    phases = ("generator", "discriminator")

    def __init__(self, shape: Shape, settings: EgscitSettings) -> None:
        super().__init__()
        width, reductions, blocks = shape.width, settings.reductions, shape.blocks
        self.config = EgscitGeneratorConfig(
            width=width,
            reductions=reductions,
            encoder_blocks=blocks,
            shared_encoder_blocks=SHARED_BLOCKS,
            shared_decoder_blocks=SHARED_BLOCKS,
            decoder_blocks=blocks,
            mask_low=settings.mask_low if settings.masks else 1.0,  # all of every feature
        )
        self.settings = settings
        self.encoder_a, self.encoder_b = (Encoder(3, width, reductions, blocks) for _ in DOMAINS)
        self.shared_encoder, self.shared_decoder = (
            residual_blocks(width << reductions, SHARED_BLOCKS) for _ in range(2)
        )
        self.decoder_a, self.decoder_b = (Decoder(3, width, reductions, blocks) for _ in DOMAINS)
        self.features_a, self.features_b = (build_features(shape, settings) for _ in DOMAINS)
        self.discriminator_a, self.discriminator_b = (build_discriminator(shape, settings) for _ in DOMAINS)
        # in a dictionary, so that nothing of them is counted twice
        self._ways = {way: self.way(self.networks, *way) for way in ("aa", "ab", "ba", "bb")}

    @cached_property
    def _vgg(self) -> FrozenNetwork:
        return vgg19_caffe(self.settings.features)

    def trained_in(self, phase: str) -> tuple[str, ...]:
        if phase == "generator":
            return TRANSLATED
        return ("discriminator_a", "discriminator_b") if self.step % TURN == TURN - 1 else ()

    def given(self) -> tuple[str, ...]:
        return "features_a", "features_b"

    def rate(self, name: str) -> float:
        return polynomial(self.step, self.steps)

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        if phase == "generator":
            return self.generator_losses(batch, kept)
        return {
            "D_a": judged_apart(self.discriminator_a, batch.a, kept["a"]),
            "D_b": judged_apart(self.discriminator_b, batch.b, kept["b"]),
        }

    def generator_losses(self, batch: Batch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 3; keeps the translation into each domain."""
        images = dict(zip(DOMAINS, batch, strict=True))
        losses, translations = dict[str, Tensor](), dict[str, Tensor]()
        for source, target in (("a", "b"), ("b", "a")):
            image, exemplar = images[source], images[target]
            there, own, back = (self._ways[way] for way in (source + target, source * 2, target + source))
            mask, style = own.mask(image), self.style(self.networks, source, image)
            code = noisy(own.shared_encoder(own.encoder(image)))
            made = there.decode(code, mask=mask, style=self.style(self.networks, target, exemplar))
            # the mask is of the picture that the translation was made of
            code_again = noisy(back.shared_encoder(back.encoder(made)))
            judge = self.networks[f"discriminator_{target}"]
            kept[target] = made.detach()
            losses |= {
                f"G_GAN_{target}": ADVERSARIAL_WEIGHT * adversarial(judge(made), real=True, loss="least-squares"),
                f"L1_{source}": RECONSTRUCTION_WEIGHT * distance(own.decode(code, mask=mask, style=style), image),
                f"cycle_{source}": RECONSTRUCTION_WEIGHT
                * distance(back.decode(code_again, mask=mask, style=style), image),
                f"KL_{source}": KL_WEIGHT * (mean_square(code) + mean_square(code_again)),
            }
            translations[source] = made
        return losses | self.perceptual(translations, images)

    def perceptual(self, made: Mapping[str, Tensor], images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Gives equation 4 of translations, by the domain of what they were made of."""
        if not (self.settings.content or self.settings.style):
            return {}
        found, losses = by_domain(self._vgg, made), dict[str, Tensor]()
        with torch.no_grad():
            wanted = by_domain(self._vgg, images)
        for source, exemplar in (("a", "b"), ("b", "a")):
            losses |= {
                f"content_{source}": self.settings.content * content_distance(found[source], wanted[source]),
                f"style_{source}": self.settings.style * style_distance(found[source], wanted[exemplar]),
            }
        return losses

    def style(self, networks: Mapping[str, nn.Module], domain: str, exemplar: Tensor) -> Tensor | None:
        """Gives the style `[N, 2C]` of an exemplar; None without AdaIN."""
        return networks[f"features_{domain}"](exemplar) if self.settings.adain else None

    def way(
        self, networks: Mapping[str, nn.Module], source: str, target: str, noise_seed: int | None = None
    ) -> EgscitGenerator:
        """Puts the networks of a direction together, without copying them."""
        with torch.device("meta"):
            generator = EgscitGenerator(replace(self.config, noise_seed=noise_seed))
        features = networks[f"features_{source}"]
        assert isinstance(features, EgscitStyleEncoder)
        parts = {"encoder": f"encoder_{source}", "decoder": f"decoder_{target}"}
        for part in ("encoder", "shared_encoder", "shared_decoder", "decoder"):
            setattr(generator, part, networks[parts.get(part, part)])
        generator.mask_features = features.features
        if generator.noise is not None:
            generator.noise = generator.noise.to(next(features.parameters()).device)
        return generator

    def translated(
        self, networks: Mapping[str, nn.Module], source: str, target: str, image: Tensor, exemplar: Tensor
    ) -> Tensor:
        """Translates images with the fixed noise of a bundle."""
        way = self.way(networks, source, target, NOISE_SEED)
        return way.decode(way.encode(image), mask=way.mask(image), style=self.style(networks, target, exemplar))

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        """Gives both directions; none without AdaIN, where there is no style to ask for."""
        if not self.settings.adain:
            return {}
        return {name: self.product(networks, *way) for name, way in (("bundle", "ab"), ("bundle-back", "ba"))}

    def product(self, networks: Mapping[str, nn.Module], source: str, target: str) -> Product:
        generator = self.way(networks, source, target, NOISE_SEED).eval()
        return Product(
            {"generator": generator, "style_encoder": networks[f"features_{target}"]},
            preprocessing=Preprocessing("none", multiple=generator.multiple, resample="bilinear"),
            style=StyleInfo(prior="fitted"),
        )

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives the pictures of both domains, and either in the style of the other."""
        a, b = batch
        return [a, b, self.translated(networks, "a", "b", a, b), self.translated(networks, "b", "a", b, a)]

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives the PSNR of held-out pictures that come back through the other domain, in their own style."""
        a, b, in_b, in_a = self.samples(batch, networks)
        return {
            "psnr_a": psnr(self.translated(networks, "b", "a", in_b, a), a),
            "psnr_b": psnr(self.translated(networks, "a", "b", in_a, b), b),
        }


def by_domain(vgg: FrozenNetwork, images: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """Gives the `directions` of pictures of both domains, which go through the network at once."""
    together = directions(vgg, torch.cat([images[domain] for domain in DOMAINS]))
    halves = zip(*(activations.chunk(2) for activations in together), strict=True)
    return {domain: list(half) for domain, half in zip(DOMAINS, halves, strict=True)}


def build_egscit(shape: Shape) -> Egscit:
    assert isinstance(shape.settings, EgscitSettings)
    system = Egscit(shape, shape.settings)
    draw(system)
    return system


# an iteration of the paper is a step of the discriminators and five of the generators, each with pictures of its own
RECIPE = replace(MASKS_RECIPE, epochs=TURN * MASKS_RECIPE.epochs, settings=EgscitSettings)
