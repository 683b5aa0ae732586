"""CyCADA's pixel adaptation (section 3.4.2 of Park's thesis; Hoffman et al. 2018, arXiv:1711.03213).

Translates pictures with labels, the source's, into the look of pictures without, the target's. The thesis trains in
stages: this is the first, `segmentation` on the translated pictures the second.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.models import across
from i2i_rt.models.initialise import initialise
from i2i_rt.models.segmentation import normalised
from i2i_rt.systems.base import AdaptationBatch, Optimization, Recipe, Shape
from i2i_rt.systems.cyclegan import TwoWay, pairs_of_networks
from i2i_rt.systems.segmentation import SegmentationSettings, labels_of, pixel_loss

TRUSTED = 1.0  # the task network has a say once its own loss on the source is not above this


@dataclass(frozen=True)
class CycadaSettings(SegmentationSettings):
    """Weights of the cycle, the identity and the semantic loss, and the task network of the last.

    The semantic loss (equation 3.13) needs a network that labels the source. It is trained along on the source's
    labels, from what `--from RUN` gives or from nothing. The thesis's own experiments do without this loss.

    Attributes:
        cycle, identity: weights of CycleGAN's losses; the thesis's equation has no identity loss, identity=0.
        semantic: weight of the semantic loss; 0 leaves it and its network out.
        learn: false leaves that network as it is in RUN, as the equation has it.
        network: drn26 or fcn8s.
        classes: how many there are; label maps count from 0, and 255 is unknown.
    """

    cycle: float = 10.0
    identity: float = 10.0
    semantic: float = 0.0
    learn: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "cycle", "identity", "semantic")


class Cycada(TwoWay[AdaptationBatch]):
    """CycleGAN's networks and losses, from the source to the target and back."""

    def losses(self, batch: AdaptationBatch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        step = self.generator_losses if phase == "generator" else self.discriminator_losses
        return step(batch.source, batch.target, kept)

    def samples(self, batch: AdaptationBatch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        there, back = networks["generator"], networks["generator_back"]
        return [batch.source, there(batch.source), batch.target, back(batch.target)]


class SemanticCycada(Cycada):
    """CyCADA whose translations are to be labelled as the pictures were that they come from."""

    phases = ("segmenter", "generator", "discriminator")

    def __init__(
        self,
        generators: tuple[nn.Module, nn.Module],
        discriminators: tuple[nn.Module, nn.Module],
        segmenter: nn.Module,
        settings: CycadaSettings,
    ) -> None:
        super().__init__(generators, discriminators, cycle=settings.cycle, identity=settings.identity)
        self.segmenter = segmenter
        self.semantic, self.learn = settings.semantic, settings.learn

    def trained_in(self, phase: str) -> tuple[str, ...]:
        if phase == "segmenter":
            return ("segmenter",) if self.learn else ()
        return super().trained_in(phase)

    def given(self) -> tuple[str, ...]:
        return () if self.learn else ("segmenter",)

    def needs_gradient(self, name: str, phase: str) -> bool:
        return phase == "segmenter" if name == "segmenter" else super().needs_gradient(name, phase)

    def losses(self, batch: AdaptationBatch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        if phase == "segmenter":
            task = pixel_loss(self.segmenter(normalised(batch.source)), batch.labels)
            kept["task"] = task.detach()
            return {"task": task}
        losses = super().losses(batch, phase, kept)
        return losses | self._semantic_losses(batch, kept) if phase == "generator" else losses

    def _semantic_losses(self, batch: AdaptationBatch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 3.13; nothing while the task network is not yet to be trusted, as in the official code.

        It judges with its running statistics, so that translations leave no trace in them.
        """
        self.segmenter.eval()
        if "task" not in kept:
            with torch.no_grad():
                kept["task"] = pixel_loss(self.segmenter(normalised(batch.source)), batch.labels)
        pairs = {"semantic_b": (kept["b"], batch.source), "semantic_a": (kept["a"], batch.target)}
        losses = {name: batch.source.new_zeros(()) for name in pairs}
        if across.total(kept["task"]) / across.count() <= TRUSTED:
            for name, (translated, original) in pairs.items():
                with torch.no_grad():
                    labels = labels_of(self.segmenter, original)
                scores = self.segmenter(normalised(translated))
                losses[name] = self.semantic * functional.cross_entropy(scores.float(), labels)
        self.segmenter.train()
        return losses


def build_cycada(shape: Shape) -> Cycada:
    """Makes the networks of the pixel adaptation, and the task network where the semantic loss has a weight."""
    settings = shape.settings
    assert isinstance(settings, CycadaSettings)
    pairs = pairs_of_networks(shape)
    if not settings.semantic:
        system = Cycada(*pairs, cycle=settings.cycle, identity=settings.identity)
        initialise(system, "normal")
        return system
    for network in (*pairs[0], *pairs[1]):
        initialise(network, "normal")
    return SemanticCycada(*pairs, settings.segmenter(shape.width), settings)


# The official script of the adaptation from GTA to Cityscapes: CycleGAN with a heavier identity loss and larger crops.
RECIPE = Recipe(
    "adaptation",
    Shape(crop_size=400),
    epochs=100,
    decay_epochs=100,
    decay_lead=1,
    load_size=1024,
    crop_size=400,
    optimization={"segmenter": Optimization(rate=5.0)},  # Adam at 1e-3, as the digits' task network
    settings=CycadaSettings,
    uses=frozenset({"width", "blocks", "discriminator_width", "antialias"}),
    synchronized=True,
)
