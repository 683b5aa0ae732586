"""Statistics that norms take instead of each image's own: those of a clip, recorded once and then constant.

A norm asks `taken`. Mostly it is told nothing, and computes its own way. While a network runs to be recorded, or with
what was recorded, it is given a mean and a variance, and scales and shifts by them. Norms are told apart by the order
in which they run, because one layer may run several times.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor


class Source(Protocol):
    """Gives the means and variances of `[N, C, H, W]` over `axes`, in float32, to be broadcast with it."""

    def moments(self, x: Tensor, axes: tuple[int, ...], correction: int) -> tuple[Tensor, Tensor]: ...


class _Current(threading.local):
    """What norms take in this thread; several networks may run at once."""

    source: Source | None = None


_current = _Current()


@contextmanager
def using(source: Source) -> Iterator[None]:
    """Lets norms take their statistics from `source` within the block."""
    _current.source = source
    try:
        yield
    finally:
        _current.source = None


def replaced() -> bool:
    """Says whether norms take other statistics than each image's own, which no kernel does."""
    return _current.source is not None


def taken(x: Tensor, axes: tuple[int, ...] = (2, 3), *, correction: int = 0) -> tuple[Tensor, Tensor] | None:
    """Gives the mean and the variance that `[N, C, H, W]` is normalised with; None: its own.

    Args:
        x: what is normalised.
        axes: over which.
        correction: the variance is divided by the number of values less this.
    """
    return None if _current.source is None else _current.source.moments(x, axes, correction)


class Recorder:
    """Gives each image its own statistics and keeps them, for one image at a time."""

    def __init__(self) -> None:
        self._moments: list[Tensor] = []

    def moments(self, x: Tensor, axes: tuple[int, ...], correction: int) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(x.float(), axes, correction=correction, keepdim=True)
        self._moments.append(torch.stack([mean.flatten(), variance.flatten()]))
        return mean, variance

    def statistics(self) -> Tensor:
        """Gives what one run recorded, `[2, S]`: means, and variances, of all norms one after another."""
        return torch.cat(self._moments, 1) if self._moments else torch.zeros(2, 0)


class Constants:
    """Gives recorded statistics `[2, S]` to the norms of one run."""

    def __init__(self, statistics: Tensor) -> None:
        self._statistics, self._start = statistics, 0

    def moments(self, x: Tensor, axes: tuple[int, ...], correction: int) -> tuple[Tensor, Tensor]:
        count = 1 if 1 in axes else x.shape[1]
        part = self._statistics[:, self._start : self._start + count, None, None]
        if part.shape[1] != count:
            raise ValueError(f"a norm of {count} channels comes after the last of {self._statistics.shape[1]} recorded")
        self._start += count
        return part[0][None], part[1][None]


def scaled(x: Tensor, moments: tuple[Tensor, Tensor], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Gives `(x - mean) / sqrt(variance + eps) * weight + bias` as one scale and one shift of each channel.

    `x` `[N, C, H, W]`; `weight` and `bias` `[C]`. The scale and the shift are computed in float32 and rounded to the
    dtype of `x`, so that a convolution before can take them in.
    """
    mean, variance = moments
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight.float()[:, None, None]
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias.float()[:, None, None]
    return x * scale.to(x.dtype) + shift.to(x.dtype)
