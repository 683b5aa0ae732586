"""What a request through the server costs beside the same work in this process: in turns, a round at a time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from i2i_rt.benchmarks.measure import Rule, Timing, repeat
from i2i_rt.benchmarks.serving.processes import Processes
from i2i_rt.benchmarks.serving.report import CostRow


@dataclass
class Way:
    """One way to the same answer; `remote` where a server computes. The rest is what its runs took."""

    name: str
    model: str
    tensors: str
    run: Callable[[], object]
    remote: bool
    rounds: list[list[float]] = field(default_factory=list)
    cpu_s: float = 0.0
    client_cpu_s: float = 0.0

    def row(self, first: "Way") -> CostRow:
        """Summarises the runs beside those of another way."""
        runs = sum(map(len, self.rounds))
        over = [np.median(own) - np.median(other) for own, other in zip(self.rounds, first.rounds, strict=True)]
        return CostRow(
            self.name,
            self.model,
            self.tensors,
            Timing.of(self.rounds),
            1000 * float(np.median(over)),
            1000 * (self.cpu_s if self.remote else self.client_cpu_s) / runs,
            1000 * self.client_cpu_s / runs if self.remote else None,
        )


def measure(ways: Sequence[Way], processes: Processes, rule: Rule) -> list[CostRow]:
    """Times ways that must give the same answer, and compares them with the first."""
    for way in ways:
        repeat(way.run, runs=rule.warmup_runs, seconds=rule.warmup_s)
    for _ in range(rule.rounds):
        for way in ways:
            _round(way, processes, rule)
    return [way.row(ways[0]) for way in ways]


def _round(way: Way, processes: Processes, rule: Rule) -> None:
    way.run()  # wakes up what the others pushed aside
    server, client = sum(processes.cpu_s().values()), time.process_time()
    way.rounds.append(repeat(way.run, runs=rule.runs_per_round, seconds=rule.seconds_per_round))
    way.client_cpu_s += time.process_time() - client
    way.cpu_s += sum(processes.cpu_s().values()) - server
