"""How a time is taken: the warm-up rule, samples in rounds, percentiles of all of them, and peak memory."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Rule:
    """How often something is run. What is compared takes turns, a round at a time, so that a busy neighbour hits all.

    A turn begins with one run that does not count: it wakes up threads and caches that the others pushed aside.
    """

    name: str
    warmup_runs: int
    warmup_s: float
    rounds: int
    runs_per_round: int
    seconds_per_round: float

    def __str__(self) -> str:
        runs, seconds = self.rounds * self.runs_per_round, self.rounds * self.seconds_per_round
        return (
            f"{self.name}, at least {runs} runs and {seconds:.1f} s in {self.rounds} interleaved rounds, "
            f"after at least {self.warmup_runs} runs and {self.warmup_s * 1000:.0f} ms of warm-up"
        )


FULL = Rule("in full", warmup_runs=10, warmup_s=0.2, rounds=10, runs_per_round=5, seconds_per_round=0.3)
QUICK = Rule("quick", warmup_runs=2, warmup_s=0.05, rounds=3, runs_per_round=2, seconds_per_round=0.1)


@dataclass(frozen=True)
class Timing:
    """The distribution of all samples of a closed loop; nothing is thrown away."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    mean_ms: float
    runs: int
    spread: float  # slowest round's median / fastest round's median: 1 on a quiet machine

    @classmethod
    def of(cls, rounds: Sequence[Sequence[float]]) -> "Timing":
        """Summarises samples in seconds, a sequence for each round."""
        samples = np.concatenate([np.asarray(samples, np.float64) for samples in rounds]) * 1000
        medians = [float(np.median(samples)) for samples in rounds]
        p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
        spread = max(medians) / min(medians) if min(medians) > 0 else 1.0
        return cls(p50, p90, p99, float(samples.max()), float(samples.mean()), len(samples), spread)


def repeat(run: Callable[[], object], *, runs: int, seconds: float) -> list[float]:
    """Calls `run` at least `runs` times and for at least `seconds`; gives the seconds that each call took."""
    samples: list[float] = []
    total = 0.0
    while len(samples) < runs or total < seconds:
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
        total += samples[-1]
    return samples


def take_turns(runs: Sequence[Callable[[], object]], rule: Rule) -> list[Timing]:
    """Warms all up, then times them in turns, a round at a time."""
    for run in runs:
        repeat(run, runs=rule.warmup_runs, seconds=rule.warmup_s)
    rounds: list[list[list[float]]] = [[] for _ in runs]
    for _ in range(rule.rounds):
        for run, taken in zip(runs, rounds, strict=True):
            run()
            taken.append(repeat(run, runs=rule.runs_per_round, seconds=rule.seconds_per_round))
    return [Timing.of(taken) for taken in rounds]


def peak_memory_mib() -> float | None:
    """Gives the largest resident memory that this process ever had; None where the system does not say.

    Read from /proc where there is one: the other source, `getrusage`, counts what the parent had before the fork.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    if sys.platform == "win32":
        return None
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 2**20 if sys.platform == "darwin" else largest / 2**10


def current_memory_mib() -> float | None:
    """Gives the resident memory of this process now; None where the system does not say."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        return None
    import resource

    return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
