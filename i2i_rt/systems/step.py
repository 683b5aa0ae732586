"""StEP's second and third stage (Meshry et al. 2021, section 3.2): a generator that is told the style.

In the second stage the style encoder is the first one's and stays as it is; in the third both train on together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2i_rt.models.equalised import plain
from i2i_rt.models.step import StepDiscriminator, StepEncoder, StepGenerator
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.pretrained import Features
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Batch, Optimization, Product, Recipe, Shape, System
from i2i_rt.systems.losses import adversarial_sum
from i2i_rt.systems.reconstruction import Kind, Reconstruction
from i2i_rt.systems.settings import Settings
from i2i_rt.systems.step_networks import build_discriminator, build_generator, build_style_encoder
from i2i_rt.systems.step_styles import check_style_size

# The official code averages each adversarial term with a zero.
ADVERSARIAL_WEIGHT = 0.5
STYLE_L2_WEIGHT = 0.01
DECAY = 0.999  # of the weights' moving averages


@dataclass(frozen=True)
class StepSettings(Settings):
    """The size of a style, and how a picture is compared with what it should be.

    Attributes:
        style_size: how many numbers a style has; the same in all stages.
        reconstruction: vgg, or l1 of pixels, the official code's other choice, for which no weights are needed.
        features: of VGG and LPIPS, pretrained or random; random ones need no download, but compare with no others.
    """

    style_size: int = 8
    reconstruction: Kind = "vgg"
    features: Features = "pretrained"

    def __post_init__(self) -> None:
        check_style_size(self.style_size)


class Step(System[Batch]):
    """Generator and discriminator, with a style encoder that trains along or is fixed.

    Both phases see the weights that the step began with, as in the official code.
    """

    phases = ("generator", "discriminator")

    def __init__(
        self,
        generator: StepGenerator,
        style_encoder: StepEncoder,
        discriminator: StepDiscriminator,
        *,
        finetune: bool,
        reconstruction: Reconstruction,
    ) -> None:
        super().__init__()
        self.generator, self.style_encoder, self.discriminator = generator, style_encoder, discriminator
        self.finetune, self.reconstruction = finetune, reconstruction

    def trained_in(self, phase: str) -> tuple[str, ...]:
        if phase == "discriminator":
            return ("discriminator",)
        return ("generator", "style_encoder") if self.finetune else ("generator",)

    def given(self) -> tuple[str, ...]:
        return () if self.finetune else ("style_encoder",)

    def averaged(self) -> tuple[str, ...]:
        return self.trained_in("generator")

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        if phase == "generator":
            return self.generator_losses(batch, kept)
        return {
            "D_fake": ADVERSARIAL_WEIGHT * judged(self.discriminator, kept["translated"], batch.a, real=False),
            "D_real": ADVERSARIAL_WEIGHT * judged(self.discriminator, batch.b, batch.a, real=True),
        }

    def generator_losses(self, batch: Batch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 2; keeps the translation. The style is that of the picture that is to come out."""
        style = self.style_encoder(batch.b)
        translated = self.generator(batch.a, style)
        kept["translated"] = translated.detach()
        losses = {
            "G_GAN": ADVERSARIAL_WEIGHT * judged(self.discriminator, translated, batch.a, real=True),
            "reconstruction": self.reconstruction.loss(translated, batch.b),
        }
        if self.finetune:
            losses["style_L2"] = STYLE_L2_WEIGHT * style.square().mean()
        return losses

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        return {"bundle": step_product(networks, StyleInfo("fitted"))}

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives input, truth, reconstruction, and the input in the style of the next picture."""
        generator, styles = networks["generator"], networks["style_encoder"](batch.b)
        return [batch.a, batch.b, generator(batch.a, styles), generator(batch.a, styles.roll(1, 0))]

    def scores(self, batch: Batch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Compares held-out pictures with their reconstruction of input and own style, as table 1 does."""
        made = networks["generator"](batch.a, networks["style_encoder"](batch.b))
        return self.reconstruction.scores(made, batch.b)


def judged(discriminator: StepDiscriminator, image: Tensor, condition: Tensor, *, real: bool) -> Tensor:
    """Gives the adversarial loss of images `[N, 3, H, W]` beside what they were made from."""
    return adversarial_sum(discriminator(torch.cat([image, condition], 1)), real=real, loss="least-squares")


def step_product(networks: Mapping[str, nn.Module], style: StyleInfo) -> Product:
    """Gives what is deployed: generator and style encoder, and the mapper where there is one."""
    names = [name for name in ("generator", "style_encoder", "mapper") if name in networks]
    kept = {name: plain(networks[name]) for name in names}
    generator = kept["generator"]
    assert isinstance(generator, StepGenerator)
    return Product(kept, "step", Preprocessing("none", multiple=generator.multiple), style)


def build_step(shape: Shape) -> Step:
    return _build(shape, finetune=False)


def build_step_finetune(shape: Shape) -> Step:
    return _build(shape, finetune=True)


def _build(shape: Shape, *, finetune: bool) -> Step:
    settings = shape.settings
    assert isinstance(settings, StepSettings)
    return Step(
        build_generator(shape, settings.style_size),
        build_style_encoder(shape, settings.style_size),
        build_discriminator(shape),
        finetune=finetune,
        reconstruction=Reconstruction(settings.reconstruction, settings.features),
    )


def _recipe(epochs: int) -> Recipe:
    """Gives the official schedule, which counts thousands of images."""
    return Recipe(
        "paired",
        Shape(width=32, blocks=4, discriminator_width=32),
        epochs=epochs,
        decay_epochs=100,
        epoch_images=1000,
        batch=8,
        learning_rate=1e-3,
        optimization={"": Optimization(betas=(0.0, 0.99))},
        settings=StepSettings,
        uses=frozenset({"width", "blocks", "discriminator_width", "direction"}),
        ema=DECAY,
    )


RECIPE = _recipe(150)
FINETUNE_RECIPE = _recipe(600)
