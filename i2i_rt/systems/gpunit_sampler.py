"""GP-UNIT's style sampler (Yang et al. 2022, arXiv:2204.03641, section 4.1): it draws styles that pictures have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.models import across
from i2i_rt.models.gpunit import Generator
from i2i_rt.models.gpunit_encoders import ContentEncoder, StyleEncoder, StyleSampler, StyleSamplerConfig
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Batch, Optimization, Product, Recipe, Shape, System
from i2i_rt.systems.gpunit_networks import NetworkSettings, build_networks, gpunit_product
from i2i_rt.systems.imle import closest_noise, distance_to_samples


@dataclass(frozen=True)
class GPUNITSamplerSettings(NetworkSettings):
    """The translation's networks, whose settings have to be those of its run, and the sampler.

    Attributes:
        content_encoder: the file that the translation has it of, where it has.
        reductions: how often the content encoder halves the size.
        skip: whether the generator has dynamic skip connections.
        style_dim, bottleneck: numbers of a style, and of the layer before it.
        noise_dim, hidden: numbers of a noise, and of the sampler's layers.
        samples: drawn at each step; as in the official code, twice as many as there are styles.
    """

    noise_dim: int = 128
    hidden: int = 128
    samples: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(2, "samples")  # batch norm takes their statistics


class GPUNITSampling(System[Batch]):
    """A sampler of the styles of a trained GP-UNIT's pictures B; the translation's networks stay as they are."""

    phases = ("sampler",)

    def __init__(
        self,
        content_encoder: ContentEncoder,
        style_encoder: StyleEncoder,
        generator: Generator,
        sampler: StyleSampler,
        *,
        samples: int,
        side: int,
    ) -> None:
        super().__init__()
        self.content_encoder, self.style_encoder = content_encoder, style_encoder
        self.generator, self.sampler = generator, sampler
        self.drawn, self.side = samples, side

    def trained_in(self, phase: str) -> tuple[str, ...]:
        return ("sampler",)

    def given(self) -> tuple[str, ...]:
        return "content_encoder", "style_encoder", "generator"

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Every process computes the loss of all styles: batch norm takes the statistics of the whole batch.

        Raises:
            I2IError: where there is but one style, which has none.
        """
        styles = across.gathered(self.style_encoder(batch.b).float())
        if len(styles) < 2:
            raise I2IError("the sampler's batch norm needs two styles at once; give a larger --batch")
        noise = closest_noise(styles, self.sampler, self.sampler.config.noise_dim, self.drawn)
        return {"IMLE": functional.mse_loss(self.sampler(noise).float(), styles)}

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        return {"bundle": gpunit_product(networks, self.side, StyleInfo("network"))}

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives pictures of A, and these in four styles that the sampler draws."""
        noise = torch.randn(4, self.sampler.config.noise_dim, generator=torch.Generator().manual_seed(0))
        content, *features = networks["content_encoder"](batch.a)
        styles = networks["sampler"](noise.to(batch.a.device))
        generator = networks["generator"]
        return [batch.a, *(generator(content, features, style.expand(len(content), -1)) for style in styles)]

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives the distance of held-out styles to the closest of the samples, as a share of the styles' own norm."""
        styles, size = networks["style_encoder"](batch.b), self.sampler.config.noise_dim
        return {"closest_sample": distance_to_samples(styles, networks["sampler"], size, self.drawn)}


def build_gpunit_sampler(shape: Shape) -> GPUNITSampling:
    settings = cast(GPUNITSamplerSettings, shape.settings)
    sampler = StyleSampler(StyleSamplerConfig(settings.noise_dim, settings.hidden, settings.style_dim))
    return GPUNITSampling(*build_networks(shape), sampler, samples=settings.samples, side=shape.crop_size)


# The official code takes 2 million pictures, whatever the size of the set, and halves the rate ten times.
RECIPE = Recipe(
    "unpaired",
    Shape(),
    epochs=50,
    decay_epochs=50,
    batch=128,
    learning_rate=1e-3,
    epoch_images=20_000,
    optimization={"": Optimization(betas=(0.5, 0.999), weight_decay=1e-5)},
    settings=GPUNITSamplerSettings,
    uses=frozenset({"width", "direction"}),
)
