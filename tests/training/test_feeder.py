"""The feeder: fields as networks want them, steps in order, and errors handed on."""

import numpy as np
import pytest
import torch

from i2i_rt.errors import MediaError
from i2i_rt.systems.base import Batch
from i2i_rt.training.feeder import Feeder, to_batch


def test_images_are_in_the_networks_range_and_other_fields_stay() -> None:
    frames = np.array([0, 255], np.uint8).repeat(3).reshape(1, 1, 2, 3)

    a, labels = to_batch(Batch, (frames, np.array([[3]])), torch.device("cpu"))

    assert a.shape == (1, 3, 1, 2) and a.min() == -1 and a.max() == 1
    assert labels.dtype == torch.int64 and labels.item() == 3


class SlowSampler:
    steps_per_epoch = 10

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []

    def batch(self, step: int, part: slice, *, augmented: bool = True) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((step, augmented))
        if step == 3:
            raise MediaError("the picture 3.png cannot be read")
        return np.full(1, step), np.full(1, step)

    def preview(self, images: int) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError


def test_feeder_gives_steps_in_order_and_hands_errors_on() -> None:
    sampler = SlowSampler()

    with Feeder(sampler, first=1, part=slice(0, 1), workers=2, augmented_until=2) as feeder:
        assert [int(feeder.next()[0][0]) for _ in range(2)] == [1, 2]
        assert feeder.waited_s >= 0
        with pytest.raises(MediaError, match=r"3\.png cannot be read"):
            feeder.next()

    assert {(1, True), (2, False)} <= set(sampler.asked)
