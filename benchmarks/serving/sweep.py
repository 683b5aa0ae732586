"""A closed loop over how many are in flight, then an open loop over shares of the rate that this saturates at."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from i2i_rt.benchmarks.serving.load import Call, Load, Sample, always, closed_loop, open_loop, poisson
from i2i_rt.benchmarks.serving.processes import Processes, difference
from i2i_rt.benchmarks.serving.report import LoadRow, Split
from i2i_rt.benchmarks.serving.wire import GrpcWire


@dataclass(frozen=True)
class Plan:
    """How long and how hard a server is asked.

    Attributes:
        seconds: of each run; longer where that is not enough for `least_requests`.
        warm_up_s: before each of them.
        concurrencies: of the closed loops.
        shares: of the saturated rate, for the open loops.
        least_requests: that fall due in a run of the open loop, so that its 99th percentile means something.
    """

    seconds: float
    warm_up_s: float
    concurrencies: tuple[int, ...] = (1, 2, 4, 8, 16)
    shares: tuple[float, ...] = (0.3, 0.5, 0.7, 0.9, 1.2, 2.0)
    least_requests: int = 0

    def __str__(self) -> str:
        return f"{self.seconds:g} s and {self.least_requests} requests a run at least, after {self.warm_up_s:g} s alone"


FULL = Plan(seconds=15, warm_up_s=2, least_requests=500)
QUICK = Plan(seconds=2, warm_up_s=0.3, concurrencies=(1, 4), shares=(0.5, 0.7, 2.0))


@dataclass(frozen=True)
class Asked:
    """A request that is asked again and again, and where: `call` of `model` over `wire`."""

    model: str
    wire: str
    tensors: str
    call: Call


class Sweep:
    """Runs loops against one server and keeps a row of each."""

    def __init__(self, statistics: GrpcWire, processes: Processes, progress: Callable[[str], None]) -> None:
        """`statistics`: the way to the server's own account of a model."""
        self._statistics, self._processes, self._progress = statistics, processes, progress
        self.rows: list[LoadRow] = []

    async def closed(self, asked: Asked, concurrency: int, plan: Plan) -> LoadRow:
        """Keeps so many requests in flight."""
        self._progress(f"{asked.model} over {asked.wire}, {asked.tensors}: {concurrency} at a time")
        await closed_loop(always(asked.call), concurrency=concurrency, seconds=plan.warm_up_s)

        async def run() -> list[Sample]:
            return await closed_loop(always(asked.call), concurrency=concurrency, seconds=plan.seconds)

        samples, split, cpu_ms = await self._observed(asked.model, run)
        load = Load.of(samples, plan.seconds, offered=False)
        row = LoadRow(
            asked.model, asked.wire, asked.tensors, f"{concurrency} at a time", load,
            concurrency=concurrency, split=split, cpu_ms=cpu_ms,
        )  # fmt: skip
        self.rows.append(row)
        return row

    async def open(self, asked: Asked, saturated_per_s: float, share: float, plan: Plan) -> LoadRow:
        """Sends a share of the saturated rate, at random times."""
        rate = share * saturated_per_s
        seconds = max(plan.seconds, plan.least_requests / rate)
        self._progress(f"{asked.model} over {asked.wire}, {asked.tensors}: {rate:.3g} a second for {seconds:.0f} s")
        await closed_loop(always(asked.call), concurrency=1, seconds=plan.warm_up_s)

        async def run() -> list[Sample]:
            return await open_loop(always(asked.call), poisson(rate, seconds))

        samples, split, cpu_ms = await self._observed(asked.model, run)
        load = Load.of(samples, seconds, offered=True, saturated_per_s=saturated_per_s)
        row = LoadRow(
            asked.model, asked.wire, asked.tensors, f"{share:.0%}", load, share=share, split=split, cpu_ms=cpu_ms
        )
        self.rows.append(row)
        return row

    async def _observed(
        self, model: str, run: Callable[[], Awaitable[list[Sample]]]
    ) -> tuple[list[Sample], Split | None, dict[str, float]]:
        """Runs a loop; gives its samples, the server's account of them and its processor time an answer."""
        before, cpu = await model_statistics(self._statistics, model), self._processes.cpu_s()
        samples = await run()
        used = difference(self._processes.cpu_s(), cpu)
        after = await model_statistics(self._statistics, model)
        right = sum(sample.code == "OK" for sample in samples)
        return samples, split(before, after), {part: 1000 * s / right for part, s in used.items()} if right else {}


async def model_statistics(wire: GrpcWire, model: str) -> Any:
    """Gives the `InferStatistics` of a model."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelStatisticsRequest(name=model)
    answer = await wire.unary("ModelStatistics", request, service_pb2.ModelStatisticsResponse)
    return answer.model_stats[0].inference_stats


def split(before: Any, after: Any) -> Split | None:
    """Gives queue and compute time of the requests between two accounts; None where none was answered."""

    def mean_ms(*phases: str) -> float:
        spent_ns: int = sum(getattr(after, phase).ns - getattr(before, phase).ns for phase in phases)
        return spent_ns / count / 1e6

    count: int = after.success.count - before.success.count
    if count <= 0:
        return None
    return Split(mean_ms("queue"), mean_ms("compute_input", "compute_infer", "compute_output"))


def saturated_per_s(rows: Sequence[LoadRow], wire: str) -> float:
    """Gives the most right answers a second that closed loops reached over one way."""
    return max(row.load.per_s for row in rows if row.concurrency is not None and row.wire == wire)
