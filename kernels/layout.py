"""How images lie in memory, which the operators keep: channels last, or plane after plane."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def dense(x: Tensor) -> tuple[Tensor, bool]:
    """Gives `[N, C, H, W]` stored without gaps, and whether its channels lie side by side."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return x, True
    return x.contiguous(), False


def memory_format(x: Tensor) -> torch.memory_format:
    """Gives the layout that an operator's result has for an input `x`."""
    return torch.channels_last if dense(x)[1] else torch.contiguous_format


def empty(x: Tensor, height: int, width: int) -> Tensor:
    """Gives an empty `[N, C, height, width]` for an input `x` `[N, C, H, W]`, of its dtype and layout."""
    batch, channels = x.shape[:2]
    if dense(x)[1]:
        # not by `memory_format`: Inductor would fill what it made so
        return torch.empty((batch, height, width, channels), dtype=x.dtype, device=x.device).permute(0, 3, 1, 2)
    return torch.empty((batch, channels, height, width), dtype=x.dtype, device=x.device)


def keeping_layout(reference: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Gives a function that computes the same, in the layout of its first input as the kernels do."""

    def kept(x: Tensor, *others: Any) -> Tensor:
        return reference(x, *others).contiguous(memory_format=memory_format(x))

    return kept
