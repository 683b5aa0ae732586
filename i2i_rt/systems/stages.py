"""Stages: the graphs that are exported. Scaling, layout and clamping are inside, so that no client repeats them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from i2i_rt.bundle import Bundle
from i2i_rt.models import table
from i2i_rt.models.norm import StatisticsBlend, blended_layers, blending
from i2i_rt.spec import Axis, StageSpec, TensorSpec, frames_spec


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
        levels: Tensor = ((translated.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return levels.permute(0, 2, 3, 1)


class TranslateStabilized(nn.Module):
    """`Translate` for one frame of a video whose normalisation follows the frames before it.

    Takes frames `[1, H, W, 3]`, the statistics `[2, S]` that the last frame gave, and `momentum` `[1]`, the share
    that they keep; 0 translates the frame by itself. Gives the translated frame and the next statistics.
    """

    def __init__(self, translate: Translate) -> None:
        super().__init__()
        self.translate = translate

    def forward(self, frames: Tensor, statistics: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
        blend = StatisticsBlend(statistics, momentum)
        with blending(blended_layers(self.translate.generator), blend):
            translated = self.translate(frames)
        return translated, blend.blended()


def translate_spec(generator: nn.Module) -> StageSpec:
    """Describes the stage `translate` of a generator, which says its `multiple` and `low` of the sides."""
    inputs, outputs = (
        (frames_spec(name, generator.multiple, generator.low),)  # type: ignore[arg-type]
        for name in ("frames", "translated")
    )
    return StageSpec("translate", inputs, outputs)


def translate_stabilized_spec(translate: StageSpec, channels: int) -> StageSpec:
    """Describes the stage `translate_stabilized` of a generator that normalises `channels` channels in all."""

    def single(frames: TensorSpec) -> TensorSpec:
        return replace(frames, axes=(Axis("N", size=1), *frames.axes[1:]))

    def statistics(name: str) -> TensorSpec:
        return TensorSpec(name, "float32", (Axis("moment", size=2), Axis("S", size=channels)))

    return StageSpec(
        "translate_stabilized",
        (
            single(translate.inputs[0]),
            statistics("statistics"),
            TensorSpec("momentum", "float32", (Axis("M", size=1),)),
        ),
        (single(translate.outputs[0]), statistics("statistics_out")),
    )


def stages_of(networks: Mapping[str, nn.Module]) -> dict[str, Stage]:
    """Gives every stage of a system's networks.

    A generator whose layers use no statistics of the image has nothing to smooth over a video, and so has no
    stage `translate_stabilized`.
    """
    generator = networks["generator"]
    spec = translate_spec(generator)
    translate = Translate(generator).eval()
    stages = {spec.name: Stage(spec, translate)}
    channels = sum(layer.num_features for layer in blended_layers(generator))
    if channels:
        stabilized = translate_stabilized_spec(spec, channels)
        stages[stabilized.name] = Stage(stabilized, TranslateStabilized(translate).eval())
    return stages


def load_stages(bundle: Bundle) -> dict[str, Stage]:
    """Gives a bundle's stages with its weights, in float32 on the CPU."""
    return stages_of(table.load(bundle))
