"""Stages of SPADE: label maps to pictures, and pictures to styles where the generator was trained with a VAE."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from i2i_rt.models.spade import SpadeGenerator, semantics_of
from i2i_rt.models.spade_encoder import SpadeEncoder
from i2i_rt.models.spade_fused import FusedSpade
from i2i_rt.spec import Axis, StageSpec, TensorSpec, frames_spec
from i2i_rt.stages import spade_layout
from i2i_rt.stages.base import Stage, to_frames, to_image, vector_spec


class Translate(nn.Module):
    """Label maps `[N, H, W]`, then edges `[N, H, W]` and styles `[N, Z]` where the network has them, to frames.

    What comes `second` and `third` is what the stage's description says: a network can have either without the other.
    """

    def __init__(self, generator: SpadeGenerator) -> None:
        super().__init__()
        self.generator = generator
        self.fused = FusedSpade()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Translate":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.generator.last.weight.device.type == "cuda":
            self.fused.fold(self.generator)
        return self

    def forward(self, labels: Tensor, second: Tensor | None = None, third: Tensor | None = None) -> Tensor:
        config = self.generator.config
        edges, style = (second, third) if config.edges else (None, second)
        if self.fused.chosen(self.generator):
            return to_frames(self.fused(self.generator, labels, edges, style))
        semantics = semantics_of(labels, edges, config, self.generator.last.weight.dtype)
        return to_frames(self.generator(semantics, style))


class StyleFromImage(nn.Module):
    """Frames `[N, H, W, 3]` of any size to their styles `[N, Z]`: the mean, where the official script draws anew."""

    def __init__(self, encoder: SpadeEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, reference: Tensor) -> Tensor:
        mean: Tensor = self.encoder(to_image(reference, self.encoder))[0]
        return mean.float()


def translate_spec(generator: SpadeGenerator) -> StageSpec:
    """Describes `translate`: sides of any multiple, or the one size that a generator with a VAE makes."""
    config = generator.config
    fixed = config.size or (None, None)
    sides = [
        Axis(name, size=size) if size else Axis(name, multiple=generator.multiple, low=generator.low)
        for name, size in zip(("H", "W"), fixed, strict=True)
    ]
    axes = (Axis("N"), *sides)
    inputs = [TensorSpec("labels", "uint8", axes)]
    if config.edges:
        inputs.append(TensorSpec("edges", "uint8", axes))
    if config.style:
        inputs.append(vector_spec("style", config.style))
    translated = TensorSpec("translated", "uint8", (*axes, Axis("C", size=3)))
    return StageSpec("translate", tuple(inputs), (translated,))


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stages of a `generator` and, where there is one, an `encoder`."""
    generator, encoder = networks["generator"], networks.get("encoder")
    assert isinstance(generator, SpadeGenerator)
    found = [Stage(translate_spec(generator), Translate(generator).eval())]
    if generator.config.conditioning == "spade":
        found += spade_layout.stages(generator)
    if isinstance(encoder, SpadeEncoder):
        spec = StageSpec(
            "style_from_image", (frames_spec("reference", 1, 1),), (vector_spec("style", encoder.config.style),)
        )
        found.append(Stage(spec, StyleFromImage(encoder).eval()))
    return found
