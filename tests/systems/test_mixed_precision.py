"""Mixed precision leaves R1 alone: the penalty under bfloat16 is that of float32, in every system that has one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.systems.base import Batch, Pictures, Shape, System
from i2i_rt.systems.sincut import build_sincut
from tests.systems import test_gpunit, test_starganv2, test_swapping, test_tunit

Penalty = Callable[[], Tensor]


def sincut() -> Penalty:
    torch.manual_seed(0)
    system = build_sincut(Shape(width=4, discriminator_width=4, crop_size=64))
    images = torch.rand(2, 3, 64, 64)
    return lambda: system.discriminator_losses(Batch(images, images), images)["D_R1"]


def starganv2() -> Penalty:
    return phase_of(test_starganv2.small("starganv2"), test_starganv2.images(), "discriminator-latent", "D_latent_R1")


def tunit() -> Penalty:
    system, batch = test_tunit.small(), test_tunit.drawn()
    domains = torch.zeros(4, dtype=torch.long)
    kept = {"domain": domains, "reference domain": domains, "translated": batch.view}
    return lambda: system.discriminator_losses(batch, kept)["D_penalty"]


def swapping() -> Penalty:
    return phase_of(test_swapping.small(), Pictures(test_swapping.drawn().image, None), "penalty", "D_patch_R1")


def gpunit() -> Penalty:
    # each use in training mode would bring the estimates of spectral norm nearer
    return phase_of(test_gpunit.small().eval(), test_gpunit.drawn(), "discriminator", "D_R1")


def phase_of(system: System[Any], batch: Any, phase: str, name: str) -> Penalty:
    def penalty() -> Tensor:
        torch.manual_seed(1)
        return system.losses(batch, phase, {})[name]

    return penalty


@pytest.mark.parametrize("make", [sincut, starganv2, tunit, swapping, gpunit])
def test_penalty_under_bfloat16_is_that_of_float32(make: Callable[[], Penalty]) -> None:
    penalty = make()
    expected = penalty()

    with torch.autocast("cpu", torch.bfloat16):
        found = penalty()

    assert found.dtype == torch.float32 and expected > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
