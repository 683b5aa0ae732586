"""Stages of CyCADA: those of its generator, or of a task network that judges pictures."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from i2i_rt.models.digits import DTN, LeNet
from i2i_rt.models.segmentation import DEVIATION, MEAN
from i2i_rt.spec import Axis, StageSpec, TensorSpec, frames_spec
from i2i_rt.stages import single
from i2i_rt.stages.base import Stage, to_image

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Segment(nn.Module):
    """Frames `[N, H, W, 3]` uint8 to the most likely class of every pixel, `[N, H, W]` uint8."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, frames: Tensor) -> Tensor:
        mean, deviation = (torch.tensor(values, device=frames.device) for values in (MEAN, DEVIATION))
        image = ((frames.float() / 255 - mean) / deviation).permute(0, 3, 1, 2)
        scores: Tensor = self.segmenter(image.to(next(self.segmenter.parameters()).dtype))
        return scores.argmax(1).to(torch.uint8)


class Classify(nn.Module):
    """Frames `[N, side, side, 3]` uint8 to the most likely class of each, `[N]` uint8."""

    def __init__(self, classifier: LeNet | DTN) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, frames: Tensor) -> Tensor:
        image = to_image(frames, self.classifier)
        if self.classifier.config.in_channels == 1:
            weights = torch.tensor(GREY, dtype=image.dtype, device=image.device)
            image = (image * weights[:, None, None]).sum(1, keepdim=True)
        scores: Tensor = self.classifier(image)
        return scores.argmax(1).to(torch.uint8)


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of a `generator`, or the one stage of a `segmenter` or a `classifier`."""
    if "segmenter" in networks:
        segmenter = networks["segmenter"]
        frames = frames_spec("frames", segmenter.multiple, segmenter.low)  # type: ignore[arg-type]
        labels = TensorSpec("labels", "uint8", frames.axes[:3])
        return [Stage(StageSpec("segment", (frames,), (labels,)), Segment(segmenter).eval())]
    if "classifier" in networks:
        classifier = networks["classifier"]
        assert isinstance(classifier, LeNet | DTN)
        sides = Axis("H", size=classifier.side), Axis("W", size=classifier.side)
        digits = TensorSpec("frames", "uint8", (Axis("N"), *sides, Axis("C", size=3)))
        spec = StageSpec("classify", (digits,), (TensorSpec("class", "uint8", (Axis("N"),)),))
        return [Stage(spec, Classify(classifier).eval())]
    return single.stages(networks)
