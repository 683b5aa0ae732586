"""SinCUT: CUT between two single images (section 3.3.2 of Park's thesis, on high-resolution pictures)."""

from torch import Tensor

from i2i_rt.errors import I2IError
from i2i_rt.models.sincut import (
    SinCUTDiscriminator,
    SinCUTDiscriminatorConfig,
    SinCUTGenerator,
    SinCUTGeneratorConfig,
)
from i2i_rt.systems.base import Batch, Optimization, Recipe, Shape
from i2i_rt.systems.cut import CUT, Contrast
from i2i_rt.systems.losses import adversarial, distance, gradient_penalty, in_float32

CROP_SIZE = 64  # what the discriminator is made for


class SinCUT(CUT):
    """CUT with the StyleGAN2-type pair, non-saturating loss, R1, negatives from the whole batch, and an L1 identity."""

    adversarial_loss = "softplus"

    def discriminator_losses(self, batch: Batch, fakes: Tensor) -> dict[str, Tensor]:
        real_images = batch.b.detach().requires_grad_()
        fake = adversarial(self.discriminator(fakes), real=False, loss=self.adversarial_loss)
        with in_float32(real_images):
            scores = self.discriminator(real_images)
        real = adversarial(scores, real=True, loss=self.adversarial_loss)
        return {"D_fake": fake / 2, "D_real": real / 2, "D_R1": gradient_penalty(scores, real_images)}

    def generator_losses(self, batch: Batch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = super().generator_losses(batch, kept)
        return losses | {"identity": distance(kept["translated"][len(batch.a) :], batch.b)}


def build_sincut(shape: Shape) -> SinCUT:
    """Makes the pair, at `width` 64 with the thesis's channels; its layers draw their own weights.

    Raises:
        I2IError: where crops have another size than the discriminator.
    """
    if shape.crop_size != CROP_SIZE:
        raise I2IError(f"the crop size is {shape.crop_size}; SinCUT's discriminator takes crops of {CROP_SIZE} only")
    scale, judge_scale = shape.width / 64, shape.discriminator_width / 64
    generator = SinCUTGenerator(
        SinCUTGeneratorConfig(width=max(round(80 * scale), 1), inner_width=max(round(160 * scale), 1))
    )
    widths = tuple(max(round(width * judge_scale), 1) for width in SinCUTDiscriminatorConfig().widths)
    discriminator = SinCUTDiscriminator(SinCUTDiscriminatorConfig(widths=widths))
    contrast = Contrast(layers=(0, 2, 4), patches=1, weight=4.0, across_batch=True)
    return SinCUT(generator, discriminator, contrast)


RECIPE = Recipe(
    "single",
    Shape(crop_size=CROP_SIZE),
    epochs=8,
    decay_epochs=8,
    batch=16,
    load_size=CROP_SIZE,
    crop_size=CROP_SIZE,
    learning_rate=2e-3,
    optimization={"": Optimization(betas=(0.0, 0.99))},
    epoch_images=100_000,
    uses=frozenset({"width", "discriminator_width", "direction"}),
)
