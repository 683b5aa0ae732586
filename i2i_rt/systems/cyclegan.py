"""CycleGAN (section 3.2 of Park's thesis; Zhu et al. 2017, arXiv:1703.10593)."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from i2i_rt.models.initialise import initialise
from i2i_rt.models.patchgan import PatchDiscriminator, PatchDiscriminatorConfig
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.systems.base import Batch, Data, Product, Recipe, Shape, System
from i2i_rt.systems.image_pool import ImagePool
from i2i_rt.systems.losses import adversarial, distance

POOL_SIZE = 50


class TwoWay(System[Data]):
    """`generator` goes from A to B, `generator_back` from B to A; each discriminator judges one domain.

    `cycle` and `identity` are the weights of those losses; without an identity loss its passes are not computed.
    """

    phases: ClassVar[tuple[str, ...]] = ("generator", "discriminator")

    def __init__(
        self,
        generators: tuple[nn.Module, nn.Module],
        discriminators: tuple[nn.Module, nn.Module],
        *,
        cycle: float = 10.0,
        identity: float = 5.0,
    ) -> None:
        super().__init__()
        self.generator, self.generator_back = generators
        self.discriminator_a, self.discriminator_b = discriminators
        self.cycle, self.identity = cycle, identity
        self.pools = {"a": ImagePool(POOL_SIZE), "b": ImagePool(POOL_SIZE)}

    def trained_in(self, phase: str) -> tuple[str, ...]:
        if phase == "generator":
            return "generator", "generator_back"
        return "discriminator_a", "discriminator_b"

    def generator_losses(self, a: Tensor, b: Tensor, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 3.3 and the identity loss of both sides; keeps both translations, `b` and `a`."""
        to_b, to_a = self.generator, self.generator_back
        fake_b, fake_a = to_b(a), to_a(b)
        kept |= {"b": fake_b, "a": fake_a}
        losses = {
            "G_GAN_b": adversarial(self.discriminator_b(fake_b), real=True, loss="least-squares"),
            "G_GAN_a": adversarial(self.discriminator_a(fake_a), real=True, loss="least-squares"),
            "cycle_a": self.cycle * distance(to_a(fake_b), a),
            "cycle_b": self.cycle * distance(to_b(fake_a), b),
        }
        if self.identity:
            losses["identity_a"] = self.identity * distance(to_a(a), a)
            losses["identity_b"] = self.identity * distance(to_b(b), b)
        return losses

    def discriminator_losses(self, a: Tensor, b: Tensor, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = {}
        for side, images, judge in (("a", a, self.discriminator_a), ("b", b, self.discriminator_b)):
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


class CycleGAN(TwoWay[Batch]):
    """Both directions between unrelated pictures."""

    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        return (self.generator_losses if phase == "generator" else self.discriminator_losses)(*batch, kept)

    def samples(self, batch: Batch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        return [batch.a, networks["generator"](batch.a), batch.b, networks["generator_back"](batch.b)]


def build_cyclegan(shape: Shape) -> CycleGAN:
    system = CycleGAN(*pairs_of_networks(shape))
    initialise(system, "normal")
    return system


def pairs_of_networks(shape: Shape) -> tuple[tuple[nn.Module, nn.Module], tuple[nn.Module, nn.Module]]:
    """Makes the generators of both directions and the discriminators of both domains."""
    config = ResnetGeneratorConfig(
        width=shape.width, blocks=shape.blocks, antialias_down=shape.antialias, antialias_up=shape.antialias
    )
    judged = PatchDiscriminatorConfig(width=shape.discriminator_width, antialias=shape.antialias)
    generators = ResnetGenerator(config), ResnetGenerator(config)
    return generators, (PatchDiscriminator(judged), PatchDiscriminator(judged))


# Section 3.2.4. The papers' code steps its schedule at the start of an epoch: the decay begins one epoch early.
RECIPE = Recipe("unpaired", Shape(), epochs=100, decay_epochs=100, decay_lead=1)
