"""The two loops: what is in flight, from when a latency counts, and what a late sender does to a run."""

import asyncio
import itertools
import os
import time

import numpy as np
import pytest

from i2i_rt.benchmarks.serving.load import (
    Call,
    Latency,
    Load,
    Sample,
    always,
    closed_loop,
    first_served,
    one_by_one,
    open_loop,
    poisson,
)


def answering(seconds: float, code: str = "OK") -> Call:
    async def ask() -> str:
        await asyncio.sleep(seconds)
        return code

    return ask


class Counted:
    """Knows how many of its calls were in flight at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(self) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.002)
        self.now -= 1
        return "OK"


def test_closed_loop_keeps_so_many_in_flight() -> None:
    call = Counted()
    samples = asyncio.run(closed_loop(always(call), concurrency=3, seconds=0.1))
    assert call.most == 3 and call.now == 0
    assert len(samples) >= 3 and all(sample.due == sample.sent < sample.done for sample in samples)


def test_closed_loop_ends_with_its_calls() -> None:
    samples = asyncio.run(closed_loop(iter([answering(0)] * 7), concurrency=2))
    assert [sample.code for sample in samples] == ["OK"] * 7


def test_closed_loop_leaves_a_server_alone_that_has_no_room() -> None:
    samples = asyncio.run(closed_loop(always(answering(0, "UNAVAILABLE")), concurrency=1, seconds=0.25))
    assert 1 <= len(samples) <= 3


def test_open_loop_sends_while_others_are_in_flight() -> None:
    call = Counted()
    samples = asyncio.run(open_loop(always(call), [0.0, 0.0, 0.0, 0.0]))
    assert call.most == 4 and len(samples) == 4


def test_priority_is_given_back() -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with first_served():
        assert os.getpriority(os.PRIO_PROCESS, 0) <= usual
    assert os.getpriority(os.PRIO_PROCESS, 0) == usual


def test_latency_of_an_open_loop_begins_when_it_was_due() -> None:
    """A stall of the sender itself counts: the user has waited, and the sender was late."""

    async def stall() -> str:
        time.sleep(0.05)  # blocks the whole loop, as a starved sender would be
        return "OK"

    samples = asyncio.run(open_loop(itertools.chain([stall], always(answering(0))), [0.0, 0.01, 0.02]))
    load = Load.of(samples, 0.1, offered=True)
    assert load.accepted is not None and load.accepted.p50_ms > 35
    assert load.lateness_p99_ms > 35 and load.is_void


def test_rate_counts_only_right_answers_in_time() -> None:
    samples = [
        Sample(0, 0, 0.5, "OK"),
        Sample(0, 0, 1.5, "OK"),
        Sample(0, 0, 0.1, "UNAVAILABLE"),
        Sample(0, 0, 0.2, "WRONG"),
    ]
    load = Load.of(samples, 1.0, offered=True)
    assert load.per_s == 1 and load.offered_per_s == 4
    assert load.accepted is not None and load.accepted.count == 2
    assert load.refused is not None and load.refused.max_ms == pytest.approx(200)
    assert load.codes == {"OK": 2, "UNAVAILABLE": 1, "WRONG": 1} and load.errors == 2
    assert not load.is_void and load.least is None


def test_nothing_answered_has_no_latency() -> None:
    load = Load.of([], 1.0, offered=False)
    assert load.accepted is None and load.refused is None and load.per_s == 0


def test_percentiles_leave_nothing_out() -> None:
    latency = Latency.of([0.001] * 999 + [1.0])
    assert latency is not None and latency.p50_ms == pytest.approx(1) and latency.max_ms == pytest.approx(1000)
    assert latency.p99_ms == pytest.approx(1) and latency.p999_ms > latency.p99_ms


def test_poisson_arrivals_have_the_rate_and_the_spread_of_independent_ones() -> None:
    due = poisson(200, 50)
    assert len(due) == pytest.approx(10_000, rel=0.05) and due[0] > 0 and due[-1] < 50
    gaps = np.diff(due)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert poisson(200, 50) == due != poisson(200, 50, seed=1)


def test_arrivals_that_are_served_in_turn_wait_for_those_before_them() -> None:
    assert one_by_one([0.0, 0.0, 0.5, 10.0], 1.0) == pytest.approx([1.0, 2.0, 2.5, 1.0])
