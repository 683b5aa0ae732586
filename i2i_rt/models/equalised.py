"""Equalised learning rate (Karras et al. 2018, section 4.1) for layers that keep plain weights when they are deployed.

In training a layer's weight is a parameter with variance one times a constant, so that Adam's steps, which do not
depend on a gradient's size, are in proportion to the weights of every layer. Afterwards the product takes its place.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Scaled(nn.Module):
    """Gives a parameter times a constant."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.scale

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight / self.scale


def equalise(layer: nn.Conv2d, slope: float) -> None:
    """Draws a convolution's weight from N(0, 1) and scales it where it is used; its bias becomes zero.

    The scale is He's for a leaky ReLU of `slope` after the layer: `sqrt(2 / ((1 + slope^2) * fan_in))`.
    """
    scale = math.sqrt(2 / ((1 + slope**2) * layer.weight[0].numel()))
    nn.init.normal_(layer.weight, 0.0, scale)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    parametrize.register_parametrization(layer, "weight", Scaled(scale))


def plain(network: nn.Module) -> nn.Module:
    """Gives a copy of a network, rebuilt from its `config`, that holds the weights its layers compute with."""
    weights = {name: weight for name, weight in network.state_dict().items() if ".parametrizations." not in name}
    for name, layer in network.named_modules():
        if parametrize.is_parametrized(layer):
            weights |= {f"{name}.{weight}": getattr(layer, weight) for weight in layer.parametrizations}
    with torch.device("meta"):
        rebuilt = type(network)(network.config)  # type: ignore[call-arg]
    rebuilt.load_state_dict({name: weight.detach().clone() for name, weight in weights.items()}, assign=True)
    return rebuilt.eval().requires_grad_(False)
