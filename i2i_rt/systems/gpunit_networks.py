"""The networks that GP-UNIT's translation consists of, fresh or of a file, and the bundle that they make."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from i2i_rt.errors import I2IError
from i2i_rt.importers.gpunit import read_content_encoder
from i2i_rt.models.gpunit import Generator, GeneratorConfig
from i2i_rt.models.gpunit_encoders import (
    ContentEncoder,
    ContentEncoderConfig,
    StyleEncoder,
    StyleEncoderConfig,
    check_reductions,
)
from i2i_rt.models.spectral import add_spectral_norm, convolutions, without_spectral_norm
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Product, Shape
from i2i_rt.systems.settings import Settings


@dataclass(frozen=True)
class NetworkSettings(Settings):
    """Where the content encoder is, and sizes beside those of `Shape`.

    Attributes:
        content_encoder: a file with it, such as the official content_encoder.pt; without one, it is that of a run
            (--from).
        reductions: how often the content encoder halves the size; official files have 5.
        skip: whether the generator has dynamic skip connections.
        style_dim, bottleneck: numbers of a style, and of the layer before it.
    """

    content_encoder: str = ""
    reductions: int = 5
    skip: bool = True
    style_dim: int = 256
    bottleneck: int = 64

    def __post_init__(self) -> None:
        check_reductions(self.reductions)


def build_networks(shape: Shape) -> tuple[ContentEncoder, StyleEncoder, Generator]:
    """Makes the networks for square crops, of a side that is a power of two.

    Raises:
        I2IError: where the crops have another size, or a file of weights cannot be used.
    """
    settings, side, width = shape.settings, shape.crop_size, shape.width
    assert isinstance(settings, NetworkSettings)
    content_encoder = _content_encoder(settings, width)
    if side < content_encoder.low or side & (side - 1):
        raise I2IError(f"--crop-size is {side}; GP-UNIT takes a power of two, here at least {content_encoder.low}")
    style = StyleEncoderConfig(width=width, bottleneck=settings.bottleneck, style_dim=settings.style_dim)
    generator = Generator(GeneratorConfig(width, settings.style_dim, settings.skip, settings.reductions))
    return content_encoder, StyleEncoder(style), generator


def _content_encoder(settings: NetworkSettings, width: int) -> ContentEncoder:
    if not settings.content_encoder:
        network = ContentEncoder(ContentEncoderConfig(width=width, reductions=settings.reductions))
        add_spectral_norm(convolutions(network))  # a prior distillation has it
        return network
    network = read_content_encoder(Path(settings.content_encoder))
    if network.config.reductions != settings.reductions:
        raise I2IError(
            f"--set reductions={settings.reductions}, but the content encoder of {settings.content_encoder} has "
            f"{network.config.reductions}"
        )
    if settings.skip and network.config.width != width:
        raise I2IError(
            f"--width is {width}, but the content encoder of {settings.content_encoder} has width "
            f"{network.config.width}, and the skip connections need the same"
        )
    return network


def gpunit_product(networks: Mapping[str, nn.Module], side: int, style: StyleInfo) -> Product:
    """Gives what is deployed, trained with crops of `side`: three networks, and the sampler where there is one."""
    names = [name for name in ("style_encoder", "generator", "sampler") if name in networks]
    kept = {name: networks[name] for name in names}
    kept["content_encoder"] = without_spectral_norm(networks["content_encoder"])
    return Product(kept, "gpunit", Preprocessing("resize", side, side, resample="corners"), style)
