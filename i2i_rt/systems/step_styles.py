"""StEP's first stage (Meshry et al. 2021, section 3.1): a style encoder learns distances of styles from triplets."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.models.step import StepEncoder
from i2i_rt.systems.base import Optimization, Product, Recipe, Shape, System, Triplets
from i2i_rt.systems.losses import triplet
from i2i_rt.systems.settings import Settings
from i2i_rt.systems.step_networks import build_style_encoder

MARGIN = 0.1
L2_WEIGHT = 0.01


@dataclass(frozen=True)
class StepStylesSettings(Settings):
    """The size of a style, and where its neighbours are found.

    Attributes:
        style_size: how many numbers a style has; the same in all stages.
        triplets: a file of 'i2i-rt triplets'; empty: triplets.npz in the data's folder.
    """

    style_size: int = 8
    triplets: str = ""

    def __post_init__(self) -> None:
        check_style_size(self.style_size)


def check_style_size(size: int) -> None:
    """Raises `I2IError` where a style would have no numbers."""
    if size < 1:
        raise I2IError(f"--set style_size={size}: a style has at least one number")


class StepStyles(System[Triplets]):
    """The style encoder alone. Nothing translates yet: the next stage begins with its weights."""

    phases = ("styles",)

    def __init__(self, style_encoder: StepEncoder) -> None:
        super().__init__()
        self.style_encoder = style_encoder

    def trained_in(self, phase: str) -> tuple[str, ...]:
        return ("style_encoder",)

    def losses(self, batch: Triplets, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 1, with the regularisation that keeps styles near the origin."""
        styles = self.style_encoder(torch.cat(batch)).chunk(3)
        squares = torch.stack([style.square().mean() for style in styles]).sum()
        return {"triplet": triplet(*styles, margin=MARGIN), "style_L2": L2_WEIGHT * squares}

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        return {}

    def samples(self, batch: Triplets, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        return list(batch)

    def scores(self, batch: Triplets, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Says of each triplet whether its positive is closer than its negative."""
        anchor, positive, negative = networks["style_encoder"](torch.cat(batch)).chunk(3)
        closer = (anchor - positive).square().sum(1) < (anchor - negative).square().sum(1)
        return {"triplet_accuracy": closer.float()}


def build_step_styles(shape: Shape) -> StepStyles:
    assert isinstance(shape.settings, StepStylesSettings)
    return StepStyles(build_style_encoder(shape, shape.settings.style_size))


# The official training has no end: "when the curve saturates".
RECIPE = Recipe(
    "triplets",
    Shape(width=32),
    epochs=50,
    decay_epochs=0,
    batch=12,
    learning_rate=1e-3,
    optimization={"": Optimization(betas=(0.0, 0.99))},
    settings=StepStylesSettings,
    uses=frozenset({"width", "direction"}),
)
