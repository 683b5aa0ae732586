"""UNIT's discriminator: sizes, and what the coarser scales see."""

import pytest
import torch
from torch import Tensor

from i2i_rt.errors import I2IError
from i2i_rt.models.unit_discriminator import UnitDiscriminator, UnitDiscriminatorConfig


def test_each_scale_sees_half_of_the_one_before_behind_a_low_pass() -> None:
    network, seen = UnitDiscriminator(UnitDiscriminatorConfig(width=2, layers=2, scales=3)), []
    for scale in network.scales:
        scale.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.randn(2, 3, 32, 48)

    logits = network(image)

    assert [tuple(map_.shape) for map_ in logits] == [(2, 1, 8, 12), (2, 1, 4, 6), (2, 1, 2, 3)]
    whole, half, quarter = seen
    assert whole is image
    torch.testing.assert_close(half, halved(image))
    torch.testing.assert_close(quarter, halved(halved(image)))


def halved(image: Tensor) -> Tensor:
    """Weighs each place's neighbours 1-2-1 in both directions; at the edges, the edge stands for what is not there."""
    for axis in (2, 3):
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, -1, 1)
        before = torch.cat([first, image.narrow(axis, 0, image.shape[axis] - 1)], axis)
        behind = torch.cat([image.narrow(axis, 1, image.shape[axis] - 1), last], axis)
        image = (before + 2 * image + behind) / 4
    return image[:, :, ::2, ::2]


def test_sizes_that_mean_nothing_are_refused() -> None:
    with pytest.raises(I2IError, match="scales 0; each must be at least 1"):
        UnitDiscriminatorConfig(scales=0)
