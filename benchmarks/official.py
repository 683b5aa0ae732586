"""The official generators at their official sizes, with drawn weights: time does not depend on those."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig
from i2i_rt.models.stargan import (
    MappingNetwork,
    MappingNetworkConfig,
    StarGANGenerator,
    StarGANGeneratorConfig,
    StarGANStyleEncoder,
    StarGANStyleEncoderConfig,
)
from i2i_rt.models.swapping import SwappingEncoder, SwappingEncoderConfig, SwappingGenerator, SwappingGeneratorConfig
from i2i_rt.spec import StageSpec

BLOCK_PX = 32  # of the fields of drawn label maps: as many positions lie near a border as in real ones
Networks = dict[str, nn.Module]
# what the networks get as inputs, by network, for a batch, on the present default device
Inputs = Callable[[Mapping[str, nn.Module], int], dict[str, tuple[Tensor, ...]]]


@dataclass(frozen=True)
class Official:
    """A system's networks that translate, and the size they are used at."""

    name: str
    system: str
    height: int
    width: int
    networks: Callable[[], Networks]  # all that the system's stages need
    inputs: Inputs  # of those that a translation runs

    @property
    def label(self) -> str:
        return f"{self.name} {self.width}x{self.height}"


def stage_inputs(spec: StageSpec, height: int, width: int, batch: int) -> list[Tensor]:
    """Draws a stage's inputs, on the present default device: smooth frames, fields of labels, a style for each."""
    drawn = []
    for tensor in spec.inputs:
        if tensor.name == "style":
            drawn.append(torch.randn(batch, tensor.axes[1].size or 0))
        elif tensor.name == "frames":
            coarse = torch.rand(batch, 3, 8, 8) * 255
            smooth = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
            drawn.append(smooth.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous())
        elif tensor.name == "labels":
            drawn.append(fields(batch, height, width))
        else:
            drawn.append(torch.zeros(batch, height, width, dtype=torch.uint8))
    return drawn


def fields(batch: int, height: int, width: int, classes: int = 30) -> Tensor:
    """Gives label maps `[N, H, W]`, uint8, of square fields with drawn classes."""
    rows, columns = -(-height // BLOCK_PX), -(-width // BLOCK_PX)
    drawn = torch.randint(0, classes, (batch, rows, columns), dtype=torch.uint8)
    return drawn.repeat_interleave(BLOCK_PX, 1).repeat_interleave(BLOCK_PX, 2)[:, :height, :width].contiguous()


def resnet(config: ResnetGeneratorConfig, side: int, name: str) -> Official:
    def inputs(_: Mapping[str, nn.Module], batch: int) -> dict[str, tuple[Tensor, ...]]:
        return {"generator": (torch.randn(batch, 3, side, side),)}

    return Official(name, "cyclegan", side, side, lambda: {"generator": ResnetGenerator(config)}, inputs)


def starganv2(config: StarGANGeneratorConfig, side: int, name: str) -> Official:
    def networks() -> Networks:
        return {
            "generator": StarGANGenerator(config),
            "mapping_network": MappingNetwork(MappingNetworkConfig(style_dim=config.style_dim)),
            "style_encoder": StarGANStyleEncoder(
                StarGANStyleEncoderConfig(config.width, config.max_width, side, config.style_dim)
            ),
        }

    def inputs(_: Mapping[str, nn.Module], batch: int) -> dict[str, tuple[Tensor, ...]]:
        return {"generator": (torch.randn(batch, 3, side, side), torch.randn(batch, config.style_dim))}

    return Official(name, "starganv2", side, side, networks, inputs)


def spade(config: SpadeGeneratorConfig, height: int, width: int, name: str) -> Official:
    def inputs(_: Mapping[str, nn.Module], batch: int) -> dict[str, tuple[Tensor, ...]]:
        return {"generator": (torch.randn(batch, config.channels, height, width),)}

    return Official(name, "spade", height, width, lambda: {"generator": SpadeGenerator(config)}, inputs)


def swapping(encoder: SwappingEncoderConfig, generator: SwappingGeneratorConfig, side: int, name: str) -> Official:
    def networks() -> Networks:
        return {"encoder": SwappingEncoder(encoder), "generator": SwappingGenerator(generator)}

    def inputs(networks: Mapping[str, nn.Module], batch: int) -> dict[str, tuple[Tensor, ...]]:
        place = side // 2 ** (len(encoder.widths) - 1)
        structure = torch.randn(batch, encoder.structure_channels, place, place)
        texture = torch.randn(batch, encoder.texture_channels)
        return {"encoder": (torch.randn(batch, 3, side, side),), "generator": (structure, texture)}

    return Official(name, "swapping", side, side, networks, inputs)


RESNET_256 = resnet(ResnetGeneratorConfig(), 256, "CycleGAN")
STARGANV2 = starganv2(StarGANGeneratorConfig(), 256, "StarGAN v2")
SPADE_COCO = spade(SpadeGeneratorConfig(), 256, 256, "SPADE COCO")
SWAPPING_256 = swapping(SwappingEncoderConfig(), SwappingGeneratorConfig(), 256, "Swapping Autoencoder")
NETWORKS = (
    RESNET_256,
    resnet(ResnetGeneratorConfig(), 512, "CycleGAN"),
    resnet(ResnetGeneratorConfig(antialias_down=True, antialias_up=True), 256, "CUT"),
    STARGANV2,
    starganv2(StarGANGeneratorConfig(w_hpf=1, levels=5), 256, "StarGAN v2 with masks"),
    SPADE_COCO,
    spade(SpadeGeneratorConfig(classes=34, unknown=True, upsampling="more"), 256, 512, "SPADE Cityscapes"),
    SWAPPING_256,
    swapping(SwappingEncoderConfig(), SwappingGeneratorConfig(), 512, "Swapping Autoencoder"),
)
