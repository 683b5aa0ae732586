"""CUT and FastCUT (section 3.3 of Park's thesis; Park et al. 2020, arXiv:2007.15651)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from i2i_rt.models.initialise import initialise
from i2i_rt.models.patch_sampler import PatchSampler, PatchSamplerConfig, draw_positions
from i2i_rt.models.patchgan import PatchDiscriminator, PatchDiscriminatorConfig
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.models.sincut import SinCUTGenerator
from i2i_rt.systems.base import Batch, Product, Recipe, Shape, System
from i2i_rt.systems.losses import AdversarialLoss, adversarial, patch_nce


@dataclass(frozen=True)
class Contrast:
    """The options of the contrastive objective; the defaults are CUT's."""

    layers: tuple[int, ...] = (0, 4, 8, 12, 16)  # of the generator, as its `features` counts them
    patches: int = 256  # positions drawn in each layer
    weight: float = 1.0  # of PatchNCE
    identity: bool = True  # also PatchNCE between images of B and their translation
    flip_equivariance: bool = False  # half of the steps translate mirrored images and mirror the features back
    across_batch: bool = False  # negatives from all images of the batch
    temperature: float = 0.07


class CUT(System[Batch]):
    """One generator, one discriminator, and the patch sampler that embeds the generator's own features."""

    phases = ("discriminator", "generator")
    adversarial_loss: AdversarialLoss = "least-squares"

    def __init__(
        self, generator: ResnetGenerator | SinCUTGenerator, discriminator: nn.Module, contrast: Contrast
    ) -> None:
        super().__init__()
        self.contrast = contrast
        self.generator, self.discriminator = generator, discriminator
        self.sampler = PatchSampler(PatchSamplerConfig(tuple(generator.feature_channels(contrast.layers))))
        initialise(self.sampler, "xavier")

    def trained_in(self, phase: str) -> tuple[str, ...]:
        return ("discriminator",) if phase == "discriminator" else ("generator", "sampler")

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        if phase == "discriminator":
            self.translate(batch, kept)
            return self.discriminator_losses(batch, kept["translated"][: len(batch.a)].detach())
        return self.generator_losses(batch, kept)

    def translate(self, batch: Batch, kept: dict[str, Tensor]) -> None:
        """Keeps the translation of A (and of B, for the identity) and the features that make the keys.

        The encoder's features come from the same pass as the translation: the discriminator's step in between
        does not change the generator. Only a mirrored image needs its keys from a pass of its own.
        """
        layers = self.contrast.layers
        images = torch.cat(batch) if self.contrast.identity else batch.a
        mirrored = self.contrast.flip_equivariance and bool(torch.rand(()) < 0.5)
        seen = images.flip(3) if mirrored else images
        features = self.generator.features(seen, layers)
        kept["translated"] = self.generator.finish(features[-1], layers[-1])
        kept["mirrored"] = torch.tensor(mirrored)
        if mirrored:
            with torch.no_grad():
                features = self.generator.features(images, layers)
        positions = draw_positions(features, self.contrast.patches)
        for layer, feature, at in zip(layers, features, positions, strict=True):
            # the few patches that are needed, so that the maps themselves can go
            kept[f"key {layer}"] = feature.detach().flatten(2)[:, :, at]
            kept[f"positions {layer}"] = at

    def discriminator_losses(self, batch: Batch, fakes: Tensor) -> dict[str, Tensor]:
        fake = adversarial(self.discriminator(fakes), real=False, loss=self.adversarial_loss)
        real = adversarial(self.discriminator(batch.b), real=True, loss=self.adversarial_loss)
        return {"D_fake": fake / 2, "D_real": real / 2}

    def generator_losses(self, batch: Batch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        images = len(batch.a)
        scores = self.discriminator(kept["translated"][:images])
        nce = self.contrastive(kept, images)
        share = self.contrast.weight / len(nce)
        return {"G_GAN": adversarial(scores, real=True, loss=self.adversarial_loss)} | {
            name: share * loss for name, loss in nce.items()
        }

    def contrastive(self, kept: dict[str, Tensor], images: int) -> dict[str, Tensor]:
        """Gives PatchNCE of A, and of B where the identity counts: means over rows, then over layers."""
        layers = self.contrast.layers
        features = self.generator.features(kept["translated"], layers)
        if kept["mirrored"]:
            features = [feature.flip(3) for feature in features]
        queries = self.sampler(features, [kept[f"positions {layer}"] for layer in layers])
        with torch.no_grad():
            keys = [kept[f"key {layer}"][..., None] for layer in layers]  # maps of height P and width 1
            keys = self.sampler(keys, [torch.arange(key.shape[2], device=key.device) for key in keys])
        names = ("NCE", "NCE_identity") if self.contrast.identity else ("NCE",)
        return {
            name: torch.stack(
                [
                    patch_nce(
                        query.chunk(len(names))[index],
                        key.chunk(len(names))[index],
                        images=images,
                        temperature=self.contrast.temperature,
                        across_batch=self.contrast.across_batch,
                    ).mean()
                    for query, key in zip(queries, keys, strict=True)
                ]
            ).mean()
            for index, name in enumerate(names)
        }

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        return {"bundle": Product({"generator": networks["generator"]})}

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        return [batch.a, networks["generator"](batch.a), batch.b]


def contrasted_layers(config: ResnetGeneratorConfig) -> tuple[int, ...]:
    """Gives the layers that CUT contrasts: pixels, both reducing convolutions, the first and the fifth block.

    Short generators have no fifth block; their last one stands in for it.
    """
    second, first_block = (8, 12) if config.antialias_down else (7, 10)
    return tuple(sorted({0, 4, second, first_block, first_block + min(5, config.blocks) - 1}))


def build_cut(shape: Shape) -> CUT:
    return _build(shape, {})


def build_fastcut(shape: Shape) -> CUT:
    """Makes CUT without the identity, its PatchNCE ten times as heavy, and equivariant to mirroring."""
    return _build(shape, {"weight": 10.0, "identity": False, "flip_equivariance": True})


def _build(shape: Shape, options: dict[str, Any]) -> CUT:
    config = ResnetGeneratorConfig(
        width=shape.width, blocks=shape.blocks, antialias_down=shape.antialias, antialias_up=shape.antialias
    )
    generator = ResnetGenerator(config)
    judged = PatchDiscriminatorConfig(width=shape.discriminator_width, antialias=shape.antialias)
    discriminator = PatchDiscriminator(judged)
    for network in (generator, discriminator):
        initialise(network, "xavier")
    return CUT(generator, discriminator, Contrast(layers=contrasted_layers(config), **options))


# Section 3.3.2 of the thesis. Random crops end when the learning rate begins to fall, as in the papers' code.
CUT_RECIPE = Recipe("unpaired", Shape(antialias=True), epochs=200, decay_epochs=200, decay_augmented=False)
FASTCUT_RECIPE = Recipe("unpaired", Shape(antialias=True), epochs=150, decay_epochs=50, decay_augmented=False)
