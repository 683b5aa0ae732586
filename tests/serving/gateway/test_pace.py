"""A model's pace: measured by its answers only, and held against how long a further request would wait."""

import contextlib

import pytest

from i2i_rt.serving.gateway import pace as pace_module
from i2i_rt.serving.gateway.pace import LEAST, LONGEST_S, Pace
from i2i_rt.serving.gateway.refused import Refused


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)
    return clock


def answer(pace: Pace, clock: Clock, seconds: float) -> None:
    with pace.request():
        clock.now += seconds


def test_waiting_behind_others_is_no_slowness(clock: Clock) -> None:
    pace = Pace("m")
    first, second = pace.request(), pace.request()
    with first:
        second.__enter__()
        clock.now += 0.3
    clock.now += 0.3
    second.__exit__(None, None, None)
    assert pace.each_s == pytest.approx(0.3) and pace.in_flight == 0


def test_failures_tell_nothing_of_the_pace(clock: Clock) -> None:
    pace = Pace("m")
    answer(pace, clock, 0.5)
    with pytest.raises(Refused), pace.request():
        clock.now += 5.0
        raise Refused("UNAVAILABLE", "Request timeout expired")
    assert pace.each_s == 0.5 and pace.in_flight == 0


def test_what_would_wait_for_too_long_is_refused(clock: Clock) -> None:
    pace = Pace("m")
    answer(pace, clock, LONGEST_S / 10.5)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(pace.request())
        with pytest.raises(Refused, match="overload of 10 requests") as caught, pace.request():
            raise AssertionError("it was let in")
        assert caught.value.code == "UNAVAILABLE" and caught.value.retry_after_s
        assert pace.in_flight == 10
    assert pace.in_flight == 0


def test_a_few_are_let_in_however_slow_the_model_is(clock: Clock) -> None:
    pace = Pace("m")
    answer(pace, clock, 10 * LONGEST_S)
    with contextlib.ExitStack() as stack:
        for _ in range(LEAST):
            stack.enter_context(pace.request())
        with pytest.raises(Refused):
            stack.enter_context(pace.request())


def test_pace_follows_the_model(clock: Clock) -> None:
    pace = Pace("m")
    answer(pace, clock, 1.0)
    for _ in range(30):
        answer(pace, clock, 0.1)
    assert pace.each_s == pytest.approx(0.1, rel=0.05)
