"""Thousands of requests of every kind in one run: right ones, whose answers are known, and 5 % malformed ones.

A request counts as right where its answer is the one of a `Translator` in this process with the same artifact, or
where it is malformed and refused with the code that says so.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from i2i_rt.benchmarks.serving.load import OK, Call, closed_loop
from i2i_rt.benchmarks.serving.processes import Processes

MALFORMED = 0.05  # of all requests


@dataclass(frozen=True)
class Question:
    """A request, what it is, and the code that it must be answered with; a right answer is checked by the call."""

    kind: str
    call: Call
    wanted: str = OK

    async def __call__(self) -> str:
        code = await self.call()
        return OK if code == self.wanted else f"{self.kind}: {code} instead of {self.wanted}"


@dataclass(frozen=True)
class Outcome:
    """What came out: how many were asked of each kind, what was wrong, and the server's memory on the way.

    Attributes:
        asked: requests by kind.
        wrong: how often something other than the right answer came, by what it was.
        memory_mib: by part, after each stretch of requests.
        settled: which of these readings the growth begins at.
    """

    asked: Mapping[str, int]
    wrong: Mapping[str, int]
    memory_mib: tuple[Mapping[str, float], ...]
    settled: int

    @property
    def growth(self) -> float:
        """The most that the server's memory grew by since it had settled, as a share."""
        totals = [sum(reading.values()) for reading in self.memory_mib]
        return max(totals[self.settled :]) / totals[self.settled] - 1


async def ask_all(
    questions: Iterator[Question], processes: Processes, *, count: int, settled: int, stretch: int, concurrency: int
) -> Outcome:
    """Asks `count` questions, so many at a time, and reads the server's memory after every `stretch`."""
    asked: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    memory = []
    for _ in range(count // stretch):
        part = list(itertools.islice(questions, stretch))
        asked.update(question.kind for question in part)
        samples = await closed_loop(iter(part), concurrency=concurrency)
        wrong.update(sample.code for sample in samples if sample.code != OK)
        memory.append(processes.memory_mib())
    return Outcome(dict(asked), dict(wrong), tuple(memory), settled // stretch - 1)


def mixed(right: Sequence[Question], malformed: Sequence[Question], *, seed: int = 0) -> Iterator[Question]:
    """Draws questions without end, 5 % of them malformed."""
    random = np.random.default_rng(seed)
    while True:
        pool = malformed if random.random() < MALFORMED else right
        yield pool[int(random.integers(len(pool)))]
