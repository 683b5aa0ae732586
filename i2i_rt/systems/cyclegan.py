"""CycleGAN (section 3.2 of Park's thesis; Zhu et al. 2017, arXiv:1703.10593)."""

from collections.abc import Mapping

from torch import Tensor, nn

from i2i_rt.models.initialise import initialise
from i2i_rt.models.patchgan import PatchDiscriminator, PatchDiscriminatorConfig
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.systems.base import Batch, Product, Recipe, Shape, System
from i2i_rt.systems.image_pool import ImagePool
from i2i_rt.systems.losses import adversarial, distance

POOL_SIZE = 50
CYCLE_WEIGHT = 10.0
IDENTITY_WEIGHT = 5.0  # half of the cycle's


class CycleGAN(System[Batch]):
    """`generator` goes from A to B, `generator_back` from B to A; each discriminator judges one domain."""

    phases = ("generator", "discriminator")

    def __init__(self, generators: tuple[nn.Module, nn.Module], discriminators: tuple[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.generator, self.generator_back = generators
        self.discriminator_a, self.discriminator_b = discriminators
        self.pools = {"a": ImagePool(POOL_SIZE), "b": ImagePool(POOL_SIZE)}

    def trained_in(self, phase: str) -> tuple[str, ...]:
        if phase == "generator":
            return "generator", "generator_back"
        return "discriminator_a", "discriminator_b"

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.generator_losses(batch, kept) if phase == "generator" else self.discriminator_losses(batch, kept)

    def generator_losses(self, batch: Batch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 3.3 and the identity loss of both sides; keeps both translations."""
        a, b = batch
        to_b, to_a = self.generator, self.generator_back
        fake_b, fake_a = to_b(a), to_a(b)
        kept |= {"b": fake_b.detach(), "a": fake_a.detach()}
        return {
            "G_GAN_b": adversarial(self.discriminator_b(fake_b), real=True, loss="least-squares"),
            "G_GAN_a": adversarial(self.discriminator_a(fake_a), real=True, loss="least-squares"),
            "cycle_a": CYCLE_WEIGHT * distance(to_a(fake_b), a),
            "cycle_b": CYCLE_WEIGHT * distance(to_b(fake_a), b),
            "identity_a": IDENTITY_WEIGHT * distance(to_a(a), a),
            "identity_b": IDENTITY_WEIGHT * distance(to_b(b), b),
        }

    def discriminator_losses(self, batch: Batch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = {}
        for side, images, judge in (("a", batch.a, self.discriminator_a), ("b", batch.b, self.discriminator_b)):
            fakes = self.pools[side].exchange(kept[side])
            real = adversarial(judge(images), real=True, loss="least-squares")
            fake = adversarial(judge(fakes), real=False, loss="least-squares")
            losses[f"D_{side}"] = (real + fake) / 2
        return losses

    def get_extra_state(self) -> dict[str, list[Tensor]]:
        return {side: list(pool.images) for side, pool in self.pools.items()}

    def set_extra_state(self, state: dict[str, list[Tensor]]) -> None:
        for side, images in state.items():
            self.pools[side].images = list(images)

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        """Gives both directions, as CycleGANs of one generator."""
        return {
            "bundle": Product({"generator": networks["generator"]}),
            "bundle-back": Product({"generator": networks["generator_back"]}),
        }

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        return [batch.a, networks["generator"](batch.a), batch.b, networks["generator_back"](batch.b)]


def build_cyclegan(shape: Shape) -> CycleGAN:
    config = ResnetGeneratorConfig(
        width=shape.width, blocks=shape.blocks, antialias_down=shape.antialias, antialias_up=shape.antialias
    )
    judged = PatchDiscriminatorConfig(width=shape.discriminator_width, antialias=shape.antialias)
    system = CycleGAN(
        (ResnetGenerator(config), ResnetGenerator(config)), (PatchDiscriminator(judged), PatchDiscriminator(judged))
    )
    initialise(system, "normal")
    return system


# Section 3.2.4. The papers' code steps its schedule at the start of an epoch: the decay begins one epoch early.
RECIPE = Recipe("unpaired", Shape(), epochs=100, decay_epochs=100, decay_lead=1)
