"""CyCADA with width 4: a generator, and the four task networks, which have no stage `translate`."""

from collections.abc import Callable

import torch
from torch import nn

from i2i_rt.importers.base import Imported
from i2i_rt.models import digits, resnet, segmentation
from i2i_rt.preprocessing import Preprocessing


def drawn(name: str, make: Callable[[], nn.Module]) -> Imported:
    """Makes a network with weights and running statistics of a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.normal_(module.bias, 0, 0.2)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        network.eval().requires_grad_(False)
    if isinstance(network, resnet.ResnetGenerator):
        network.layers[-2].weight.mul_(0.3)  # type: ignore[union-attr,operator]
    return Imported({name: network}, (), Preprocessing("none"))


def small_generator() -> Imported:
    return drawn(
        "generator",
        lambda: resnet.ResnetGenerator(resnet.ResnetGeneratorConfig(width=4, blocks=2, dropout=True)),
    )


def small_drn() -> Imported:
    config = segmentation.DilatedResnetConfig((1, 1, 1, 1, 1, 1, 1, 1), (4, 4, 8, 8, 8, 12, 12, 12), 7)
    return drawn("segmenter", lambda: segmentation.DilatedResnet(config))


def small_fcn8s() -> Imported:
    config = segmentation.FCN8sConfig((4, 4, 6, 8, 8), 12, 7)
    return drawn("segmenter", lambda: segmentation.FCN8s(config))


def small_lenet() -> Imported:
    return drawn("classifier", lambda: digits.LeNet(digits.LeNetConfig(widths=(4, 8), features=12)))


def small_dtn() -> Imported:
    return drawn("classifier", lambda: digits.DTN(digits.DTNConfig(widths=(4, 8, 8), features=12)))


SMALL: dict[str, Callable[[], Imported]] = {
    "cycada": small_generator,
    "cycada-drn": small_drn,
    "cycada-fcn8s": small_fcn8s,
    "cycada-lenet": small_lenet,
    "cycada-dtn": small_dtn,
}
