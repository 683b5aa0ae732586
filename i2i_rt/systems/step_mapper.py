"""StEP's mapper (Meshry et al. 2021, equation 3): noise becomes styles that pictures have, learned by IMLE.

The mapper's samples begin where the styles are and as widely spread, because nothing would draw back one that is far
from all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from i2i_rt.models import across
from i2i_rt.models.step import StepEncoder, StepGenerator, StepMapper, StepMapperConfig
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Batch, Optimization, Product, Shape, System
from i2i_rt.systems.imle import check_samples, closest_noise, distance_to_samples
from i2i_rt.systems.settings import Settings
from i2i_rt.systems.step import RECIPE as STEP_RECIPE
from i2i_rt.systems.step import step_product
from i2i_rt.systems.step_networks import build_generator, build_style_encoder
from i2i_rt.systems.step_styles import check_style_size

HIDDEN = (128, 128, 128)
PERTURBATION = 0.01  # of a chosen sample's noise


@dataclass(frozen=True)
class StepMapperSettings(Settings):
    """The size of a style, and how many are drawn.

    Attributes:
        style_size: how many numbers a style has; the same in all stages.
        samples: drawn at each step: few enough that most are chosen, and none stays far from all styles.
    """

    style_size: int = 8
    samples: int = 128

    def __post_init__(self) -> None:
        check_style_size(self.style_size)
        check_samples(self.samples)


class Placed(nn.Module):
    """Gives a weight times the styles' deviation; a bias is moved to their mean besides."""

    deviation: Tensor
    mean: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("deviation", torch.zeros(()))  # not measured yet
        self.register_buffer("mean", torch.zeros(size))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.deviation + (self.mean if weight.ndim == 1 else 0)


class StepMapping(System[Batch]):
    """A mapper for the styles of a trained StEP, whose generator and style encoder stay as they are."""

    phases = ("mapper",)

    def __init__(
        self, generator: StepGenerator, style_encoder: StepEncoder, mapper: StepMapper, *, samples: int
    ) -> None:
        super().__init__()
        self.generator, self.style_encoder, self.mapper = generator, style_encoder, mapper
        self.drawn = samples
        last = mapper.layers[-1]
        assert isinstance(last, nn.Linear)
        self.places = [Placed(last.out_features), Placed(last.out_features)]
        for name, place in zip(("weight", "bias"), self.places, strict=True):
            parametrize.register_parametrization(last, name, place)

    def trained_in(self, phase: str) -> tuple[str, ...]:
        return ("mapper",)

    def given(self) -> tuple[str, ...]:
        return "generator", "style_encoder"

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        styles = self.style_encoder(batch.b)
        self.place(styles)
        noise = closest_noise(styles, self.mapper, self.mapper.config.widths[0], self.drawn)
        noise = noise + PERTURBATION * across.normal(*noise.shape, device=noise.device)
        gap = (self.mapper(noise).float() - styles) / self.places[0].deviation
        return {"IMLE": gap.square().sum(1).mean() / 2}

    def place(self, styles: Tensor) -> None:
        """Measures where styles `[N, S]` lie, at the first step."""
        if not self.places[0].deviation:
            styles = across.gathered(styles)
            for place in self.places:
                place.mean.copy_(styles.mean(0))
                place.deviation.copy_(styles.var(0, correction=0).mean().sqrt())

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        return {"bundle": step_product(networks, StyleInfo("network"))}

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives input, truth, and the input in four styles that the mapper makes."""
        generator, size = networks["generator"], self.mapper.config.widths[0]
        noise = torch.randn(4, size, generator=torch.Generator().manual_seed(0)).to(batch.a.device)
        styles = networks["mapper"](noise)
        return [batch.a, batch.b, *(generator(batch.a, style.expand(len(batch.a), -1)) for style in styles)]

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives the distance of held-out styles to the closest of the samples, as a share of the styles' own norm."""
        styles, size = networks["style_encoder"](batch.b), self.mapper.config.widths[0]
        return {"closest_sample": distance_to_samples(styles, networks["mapper"], size, self.drawn)}


def build_step_mapper(shape: Shape) -> StepMapping:
    settings = shape.settings
    assert isinstance(settings, StepMapperSettings)
    size = settings.style_size
    mapper = StepMapper(StepMapperConfig((size, *HIDDEN, size)))
    for layer in mapper.layers:
        assert isinstance(layer, nn.Linear)
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return StepMapping(build_generator(shape, size), build_style_encoder(shape, size), mapper, samples=settings.samples)


# 320 thousand pictures, 5000 steps. The official rate, ten times as high, leaves some samples far from all styles.
RECIPE = replace(
    STEP_RECIPE,
    epochs=160,
    decay_epochs=160,
    batch=64,
    learning_rate=1e-3,
    optimization={"": Optimization(betas=(0.5, 0.999))},
    settings=StepMapperSettings,
    uses=frozenset({"width", "blocks", "direction"}),
    ema=None,
)
