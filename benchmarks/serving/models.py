"""What the whole run serves: CycleGAN's generator in two sizes, and small networks of three kinds for mixed requests.

Weights are drawn: neither time nor the paths that a request takes depend on them. The small networks' pictures have
contrast, so that a wrong answer looks different from a right one.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.cli import main as command
from i2i_rt.errors import I2IError
from i2i_rt.importers.base import Imported
from i2i_rt.importers.single import preprocessing_of
from i2i_rt.importers.table import write_bundle
from i2i_rt.label_names import label_info
from i2i_rt.models import stargan
from i2i_rt.models.norm import RunningNorm
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo
from i2i_rt.testing import tiny_bundle

PET_SIDE, CLASSES = 64, 6


def cyclegan() -> Imported:
    return Imported(
        {"generator": ResnetGenerator(ResnetGeneratorConfig(width=8, blocks=2))}, (), preprocessing_of("cyclegan")
    )


def starganv2() -> Imported:
    """Draws a network with styles of two domains: of a picture, of a seed, or their mean."""
    networks: dict[str, nn.Module] = {
        "generator": stargan.StarGANGenerator(stargan.StarGANGeneratorConfig(4, 8, 2, 6, 0.0)),
        "mapping_network": stargan.MappingNetwork(stargan.MappingNetworkConfig(5, 8, 6, 2)),
        "style_encoder": stargan.StarGANStyleEncoder(stargan.StarGANStyleEncoderConfig(4, 8, PET_SIDE, 6, 2)),
    }
    return Imported(
        networks,
        (),
        Preprocessing("resize", PET_SIDE, PET_SIDE, resample="bilinear"),
        StyleInfo("network", ("cat", "dog")),
    )


def spade() -> Imported:
    """Draws a network for label maps with edges."""
    generator = SpadeGenerator(SpadeGeneratorConfig(CLASSES, width=2, hidden=8))
    labels = label_info("custom", CLASSES, unknown=True, edges=True)
    return Imported({"generator": generator}, preprocessing=Preprocessing("resize"), labels=labels)


SMALL: dict[str, Callable[[], Imported]] = {"cyclegan": cyclegan, "starganv2": starganv2, "spade": spade}


def small_bundles(folder: Path) -> dict[str, Path]:
    """Writes and exports the small networks, by system; what is there already stays."""
    return {system: _exported(folder / system, partial(_write, system)) for system in SMALL}


def resnet(folder: Path, width: int, blocks: int) -> Path:
    """Writes and exports CycleGAN's generator; what is there already stays."""
    return _exported(folder, partial(tiny_bundle, width=width, blocks=blocks))


def _write(system: str, path: Path) -> Bundle:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = SMALL[system]()
        for network in made.networks.values():
            _draw(network)
        if isinstance(generator := made.networks["generator"], SpadeGenerator):
            generator.last.weight.mul_(0.2)  # else half of its pixels are black or white
    return write_bundle(made, system, path, Provenance("drawn with seed 0", ""))


def _draw(network: nn.Module) -> None:
    """Draws weights that keep the contrast of what they are given, from layer to layer."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, 0.2)
        elif isinstance(module, nn.BatchNorm2d | RunningNorm):
            module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr, operator]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    network.eval().requires_grad_(False)


def _exported(path: Path, write: Callable[[Path], Bundle]) -> Path:
    """Gives the path of a bundle with artifacts.

    Raises:
        I2IError: where an artifact is not right.
    """
    if not (path / "bundle.json").is_file():
        write(path)
    bundle = Bundle.open(path)
    if bundle.golden(bundle.main_stage) is None and command(["export", str(path)]) != 0:
        raise I2IError(f"an artifact of {path} is not right; see above")
    return path
