"""What is made of a server's own account of its requests."""

from types import SimpleNamespace
from typing import Any

import pytest

from i2i_rt.benchmarks.serving.sweep import split

PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


def account(count: int, *milliseconds: float) -> Any:
    phases = {name: SimpleNamespace(ns=int(ms * 1e6)) for name, ms in zip(PHASES, milliseconds, strict=True)}
    return SimpleNamespace(success=SimpleNamespace(count=count), **phases)


def test_split_is_the_mean_between_two_accounts() -> None:
    found = split(account(10, 5, 1, 50, 1), account(20, 25, 2, 150, 4))
    assert found is not None
    assert found.queue_ms == pytest.approx(2) and found.compute_ms == pytest.approx(10.4)


def test_no_answer_has_no_split() -> None:
    assert split(account(10, 5, 1, 50, 1), account(10, 5, 1, 50, 1)) is None
