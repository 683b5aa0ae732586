"""Sums, rows and random numbers of all processes of a data-parallel training; with one process, of that one.

DistributedDataParallel averages the processes' gradients. So a loss that is a mean over a process's own images needs
nothing of this. A sum over the batch has to be multiplied by `count()`, and a mean over a number of rows that differs
from process to process is `(values * mask).sum() / total(mask.sum()) * count()`. A loss of `gathered` rows that every
process computes alike needs nothing: the backward pass of `gathered` and `total` adds up what the processes give.
"""

from typing import Any

import torch
import torch.distributed as processes
from torch import Tensor
from torch.autograd import Function


def count() -> int:
    """Gives how many processes train together."""
    return processes.get_world_size() if processes.is_initialized() else 1


def rank() -> int:
    """Gives this process's number, from 0."""
    return processes.get_rank() if processes.is_initialized() else 0


class _Gathered(Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(count())]
        processes.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0].contiguous()).chunk(count())[rank()]


class _Total(Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        summed = values.clone(memory_format=torch.contiguous_format)
        processes.all_reduce(summed)
        return summed

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0])


def gathered(rows: Tensor) -> Tensor:
    """Gives the rows `[N, ...]` of all processes, `[count * N, ...]`, in the order of their ranks; differentiable."""
    return _Gathered.apply(rows) if count() > 1 else rows  # type: ignore[no-any-return, no-untyped-call]


def total(values: Tensor) -> Tensor:
    """Adds up a tensor over all processes; differentiable, twice as well."""
    return _Total.apply(values) if count() > 1 else values  # type: ignore[no-any-return, no-untyped-call]


def own(rows: Tensor) -> Tensor:
    """Gives this process's share of rows that all have."""
    return rows.chunk(count())[rank()]


def normal(rows: int, *shape: int, device: torch.device | None = None) -> Tensor:
    """Draws `[rows, *shape]` from N(0, 1): this process's part of what one process would draw for the whole batch."""
    return own(torch.randn(count() * rows, *shape)).to(device)


def uniform(rows: int, *shape: int, device: torch.device | None = None) -> Tensor:
    """Draws `[rows, *shape]` evenly from [0, 1): this process's part of what one process would draw."""
    return own(torch.rand(count() * rows, *shape)).to(device)


def permutation(rows: int, device: torch.device | None = None) -> Tensor:
    """Draws an order of the whole batch's rows and gives the part `[rows]` that this process is to fill.

    Its numbers count the rows that `gathered` gives.
    """
    return own(torch.randperm(count() * rows)).to(device)
