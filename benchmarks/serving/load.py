"""Load on a server from one thread: a closed loop that waits for each answer, an open loop that keeps to its schedule.

In a closed loop a server that stalls is asked less often, and hides how long others would have waited. In the open
loop requests fall due whatever the server does, and a latency begins when the request was *due*. How late the sender
itself was is kept beside it: where that is much, this machine was measured and not the server.
"""

import asyncio
import contextlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Asks once and gives gRPC's name of the code; WRONG for an answer that is not what it must be.
Call = Callable[[], Awaitable[str]]
OK, WRONG, REFUSED = "OK", "WRONG", "UNAVAILABLE"
PAUSE_S = 0.1  # of who was refused in a closed loop: to ask again at once would only keep the server from its work
LATEST_MS = 10.0  # p99 of the sender's own lateness; a run beyond it is void


@dataclass(frozen=True)
class Sample:
    """One request: when it was due, sent and answered, in seconds since the run began, and the answer's code."""

    due: float
    sent: float
    done: float
    code: str


@dataclass(frozen=True)
class Latency:
    """The distribution of latencies; nothing is thrown away."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency | None":
        """Summarises seconds; None where there are none."""
        if not len(seconds):
            return None
        values = np.asarray(seconds, np.float64) * 1000
        p50, p90, p99, p999 = (float(value) for value in np.percentile(values, (50, 90, 99, 99.9)))
        return cls(p50, p90, p99, p999, float(values.max()), len(values))


@dataclass(frozen=True)
class Load:
    """What came out of a run.

    Attributes:
        offered_per_s: requests that fell due; None in a closed loop.
        per_s: right answers that came within the run's time.
        accepted: latency of right answers.
        refused: latency of everything else.
        codes: how often each code was answered.
        lateness_p99_ms: of the sender.
        least: what the same arrivals would wait for in a server without any overhead that takes one after the other,
            at the saturated rate; None where that is not known.
    """

    offered_per_s: float | None
    per_s: float
    accepted: Latency | None
    refused: Latency | None
    codes: Mapping[str, int]
    lateness_p99_ms: float
    least: Latency | None = None

    @classmethod
    def of(cls, samples: Sequence[Sample], seconds: float, *, offered: bool, saturated_per_s: float = 0.0) -> "Load":
        """Summarises the samples of a run of so many seconds; later answers count, but not in the rate."""
        right = [sample for sample in samples if sample.code == OK]
        late = [sample.sent - sample.due for sample in samples]
        return cls(
            offered_per_s=len(samples) / seconds if offered else None,
            per_s=sum(sample.done <= seconds for sample in right) / seconds,
            accepted=Latency.of([sample.done - sample.due for sample in right]),
            refused=Latency.of([sample.done - sample.due for sample in samples if sample.code != OK]),
            codes=dict(Counter(sample.code for sample in samples).most_common()),
            lateness_p99_ms=float(np.percentile(late, 99)) * 1000 if late else 0.0,
            least=Latency.of(one_by_one([sample.due for sample in samples], 1 / saturated_per_s))
            if offered and saturated_per_s
            else None,
        )

    @property
    def errors(self) -> int:
        """Counts the requests that got no right answer."""
        return sum(count for code, count in self.codes.items() if code != OK)

    @property
    def is_void(self) -> bool:
        """Says whether the sender was too late too often for the latencies to mean anything."""
        return self.lateness_p99_ms > LATEST_MS


def poisson(rate: float, seconds: float, *, seed: int = 0) -> list[float]:
    """Gives the times at which requests fall due, independently of each other, at `rate` a second on average."""
    random = np.random.default_rng(seed)
    count = int(rate * seconds + 10 * np.sqrt(rate * seconds) + 10)
    times = np.cumsum(random.exponential(1 / rate, count))
    return [float(moment) for moment in times[times < seconds]]


def one_by_one(due: Sequence[float], service_s: float) -> list[float]:
    """Gives how long each arrival takes where all are served in turn, each in `service_s`: queueing alone."""
    free, taken = 0.0, []
    for moment in due:
        free = max(free, moment) + service_s
        taken.append(free - moment)
    return taken


async def closed_loop(calls: Iterator[Call], *, concurrency: int, seconds: float = float("inf")) -> list[Sample]:
    """Keeps `concurrency` requests in flight until the calls or the seconds have run out.

    One that the server has no room for is followed by a pause.
    """
    start, samples = time.perf_counter(), list[Sample]()

    async def ask() -> None:
        for call in calls:
            sent = time.perf_counter() - start
            if sent >= seconds:
                break
            code = await call()
            samples.append(Sample(sent, sent, time.perf_counter() - start, code))
            if code == REFUSED:
                await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(ask() for _ in range(concurrency)))
    return samples


async def open_loop(calls: Iterator[Call], due: Sequence[float]) -> list[Sample]:
    """Sends a request whenever one is due, however many are in flight; ends when all are answered."""
    start, samples = time.perf_counter(), list[Sample]()

    async def ask(call: Call, moment: float) -> None:
        sent = time.perf_counter() - start
        code = await call()
        samples.append(Sample(moment, sent, time.perf_counter() - start, code))

    async with asyncio.TaskGroup() as group:
        for moment, call in zip(due, calls, strict=False):
            await asyncio.sleep(moment - (time.perf_counter() - start))
            group.create_task(ask(call, moment))
    return sorted(samples, key=lambda sample: sample.due)


@contextlib.contextmanager
def first_served() -> Iterator[None]:
    """Lets this thread, and those that it starts, go before a server on the same machine, where the system allows it.

    A sender elsewhere would not wait for a processor that the server keeps busy.
    """
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, max(usual - 10, -20))
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, usual)


def always(call: Call) -> Iterator[Call]:
    """Gives the same call again and again."""
    return itertools.repeat(call)
