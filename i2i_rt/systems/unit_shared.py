"""UNIT as its paper has it (Liu et al. 2017, arXiv:1703.00848, section 3): domains share the layers at the code."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.models.initialise import initialise
from i2i_rt.models.unit import (
    OuterNorm,
    SharedDecoder,
    SharedDecoderConfig,
    SharedEncoder,
    SharedEncoderConfig,
    behind_shared_blocks,
    residual_blocks,
    with_shared_blocks,
)
from i2i_rt.models.unit_discriminator import UnitDiscriminator, UnitDiscriminatorConfig
from i2i_rt.systems import unit
from i2i_rt.systems.base import Product, Shape
from i2i_rt.systems.losses import mean_square
from i2i_rt.systems.two_domains import check_crops
from i2i_rt.systems.unit import Unit, UnitSettings


@dataclass(frozen=True)
class SharedUnitSettings(UnitSettings):
    """Sizes beside those of `Shape`, and loss weights; the defaults are the official ones for street scenes.

    Attributes:
        reductions: halvings of the sides on the way to the code.
        shared_blocks: residual blocks of both domains before the code, and as many behind it.
        norm: none, or instance around the residual blocks, as for animals.
        dropout: share of what residual blocks add that is left out; 0 for faces and animals.
        judge_layers, judge_scales: strided convolutions of the judges, and at how many sizes they see a picture;
            6 and 1 for animals.
        gan: weight of the judges' cross entropy, summed over the scales.
        reconstruction: weight of the mean absolute difference of pictures that were only encoded and decoded.
        cycle: the same after there and back.
        vgg: weight of the difference in VGG's features after instance norm, which only the later code has.
        features: of VGG, pretrained or random; random ones need no download, but compare with no others.
        kl, cycle_kl: weights of the squared codes, noise included, of pictures and of translations.
    """

    gan: float = 10.0
    reconstruction: float = 100.0
    cycle: float = 100.0
    vgg: float = 0.0
    kl: float = 0.1
    cycle_kl: float = 0.1
    shared_blocks: int = 1
    norm: OuterNorm = "none"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "shared_blocks")
        if not 0 <= self.dropout < 1:
            raise I2IError(f"--set dropout is {self.dropout:g}; it must be at least 0 and less than 1")


class SharedUnit(Unit):
    """Encoder, decoder and discriminator of each domain, and the blocks between them that both domains have."""

    adversarial_loss = "cross-entropy"

    def encoded(self, networks: Mapping[str, nn.Module], side: str, image: Tensor) -> Tensor:
        code: Tensor = networks["shared_encoder"](super().encoded(networks, side, image))
        return code

    def decoded(self, networks: Mapping[str, nn.Module], side: str, code: Tensor) -> Tensor:
        return super().decoded(networks, side, networks["shared_decoder"](code))

    def divergence(self, code: Tensor, drawn: Tensor) -> Tensor:
        """Gives the mean square of codes with their noise, as the official code does."""
        return mean_square(drawn)

    def product(self, networks: Mapping[str, nn.Module], source: str, target: str) -> Product:
        """Gives one domain's encoder and the other's decoder, each with the shared blocks."""
        encoder, decoder = networks[f"encoder_{source}"], networks[f"decoder_{target}"]
        before, behind = networks["shared_encoder"], networks["shared_decoder"]
        assert isinstance(encoder, SharedEncoder) and isinstance(decoder, SharedDecoder)
        assert isinstance(before, nn.Sequential) and isinstance(behind, nn.Sequential)
        return Product(
            {
                "encoder": with_shared_blocks(encoder, before).eval(),
                "decoder": behind_shared_blocks(behind, decoder).eval(),
            },
            system="unit",
            preprocessing=self.preprocessing(),
        )


def build_shared_unit(shape: Shape) -> SharedUnit:
    """Makes the networks of both domains; `shape.blocks` are those of a domain's own.

    Raises:
        I2IError: where the crops have a size that decoders do not give.
    """
    settings = shape.settings
    assert isinstance(settings, SharedUnitSettings)
    check_crops(shape, settings)
    width, reductions, dropout, norm = shape.width, settings.reductions, settings.dropout, settings.norm
    judge = UnitDiscriminatorConfig(
        width=shape.discriminator_width, layers=settings.judge_layers, scales=settings.judge_scales
    )
    networks: dict[str, nn.Module] = {}
    for side in ("a", "b"):
        encoder = SharedEncoderConfig(width=width, reductions=reductions, blocks=shape.blocks, norm=norm)
        decoder = SharedDecoderConfig(width=width, enlargements=reductions, blocks=shape.blocks, norm=norm)
        networks[f"encoder_{side}"] = SharedEncoder(encoder, dropout)
        networks[f"decoder_{side}"] = SharedDecoder(decoder, dropout)
        networks[f"discriminator_{side}"] = UnitDiscriminator(judge)
    for name in ("shared_encoder", "shared_decoder"):
        networks[name] = residual_blocks(width << reductions, settings.shared_blocks, dropout)
    system = SharedUnit(networks, settings, shape.crop_size)
    initialise(system, "normal")
    return system


# half a million steps, all with the full learning rate
RECIPE = replace(unit.RECIPE, shape=Shape(blocks=3), epochs=5, decay_epochs=0, settings=SharedUnitSettings)
