"""Prepares batches ahead in threads, and measures how long training waited for them."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from i2i_rt.training.sampler import Arrays, Sampler


def to_batch(kind: type[Any], arrays: Arrays, device: torch.device) -> Any:
    """Moves a batch's fields to the device: uint8 `[N, H, W, 3]` becomes `[N, 3, H, W]` in [-1, 1], the rest stays."""
    return kind(*(None if array is None else _field(array, device) for array in arrays))


def _field(array: np.ndarray, device: torch.device) -> Tensor:
    field = torch.from_numpy(array)
    if device.type == "cuda":
        field = field.pin_memory().to(device, non_blocking=True)
    if array.dtype != np.uint8:
        return field
    return field.permute(0, 3, 1, 2).to(torch.get_default_dtype()).contiguous() / 127.5 - 1


class Feeder:
    """Gives the batches of the steps from `first` on, in order. Decoding runs outside Python's lock."""

    def __init__(
        self, sampler: Sampler, *, first: int, part: slice, workers: int, augmented_until: int | None = None
    ) -> None:
        self.waited_s = 0.0
        self._sampler, self._part, self._augmented_until = sampler, part, augmented_until
        self._next = first
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="crops")
        self._ahead: deque[Future[Arrays]] = deque()
        for _ in range(2 * workers):
            self._submit()

    def _submit(self) -> None:
        step = self._next
        augmented = self._augmented_until is None or step < self._augmented_until
        self._ahead.append(self._pool.submit(self._sampler.batch, step, self._part, augmented=augmented))
        self._next += 1

    def next(self) -> Arrays:
        """Gives the next batch.

        Raises:
            I2IError: where too many files of the set cannot be used.
        """
        start = time.perf_counter()
        arrays = self._ahead.popleft().result()
        self.waited_s += time.perf_counter() - start
        self._submit()
        return arrays

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
