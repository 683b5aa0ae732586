"""Codes drawn from what encoders say of images; random numbers are those of the whole batch, as `across` has them."""

import torch
from torch import Tensor

from i2i_rt.models import across


def sampled(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draws codes `[N, Z]` from normal distributions."""
    return mean + across.normal(*mean.shape, device=mean.device) * torch.exp(log_variance / 2)


def noisy(code: Tensor) -> Tensor:
    """Adds noise from N(0, 1) to codes `[N, C, h, w]`: UNIT's distributions all have a deviation of 1."""
    return code + across.normal(*code.shape, device=code.device).to(code.dtype)
