"""Which networks a phase of training moves, and that what it reports adds up."""

from typing import Any

import pytest
from torch import Tensor

from i2i_rt.systems.base import System


def touched(system: System[Any]) -> set[str]:
    """Gives the names of the networks that have gradients."""
    return {
        name
        for name, network in system.networks.items()
        if any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())
    }


def check_phase(system: System[Any], batch: Any, phase: str, kept: dict[str, Tensor]) -> None:
    """Checks that a phase gives gradients to what it trains alone, and that its total is the sum of its losses."""
    system.zero_grad()
    losses = system(batch, phase, kept)
    total = losses.pop("total")
    total.backward()
    assert total.item() == pytest.approx(sum(loss.item() for loss in losses.values()), rel=1e-5)
    assert touched(system) == set(system.trained_in(phase))
