"""Stages of the systems with one generator and no style: CycleGAN, CUT, FastCUT, SinCUT, pix2pix."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from i2i_rt.models.norm import StatisticsBlend, blended_layers, blending
from i2i_rt.spec import Axis, StageSpec, TensorSpec, frames_spec
from i2i_rt.stages.base import Stage, to_frames, to_image


class Translate(nn.Module):
    """RGB frames `[N, H, W, 3]` uint8 to translated frames of the same shape."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, frames: Tensor) -> Tensor:
        return to_frames(self.generator(to_image(frames, self.generator)))


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


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of a system's `generator`.

    A generator whose layers use no statistics of the image has nothing to smooth over a video, and so has no
    stage `translate_stabilized`.
    """
    generator = networks["generator"]
    spec = translate_spec(generator)
    translate = Translate(generator).eval()
    result = [Stage(spec, translate)]
    channels = sum(layer.num_features for layer in blended_layers(generator))
    if channels:
        stabilized = translate_stabilized_spec(spec, channels)
        result.append(Stage(stabilized, TranslateStabilized(translate).eval()))
    return result
