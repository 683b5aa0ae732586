"""What serving should reach, held against what was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from i2i_rt.benchmarks.serving.bench import GRPC, IN_PROCESS, SHARED
from i2i_rt.benchmarks.serving.load import OK, REFUSED
from i2i_rt.benchmarks.serving.mixed import Outcome
from i2i_rt.benchmarks.serving.report import CostRow, LoadRow

OVER_MS = {GRPC: 4.0, SHARED: 1.0}  # beside the same work in this process
CPU_RATIO = 1.15  # of the server's processor time to that of the same work in this process
TAIL = 3.0  # p99 / p50 at 70 % of the saturated rate
REFUSED_MS = 50.0  # p99 of refusals at 200 %
KEPT = 0.9  # of the saturated rate, at 200 %
GROWTH = 0.05  # of the server's memory


@dataclass(frozen=True)
class Goal:
    """One thing to reach, in words with the figure, and whether it was reached."""

    what: str
    found: str
    is_reached: bool

    def __str__(self) -> str:
        return f"{self.found} [{'✓' if self.is_reached else 'x'}]"


def cost_goals(rows: Sequence[CostRow]) -> Iterator[Goal]:
    """Judges what a model's requests take more through the server."""
    for row in rows:
        if row.name in OVER_MS:
            limit = OVER_MS[row.name]
            what = f"{row.model}, {row.name} over {IN_PROCESS}: at most {limit:g} ms p50"
            yield Goal(what, f"{row.over_ms:.2f} ms", row.over_ms <= limit)


def cpu_goals(rows: Sequence[CostRow]) -> Iterator[Goal]:
    """Judges the processor time that a model's requests take through the server."""
    first = next(row for row in rows if row.name == IN_PROCESS)
    for row in rows:
        if row.name in OVER_MS and row.cpu_ms is not None and first.cpu_ms:
            ratio = row.cpu_ms / first.cpu_ms
            what = f"{row.model}, {row.name}: the server's CPU a frame / {IN_PROCESS}, at most {CPU_RATIO}"
            yield Goal(what, f"{row.cpu_ms:.1f} / {first.cpu_ms:.1f} ms = {ratio:.2f}", ratio <= CPU_RATIO)


def load_goals(rows: Sequence[LoadRow], saturated_per_s: float) -> Iterator[Goal]:
    """Judges the open loops at 70 % and at 200 % of the saturated rate."""
    for row in rows:
        load = row.load
        if row.share == 0.7 and load.accepted is not None:
            ratio = load.accepted.p99_ms / load.accepted.p50_ms
            found = f"{ratio:.2f}, {load.errors} errors"
            if load.least is not None:
                found += f"; queueing alone has {load.least.p99_ms / load.least.p50_ms:.2f}"
            reached = ratio <= TAIL and not load.errors and not load.is_void
            yield Goal(f"{row.model}, at 70 %: p99 at most {TAIL:g} x p50, no error", found, reached)
        if row.share == 2.0 and load.accepted is not None:
            kept = load.per_s / saturated_per_s
            yield Goal(
                f"{row.model}, at 200 %: right answers a second, at least {KEPT:.0%} of the saturated rate",
                f"{kept:.0%}", kept >= KEPT and not load.is_void,
            )  # fmt: skip
            if load.refused is not None:
                found = f"{load.refused.p99_ms:.1f} ms p99, {load.refused.max_ms:.0f} ms at most, {dict(load.codes)}"
                reached = load.refused.p99_ms < REFUSED_MS and set(load.codes) <= {OK, REFUSED}
                yield Goal(
                    f"{row.model}, at 200 %: refused with UNAVAILABLE, in less than {REFUSED_MS:g} ms", found, reached
                )


def mixed_goals(outcome: Outcome, settled: int) -> Iterator[Goal]:
    """Judges the mixed requests."""
    count, wrong = sum(outcome.asked.values()), sum(outcome.wrong.values())
    found = f"{count - wrong} of {count}" + "".join(f"; {times} x {what}" for what, times in outcome.wrong.items())
    yield Goal("mixed requests: every answer right, or the right error", found, not wrong)
    what = f"mixed requests: the server's memory after the first {settled:,} grows by less than {GROWTH:.0%}"
    yield Goal(what, f"{outcome.growth:.1%}", outcome.growth < GROWTH)
