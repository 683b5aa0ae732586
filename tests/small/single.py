"""CycleGAN, CUT, FastCUT, SinCUT and pix2pix with width 4."""

from collections.abc import Callable

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.importers.single import preprocessing_of
from i2i_rt.models.norm import BatchNorm
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.models.sincut import SinCUTGenerator, SinCUTGeneratorConfig
from i2i_rt.models.unet import UNetGenerator, UNetGeneratorConfig


def drawn(system: str, make: Callable[[], nn.Module]) -> Imported:
    """Makes a generator with weights of a fixed seed; pictures have contrast and few values at the ends."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = make()
        for module in generator.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, 0.2)
                if module.bias is not None:
                    nn.init.normal_(module.bias, 0, 0.2)
            elif isinstance(module, BatchNorm):
                module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr, operator]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
        generator.eval().requires_grad_(False)
        if isinstance(generator, ResnetGenerator):
            generator.layers[-2].weight.mul_(0.3)  # type: ignore[operator, union-attr]
        elif isinstance(generator, UNetGenerator):
            generator.up[0].weight.mul_(0.3)  # type: ignore[operator, union-attr]
    return Imported({"generator": generator}, (), preprocessing_of(system))


def cyclegan() -> Imported:
    return drawn("cyclegan", lambda: ResnetGenerator(ResnetGeneratorConfig(width=4, blocks=2)))


def cut() -> Imported:
    """Draws the generator that CUT and FastCUT share, with low-pass filters."""
    config = ResnetGeneratorConfig(width=4, blocks=2, antialias_down=True, antialias_up=True)
    return drawn("cut", lambda: ResnetGenerator(config))


def sincut() -> Imported:
    return drawn("sincut", lambda: SinCUTGenerator(SinCUTGeneratorConfig(width=6, inner_width=8, blocks=2)))


def pix2pix() -> Imported:
    """Draws the U-Net as the official test script runs it: statistics of the picture itself, dropout on."""
    return drawn("pix2pix", lambda: UNetGenerator(UNetGeneratorConfig(width=4, depth=5)))


def pix2pix_eval() -> Imported:
    """Draws the U-Net as the official test script runs it with `--eval`."""
    config = UNetGeneratorConfig(width=4, depth=5, statistics="running", dropout_seed=None)
    return drawn("pix2pix", lambda: UNetGenerator(config))


SMALL: dict[str, Callable[[], Imported]] = {
    "cyclegan": cyclegan,
    "cut": cut,
    "fastcut": cut,
    "sincut": sincut,
    "pix2pix": pix2pix,
    "pix2pix-eval": pix2pix_eval,
}
