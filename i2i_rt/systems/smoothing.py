"""Smoothing of a style space (Liu et al. 2021, arXiv:2106.09016): three losses beside those of an existing system.

The triplet loss keeps the domains apart by a margin, the style regularisation pulls all codes together around 0, and
the content loss keeps a translation perceptually near its source. A system that has styles is given a `Smoothing` and
adds what it says to its own losses (equation 6). The networks stay as they are.

The official code asks for these losses in each of its passes; but in the pass with styles of references it moves the
generator alone, so that its triplets of pictures teach no network anything. Here the codes of pictures and those made
from noise take turns in steps that train all networks (section 4.1).
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.metrics.lpips import lpips
from i2i_rt.models import across
from i2i_rt.pretrained import Features
from i2i_rt.systems.settings import Settings


@dataclass(frozen=True)
class SmoothingSettings(Settings):
    """Weights of the three losses; the defaults are the official training script's and equation 5's.

    Attributes:
        triplet: the authors say that 0.1 is often enough.
        margin: alpha, by which domains are kept apart.
        regularization: lambda_sr where it has grown, for the mean over a code's numbers.
        regularization_start: share of the steps after which it grows from 0, evenly until the last step.
        content: 0 leaves LPIPS out.
        features: of LPIPS; "random" ones need no download, and are no measure of likeness.
    """

    triplet: float = 1.0
    margin: float = 0.1
    regularization: float = 1.0
    regularization_start: float = 0.4
    content: float = 1.0
    features: Features = "pretrained"

    def __post_init__(self) -> None:
        self.at_least(0, "triplet", "margin", "regularization", "content")
        if not 0 <= self.regularization_start <= 1:
            raise I2IError(
                f"--set regularization_start is {self.regularization_start}; it is a share of the steps, from 0 to 1"
            )


class Triplet(NamedTuple):
    """Styles `[N, S]`: of a domain, another of the same domain, and one of a domain that is another where `apart`."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor
    apart: Tensor  # [N] bool


class Smoothing:
    """What a system adds to its losses."""

    def __init__(self, settings: SmoothingSettings) -> None:
        """Raises `I2IError` where there is a content loss, and the weights of LPIPS cannot be had."""
        self.settings = settings
        self._lpips = lpips(settings.features) if settings.content else None

    def regularization_weight(self, done: float) -> float:
        """Gives the weight of the style regularisation when a share `done` of the training is over."""
        start = self.settings.regularization_start
        return self.settings.regularization * (max(done - start, 0) / (1 - start) if start < 1 else 0.0)

    def of_codes(self, triplet: Triplet, *, done: float) -> dict[str, Tensor]:
        """Gives both losses of the style space, from codes of pictures or from codes made from noise."""
        return {
            "triplet": self.settings.triplet * triplet_loss(triplet, self.settings.margin),
            "regularization": self.regularization_weight(done) * style_regularization(triplet.anchor, triplet.negative),
        }

    def of_images(self, source: Tensor, translated: Tensor) -> dict[str, Tensor]:
        """Gives equation 4, the perceptual distance of images `[N, 3, H, W]` from their translations."""
        if self._lpips is None:
            return {}
        return {"content": self.settings.content * self._lpips(source, translated).mean()}


def triplet_loss(triplet: Triplet, margin: float) -> Tensor:
    """Gives equation 1, a mean over the triplets whose negative is of another domain; 0 where there is none."""
    anchor, positive, negative = (codes.float() for codes in triplet[:3])
    losses = functional.triplet_margin_loss(anchor, positive, negative, margin=margin, reduction="none")
    apart = triplet.apart.to(losses)
    # the processes of a run have different numbers of them, and average what they compute
    return (losses * apart).sum() / across.total(apart.sum()).clamp(min=1) * across.count()


def style_regularization(*codes: Tensor) -> Tensor:
    """Gives the sum over kinds of codes `[N, S]` of equation 3, as a mean over the S numbers as in the papers' code."""
    return sum((kind.float().square().mean() for kind in codes), start=codes[0].new_zeros(()))
