"""What a request through the server costs beside the same work in this process: in turns, a round at a time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from i2i_rt.benchmarks.measure import Rule, Timing, repeat
from i2i_rt.benchmarks.serving.processes import Processes
from i2i_rt.benchmarks.serving.report import CostRow


@dataclass
class Way:
    """One way to the same answer; `remote` where a server computes. The rest is what its runs took."""

    name: str
    tensors: str
    run: Callable[[], object]
    remote: bool
    rounds: list[list[float]] = field(default_factory=list)
    cpu_s: float = 0.0
    client_cpu_s: float = 0.0

    @property
    def runs(self) -> int:
        return sum(map(len, self.rounds))


def measure(ways: Sequence[Way], processes: Processes, rule: Rule) -> list[CostRow]:
    """Times the ways, each of which must give the same answer; ways with equal tensors are compared with the first."""
    for way in ways:
        repeat(way.run, runs=rule.warmup_runs, seconds=rule.warmup_s)
    for _ in range(rule.rounds):
        for way in ways:
            _round(way, processes, rule)
    timings = [Timing.of(way.rounds) for way in ways]
    first: dict[str, float] = {}
    for way, timing in zip(ways, timings, strict=True):
        first.setdefault(way.tensors, timing.p50_ms)
    return [
        CostRow(
            way.name,
            way.tensors,
            timing,
            timing.p50_ms - first[way.tensors],
            1000 * (way.cpu_s if way.remote else way.client_cpu_s) / way.runs,
            1000 * way.client_cpu_s / way.runs if way.remote else None,
        )
        for way, timing in zip(ways, timings, strict=True)
    ]


def _round(way: Way, processes: Processes, rule: Rule) -> None:
    way.run()  # wakes up what the others pushed aside
    server, client = sum(processes.cpu_s().values()), time.process_time()
    way.rounds.append(repeat(way.run, runs=rule.runs_per_round, seconds=rule.seconds_per_round))
    way.client_cpu_s += time.process_time() - client
    way.cpu_s += sum(processes.cpu_s().values()) - server
