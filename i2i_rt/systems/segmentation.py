"""The task networks of CyCADA (section 3.4.3 of Park's thesis; Hoffman et al. 2018, arXiv:1711.03213, section 4.2).

What a network is trained on makes the thesis's rows: the source's pictures ("source only"), these translated into the
target's look, with the labels that they had (CyCADA), or the target's own (the oracle).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.label_names import label_info
from i2i_rt.metrics.segmentation import UNKNOWN, agreement
from i2i_rt.models import across
from i2i_rt.models.segmentation import (
    DilatedResnet,
    DilatedResnetConfig,
    FCN8s,
    FCN8sConfig,
    draw_weights,
    normalised,
)
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.systems.base import LabelledBatch, Optimization, Product, Recipe, Shape, System
from i2i_rt.systems.settings import Settings


@dataclass(frozen=True)
class SegmentationSettings(Settings):
    """The task network.

    Attributes:
        network: drn26 or fcn8s.
        classes: how many there are; label maps count from 0, and 255 is unknown.
    """

    network: Literal["drn26", "fcn8s"] = "drn26"
    classes: int = 19

    def __post_init__(self) -> None:
        if not 1 <= self.classes <= UNKNOWN:
            raise I2IError(f"--set classes is {self.classes}; it must be between 1 and {UNKNOWN}")

    def segmenter(self, width: int) -> DilatedResnet | FCN8s:
        """Makes the network with fresh weights: at `width` 64 with the thesis's channels."""

        def scaled(channels: int) -> int:
            return max(round(channels * width / 64), 1)

        network: DilatedResnet | FCN8s
        if self.network == "drn26":
            widths = tuple(map(scaled, DilatedResnetConfig().widths))
            network = DilatedResnet(DilatedResnetConfig(widths=widths, classes=self.classes))
        else:
            plain = FCN8sConfig()
            network = FCN8s(FCN8sConfig(tuple(map(scaled, plain.widths)), scaled(plain.features), self.classes))
        draw_weights(network)
        return network


def pixel_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Gives the cross entropy of scores `[N, C, H, W]`, a mean over the pixels that have a label in any process.

    Raises:
        I2IError: where a label is of no class.
    """
    known = known_labels(labels, scores.shape[1])
    loss = functional.cross_entropy(scores.float(), labels, ignore_index=UNKNOWN, reduction="sum")
    return loss / across.total(known.sum()).clamp(min=1) * across.count()


def known_labels(labels: Tensor, classes: int) -> Tensor:
    """Says which pixels have a label.

    Raises:
        I2IError: where a label is of no class.
    """
    known = labels != UNKNOWN
    wrong = known & (labels >= classes)
    if wrong.any():
        raise I2IError(
            f"a label map has the value {int(labels[wrong][0])}; with {classes} classes they are 0 to {classes - 1}, "
            f"and {UNKNOWN} is unknown: give their number with --set classes"
        )
    return known


class Segmentation(System[LabelledBatch]):
    """One network, which gives each pixel a class."""

    phases = ("segmenter",)

    def __init__(self, segmenter: DilatedResnet | FCN8s) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.classes = segmenter.config.classes

    def trained_in(self, phase: str) -> tuple[str, ...]:
        return (phase,)

    def losses(self, batch: LabelledBatch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"pixels": pixel_loss(self.segmenter(normalised(batch.image)), batch.labels)}

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        return {"bundle": Product({"segmenter": networks["segmenter"]}, "cycada", Preprocessing("none"))}

    def samples(self, batch: LabelledBatch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        found = labels_of(networks["segmenter"], batch.image)
        return [batch.image, painted(batch.labels, self.classes), painted(found, self.classes)]

    def scores(self, batch: LabelledBatch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Counts each image's pixels by true and by found class, `[N, classes, classes]`."""
        found = labels_of(networks["segmenter"], batch.image)
        pairs, known = batch.labels * self.classes + found, known_labels(batch.labels, self.classes)
        counts = [
            torch.bincount(pair[seen], minlength=self.classes**2).view(self.classes, self.classes)
            for pair, seen in zip(pairs, known, strict=True)
        ]
        return {"confusion": torch.stack(counts)}

    def figures(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        found = agreement(means["confusion"].numpy())
        return {
            "mIoU": found.mean_iou,
            "fwIoU": found.frequency_weighted_iou,
            "pixel accuracy": found.pixel_accuracy,
        }


def labels_of(segmenter: nn.Module, image: Tensor) -> Tensor:
    """Gives the most likely class of each pixel, `[N, H, W]` int64, of images in [-1, 1]."""
    scores: Tensor = segmenter(normalised(image))
    return scores.argmax(1)


def painted(labels: Tensor, classes: int) -> Tensor:
    """Gives label maps in colours, `[N, 3, H, W]` in [-1, 1]; what is unknown is black."""
    palette = torch.zeros(UNKNOWN + 1, 3, device=labels.device)
    colours = label_info("", classes, unknown=True, edges=False).palette
    palette[:classes] = torch.tensor(colours, dtype=torch.float32, device=labels.device)
    return (palette / 127.5 - 1)[labels].permute(0, 3, 1, 2)


def build_segmentation(shape: Shape) -> Segmentation:
    settings = shape.settings
    assert isinstance(settings, SegmentationSettings)
    return Segmentation(settings.segmenter(shape.width))


# The published networks begin with ImageNet's weights and take 115,000 steps, of about 25,000 pictures that are 1,024
# pixels high. From nothing, as here, they learn faster at a higher rate.
RECIPE = Recipe(
    "labelled",
    Shape(crop_size=768),
    epochs=10,
    decay_epochs=0,
    batch=2,
    load_size=1024,
    crop_size=768,
    learning_rate=1e-3,
    optimization={"": Optimization(betas=(0.9, 0.0), weight_decay=5e-4, method="sgd")},
    settings=SegmentationSettings,
    uses=frozenset({"width"}),
    synchronized=True,
)
