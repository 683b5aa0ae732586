"""How weights are drawn before training, as the papers' code does it."""

from typing import Literal

from torch import nn

Initialisation = Literal["normal", "xavier", "kaiming"]


def initialise(network: nn.Module, how: Initialisation, scale: float = 0.02) -> None:
    """Draws the weights of all convolutions and linear layers anew; biases become zero, in place.

    `normal` has a standard deviation of `scale` (CycleGAN, pix2pix), `xavier` a gain of `scale` (CUT), and both draw
    the scales of batch norm from N(1, `scale`). `kaiming` keeps the variance of what ReLU lets through (StarGAN v2,
    TUNIT), and leaves batch norm. SinCUT's equalised layers are drawn where they are made and stay.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if how == "kaiming":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif how == "xavier":
                nn.init.xavier_normal_(module.weight, gain=scale)
            else:
                nn.init.normal_(module.weight, 0.0, scale)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.affine and how != "kaiming":
            nn.init.normal_(module.weight, 1.0, scale)
            nn.init.zeros_(module.bias)
