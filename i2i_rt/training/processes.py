"""Data-parallel training: `torchrun --nproc-per-node N -m i2i_rt train …` starts one process a device."""

import inspect
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ReduceOp, all_gather_object, all_reduce, destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

from i2i_rt.errors import I2IError
from i2i_rt.models.synchronized import synchronize
from i2i_rt.systems.base import System


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is, and the device that it computes on."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def part(self, batch: int, multiple: int = 1) -> slice:
        """Gives this process's images of a batch.

        Raises:
            I2IError: where they cannot be shared out evenly, or not in a multiple of `multiple`.
        """
        if batch % (self.count * multiple) and self.count == 1:
            raise I2IError(f"--batch is {batch}; give a multiple of {multiple}, which the system trains with at once")
        if batch % (self.count * multiple):
            raise I2IError(
                f"--batch is {batch} and there are {self.count} processes; "
                f"give a multiple of {self.count * multiple}: it counts the images of all processes together"
            )
        share = batch // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def wrap(self, system: System[Any], *, synchronized: bool) -> nn.Module:
        """Makes backward passes average the gradients over all processes.

        `synchronized`: batch norm is to take the statistics of all processes' images.
        """
        if self.count == 1:
            return system
        if synchronized:
            synchronize(system)
        # every phase leaves some networks out; buffers are constants, or batch norm's, which stay per process,
        # and writing them between two phases would break the graph that the second one goes on with
        parameters = inspect.signature(DistributedDataParallel).parameters
        sync = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
        return DistributedDataParallel(system, find_unused_parameters=True, **{sync: False})  # type: ignore[arg-type]

    def averaging(self, module: nn.Module, *, now: bool) -> AbstractContextManager[None]:
        """Lets a backward pass of a wrapped system average the gradients, unless more of them are to be added first."""
        if now or not isinstance(module, DistributedDataParallel):
            return nullcontext()
        return module.no_sync()

    def mean(self, values: Tensor) -> Tensor:
        """Averages a small tensor over all processes."""
        if self.count > 1:
            all_reduce(values, ReduceOp.SUM)
            values /= self.count
        return values

    def gather(self, value: Any) -> list[Any]:
        """Gives every process's value, in the order of their ranks."""
        values = [value] * self.count
        if self.count > 1:
            all_gather_object(values, value)
        return values


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Joins the other processes where `torchrun` started this one; otherwise there is only this one."""
    rank, count = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(rank, count, device)
        return
    init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, device)
    finally:
        destroy_process_group()
