"""The official generators at their official sizes, with drawn weights: time does not depend on those."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig
from i2i_rt.models.stargan import StarGANGenerator, StarGANGeneratorConfig
from i2i_rt.models.swapping import SwappingEncoder, SwappingEncoderConfig, SwappingGenerator, SwappingGeneratorConfig

Networks = dict[str, nn.Module]
# what the networks get as inputs, by network, for a batch, on the present default device
Inputs = Callable[[Mapping[str, nn.Module], int], dict[str, tuple[Tensor, ...]]]


@dataclass(frozen=True)
class Official:
    """A system's networks that translate, and the size they are used at."""

    name: str
    height: int
    width: int
    networks: Callable[[], Networks]
    inputs: Inputs

    @property
    def label(self) -> str:
        return f"{self.name} {self.width}x{self.height}"


def _resnet(config: ResnetGeneratorConfig, side: int, name: str) -> Official:
    def inputs(_: Mapping[str, nn.Module], batch: int) -> dict[str, tuple[Tensor, ...]]:
        return {"generator": (torch.randn(batch, 3, side, side),)}

    return Official(name, side, side, lambda: {"generator": ResnetGenerator(config)}, inputs)


def _starganv2(w_hpf: float, name: str) -> Official:
    def inputs(_: Mapping[str, nn.Module], batch: int) -> dict[str, tuple[Tensor, ...]]:
        return {"generator": (torch.randn(batch, 3, 256, 256), torch.randn(batch, 64))}

    config = StarGANGeneratorConfig(w_hpf=w_hpf, levels=5 if w_hpf else 4)
    return Official(name, 256, 256, lambda: {"generator": StarGANGenerator(config)}, inputs)


def _spade(config: SpadeGeneratorConfig, height: int, width: int, name: str) -> Official:
    def inputs(_: Mapping[str, nn.Module], batch: int) -> dict[str, tuple[Tensor, ...]]:
        return {"generator": (torch.randn(batch, config.channels, height, width),)}

    return Official(name, height, width, lambda: {"generator": SpadeGenerator(config)}, inputs)


def _swapping(encoder: SwappingEncoderConfig, generator: SwappingGeneratorConfig, side: int, name: str) -> Official:
    def networks() -> Networks:
        return {"encoder": SwappingEncoder(encoder), "generator": SwappingGenerator(generator)}

    def inputs(networks: Mapping[str, nn.Module], batch: int) -> dict[str, tuple[Tensor, ...]]:
        place = side // 2 ** (len(encoder.widths) - 1)
        structure = torch.randn(batch, encoder.structure_channels, place, place)
        texture = torch.randn(batch, encoder.texture_channels)
        return {"encoder": (torch.randn(batch, 3, side, side),), "generator": (structure, texture)}

    return Official(name, side, side, networks, inputs)


RESNET_256 = _resnet(ResnetGeneratorConfig(), 256, "CycleGAN")
STARGANV2 = _starganv2(0, "StarGAN v2")
SPADE_COCO = _spade(SpadeGeneratorConfig(), 256, 256, "SPADE COCO")
SWAPPING_256 = _swapping(SwappingEncoderConfig(), SwappingGeneratorConfig(), 256, "Swapping Autoencoder")
NETWORKS = (
    RESNET_256,
    _resnet(ResnetGeneratorConfig(), 512, "CycleGAN"),
    _resnet(ResnetGeneratorConfig(antialias_down=True, antialias_up=True), 256, "CUT"),
    STARGANV2,
    _starganv2(1, "StarGAN v2 with masks"),
    SPADE_COCO,
    _spade(SpadeGeneratorConfig(classes=34, unknown=True, upsampling="more"), 256, 512, "SPADE Cityscapes"),
    SWAPPING_256,
    _swapping(SwappingEncoderConfig(), SwappingGeneratorConfig(), 512, "Swapping Autoencoder"),
)
