"""What is called reached, and what is not."""

from dataclasses import replace

from i2i_rt.benchmarks.measure import Timing
from i2i_rt.benchmarks.serving import goals
from i2i_rt.benchmarks.serving.bench import GRPC, IN_PROCESS, SHARED
from i2i_rt.benchmarks.serving.load import Latency, Load
from i2i_rt.benchmarks.serving.mixed import Outcome
from i2i_rt.benchmarks.serving.report import CostRow, LoadRow

TIMING = Timing.of([[0.01]])
COSTS = [CostRow(IN_PROCESS, "a", "", TIMING, 0.0, 10.0)]
CALM = Load(70, 70, Latency(10, 15, 25, 30, 40, 700), None, {"OK": 700}, 1.0)
BUSY = Load(
    200, 95, Latency(10, 15, 25, 30, 40, 900), Latency(1, 2, 3, 4, 5, 900), {"OK": 900, "UNAVAILABLE": 900}, 1.0
)


def reached(found: "list[goals.Goal]") -> list[bool]:
    return [goal.is_reached for goal in found]


def test_costs_have_limits_of_their_own() -> None:
    rows = [*COSTS, CostRow(GRPC, "a", "", TIMING, 3.9), CostRow(SHARED, "a", "", TIMING, 1.1)]
    assert reached(list(goals.cost_goals(rows))) == [True, False]


def test_processor_time_is_beside_that_of_the_same_work() -> None:
    rows = [*COSTS, CostRow(GRPC, "a", "", TIMING, 0, 11.4), CostRow(SHARED, "a", "", TIMING, 0, 11.6)]
    found = list(goals.cpu_goals(rows))
    assert reached(found) == [True, False] and str(found[0]) == "11.4 / 10.0 ms = 1.14 [✓]"


def test_load_below_saturation_has_a_short_tail_and_no_error() -> None:
    def judged(load: Load) -> list[bool]:
        return reached(list(goals.load_goals([LoadRow("a", GRPC, "", "70%", load, share=0.7)], 100)))

    assert judged(CALM) == [True]
    assert judged(replace(CALM, accepted=Latency(10, 15, 31, 32, 40, 700))) == [False]
    assert judged(replace(CALM, codes={"OK": 699, "UNAVAILABLE": 1})) == [False]
    assert judged(replace(CALM, lateness_p99_ms=11.0)) == [False]


def test_load_above_saturation_is_refused_at_once_and_in_one_way() -> None:
    def judged(load: Load) -> list[bool]:
        return reached(list(goals.load_goals([LoadRow("a", GRPC, "", "200%", load, share=2.0)], 100)))

    assert judged(BUSY) == [True, True]
    assert judged(replace(BUSY, per_s=89)) == [False, True]
    assert judged(replace(BUSY, refused=Latency(1, 2, 51, 52, 60, 900))) == [True, False]
    assert judged(replace(BUSY, codes={"OK": 900, "DEADLINE_EXCEEDED": 1})) == [True, False]


def test_mixed_requests_are_all_right_and_memory_stays() -> None:
    memory = tuple({"stubs": float(mib)} for mib in (80, 100, 101, 104))
    outcome = Outcome({"a": 10}, {}, memory, settled=1)
    assert reached(list(goals.mixed_goals(outcome, 5))) == [True, True]
    assert reached(list(goals.mixed_goals(replace(outcome, wrong={"a: WRONG instead of OK": 1}), 5))) == [False, True]
    assert reached(list(goals.mixed_goals(replace(outcome, settled=0), 5))) == [True, False]
