"""Stages: the graphs that are exported. Scaling, layout and clamping are inside, so that no client repeats them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2i_rt.bundle import Bundle
from i2i_rt.models import table
from i2i_rt.spec import StageSpec, frames_spec


@dataclass(frozen=True)
class Stage:
    """A graph: what it takes and gives, and the module that computes it."""

    spec: StageSpec
    module: nn.Module


class Translate(nn.Module):
    """RGB frames `[N, H, W, 3]` uint8 to translated frames of the same shape.

    The result is rounded to the nearest level. The official test scripts truncate instead, which makes their
    pictures half a level darker on average.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, frames: Tensor) -> Tensor:
        dtype = next(self.generator.parameters()).dtype
        image = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
        translated = self.generator(image.to(dtype)).float()
        return ((translated.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def translate_spec(generator: nn.Module) -> StageSpec:
    """Describes the stage `translate` of a generator, which says its `multiple` and `low` of the sides."""
    inputs, outputs = (
        (frames_spec(name, generator.multiple, generator.low),)  # type: ignore[arg-type]
        for name in ("frames", "translated")
    )
    return StageSpec("translate", inputs, outputs)


def stages_of(networks: Mapping[str, nn.Module]) -> dict[str, Stage]:
    """Gives every stage of a system's networks."""
    generator = networks["generator"]
    spec = translate_spec(generator)
    return {spec.name: Stage(spec, Translate(generator).eval())}


def load_stages(bundle: Bundle) -> dict[str, Stage]:
    """Gives a bundle's stages with its weights, in float32 on the CPU."""
    return stages_of(table.load(bundle))
