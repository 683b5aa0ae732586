"""Prepares batches ahead in threads, and measures how long training waited for them."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import torch
from torch import Tensor

from i2i_rt.systems.base import Batch
from i2i_rt.training.sampler import Crops, Sampler


def to_images(crops: Crops, device: torch.device) -> Batch:
    """Moves uint8 `[N, H, W, 3]` to the device and gives `[N, 3, H, W]` in [-1, 1]."""
    return Batch(*(_image(torch.from_numpy(side), device) for side in crops))


def _image(frames: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        frames = frames.pin_memory().to(device, non_blocking=True)
    return frames.permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


class Feeder:
    """Gives the batches of the steps from `first` on, in order. Pillow decodes outside Python's lock."""

    def __init__(
        self, sampler: Sampler, *, first: int, part: slice, workers: int, augmented_until: int | None = None
    ) -> None:
        self.waited_s = 0.0
        self._sampler, self._part, self._augmented_until = sampler, part, augmented_until
        self._next = first
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="crops")
        self._ahead: deque[Future[Crops]] = deque()
        for _ in range(2 * workers):
            self._submit()

    def _submit(self) -> None:
        step = self._next
        augmented = self._augmented_until is None or step < self._augmented_until
        self._ahead.append(self._pool.submit(self._sampler.batch, step, self._part, augmented=augmented))
        self._next += 1

    def next(self) -> Crops:
        """Gives the next batch.

        Raises:
            MediaError: where a picture cannot be decoded.
        """
        start = time.perf_counter()
        crops = self._ahead.popleft().result()
        self.waited_s += time.perf_counter() - start
        self._submit()
        return crops

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
