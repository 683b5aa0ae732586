"""Implicit maximum likelihood estimation (Li and Malik 2018, arXiv:1809.09087): a network learns to draw styles.

Each style that a picture has draws the sample that lies closest to it, so no style is left without samples near it.
Samples are drawn and compared anew at every step: no style's sample is ever out of date.
"""

import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError


def closest_noise(styles: Tensor, network: nn.Module, size: int, samples: int) -> Tensor:
    """Draws `samples` noises of `size` numbers from N(0, 1); gives, for each style `[N, S]`, that of the closest one.

    Every process draws the same ones.
    """
    noise = torch.randn(samples, size).to(styles.device)
    with torch.no_grad():
        return noise[torch.cdist(styles, network(noise).float()).argmin(1)]


def distance_to_samples(styles: Tensor, network: nn.Module, size: int, samples: int) -> Tensor:
    """Gives how far each style `[N, S]` is from the closest sample, as a share of its norm.

    Samples are always the same.
    """
    noise = torch.randn(samples, size, generator=torch.Generator().manual_seed(0)).to(styles.device)
    gaps = torch.cdist(styles, network(noise).float()).min(1).values
    shares: Tensor = gaps / styles.norm(dim=1)
    return shares


def check_samples(samples: int) -> None:
    """Raises `I2IError` where none would be drawn."""
    if samples < 1:
        raise I2IError(f"--set samples={samples}: at least one sample has to be drawn")
