"""What the serving benchmark writes. JSON is the record, Markdown a view of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from i2i_rt.benchmarks.measure import Timing
from i2i_rt.benchmarks.report import markdown_table, write_files
from i2i_rt.benchmarks.serving.load import Latency, Load


@dataclass(frozen=True)
class Split:
    """Where the server itself says that a request's time went, in milliseconds on average."""

    queue_ms: float
    compute_ms: float  # of the model, with the copies of its tensors


@dataclass(frozen=True)
class LoadRow:
    """One run of a loop.

    Attributes:
        model, wire, tensors: what was asked, over what, and with what, such as "uint8 256x256".
        asked: how: "4 at a time", "70 %".
        share: of the saturated rate, in an open loop.
        concurrency: in a closed loop.
        split: the server's own view.
        cpu_ms: of the server for a right answer, by part.
    """

    model: str
    wire: str
    tensors: str
    asked: str
    load: Load
    share: float | None = None
    concurrency: int | None = None
    split: Split | None = None
    cpu_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CostRow:
    """One way to the same answer, in turns with the others: in this process, or through the server.

    Attributes:
        name: of the way: "in this process", "gRPC", …
        model, tensors: what was asked, and with what.
        over_ms: the median of the rounds' medians minus those of the first way in the same rounds.
        cpu_ms: processor time a frame of whatever computed: this process, or the server's processes together.
        client_cpu_ms: of this process a frame, where it was only the client.
    """

    name: str
    model: str
    tensors: str
    timing: Timing
    over_ms: float
    cpu_ms: float | None = None
    client_cpu_ms: float | None = None


@dataclass(frozen=True)
class ServingReport:
    """The whole record."""

    title: str
    rule: str
    environment: Mapping[str, Any]
    costs: tuple[CostRow, ...] = ()
    loads: tuple[LoadRow, ...] = ()
    figures: Mapping[str, float | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def write(self, folder: Path, name: str = "serving") -> tuple[Path, Path]:
        """Writes `<name>.json` and `<name>.md`; gives their paths."""
        return write_files(folder, name, asdict(self), self.markdown())

    def markdown(self) -> str:
        parts = [f"# {self.title}", f"Measured {self.rule}. No outlier is left out."]
        for heading, words, rows in (
            ("What serving costs", COSTS, cost_table(self.costs)),
            ("Closed loop", CLOSED, load_table(self.closed)),
            ("Open loop", OPEN, load_table(self.open)),
        ):
            if len(rows) > 1:
                parts += [f"## {heading}", words, markdown_table(rows)]
        if self.figures:
            lines = [["figure", "value"], *([name, _figure(value)] for name, value in self.figures.items())]
            parts += ["## Figures", markdown_table(lines)]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        stamp = [["", ""], *([name, str(value)] for name, value in self.environment.items())]
        return "\n\n".join([*parts, "## Machine", markdown_table(stamp)]) + "\n"

    @property
    def closed(self) -> tuple[LoadRow, ...]:
        return tuple(row for row in self.loads if row.concurrency is not None)

    @property
    def open(self) -> tuple[LoadRow, ...]:
        return tuple(row for row in self.loads if row.share is not None)


COSTS = (
    "One request at a time, the ways in turns. `over` is what a way takes more than the first one of the same model, "
    "by the medians of each round; CPU is the time of all processors for a frame, of whatever computed, and of the "
    "client beside it."
)
CLOSED = (
    "So many requests are kept in flight. `queue` and `compute` are the server's own account; CPU is that of all its "
    "processes for a right answer."
)
OPEN = (
    "Requests fall due at random times (Poisson) whatever the server does; a latency begins when its request was due. "
    "`least` is queueing alone: the same arrivals at a server that takes one after the other at the saturated rate and "
    "costs nothing else. `late` is the sender's own lateness, p99; a row beyond 10 ms is void."
)


def cost_table(rows: Sequence[CostRow]) -> list[list[str]]:
    """Gives the ways as text with a header."""
    columns: list[tuple[str, Callable[[CostRow], str]]] = [
        ("way", lambda row: row.name),
        ("model", lambda row: row.model),
        ("tensors", lambda row: row.tensors),
        ("p50 ms", lambda row: number(row.timing.p50_ms)),
        ("p90 ms", lambda row: number(row.timing.p90_ms)),
        ("p99 ms", lambda row: number(row.timing.p99_ms)),
        ("over ms", lambda row: number(row.over_ms)),
        ("CPU ms", lambda row: number(row.cpu_ms)),
        ("client CPU ms", lambda row: number(row.client_cpu_ms)),
        ("runs", lambda row: str(row.timing.runs)),
        ("spread", lambda row: f"{row.timing.spread:.2f}"),
    ]
    return _filled(columns, rows)


def load_table(rows: Sequence[LoadRow]) -> list[list[str]]:
    """Gives the runs as text with a header; columns in which no row has anything are left out."""

    def latency(quantile: str, which: str = "accepted") -> Callable[[LoadRow], str]:
        def text(row: LoadRow) -> str:
            found: Latency | None = getattr(row.load, which)
            return "" if found is None else number(getattr(found, quantile))

        return text

    columns: list[tuple[str, Callable[[LoadRow], str]]] = [
        ("model", lambda row: row.model),
        ("over", lambda row: row.wire),
        ("tensors", lambda row: row.tensors),
        ("asked", lambda row: row.asked),
        ("offered/s", lambda row: number(row.load.offered_per_s)),
        ("answered/s", lambda row: number(row.load.per_s)),
        ("p50 ms", latency("p50_ms")),
        ("p90 ms", latency("p90_ms")),
        ("p99 ms", latency("p99_ms")),
        ("p99.9 ms", latency("p999_ms")),
        ("max ms", latency("max_ms")),
        ("least p50", latency("p50_ms", "least")),
        ("least p99", latency("p99_ms", "least")),
        ("queue ms", lambda row: "" if row.split is None else number(row.split.queue_ms)),
        ("compute ms", lambda row: "" if row.split is None else number(row.split.compute_ms)),
        ("CPU ms", lambda row: number(sum(row.cpu_ms.values())) if row.cpu_ms else ""),
        ("refused p50 ms", latency("p50_ms", "refused")),
        ("refused p99 ms", latency("p99_ms", "refused")),
        ("late ms", lambda row: "" if row.share is None else number(row.load.lateness_p99_ms)),
        ("codes", codes),
    ]
    return _filled(columns, rows)


def codes(row: LoadRow) -> str:
    """Says how often each code came, and whether the run counts."""
    text = ", ".join(f"{count} {code}" for code, count in row.load.codes.items())
    return f"{text} (void: the sender was late)" if row.share is not None and row.load.is_void else text


def _filled(columns: Sequence[tuple[str, Callable[[Any], str]]], rows: Sequence[Any]) -> list[list[str]]:
    cells = [[header, *(text(row) for row in rows)] for header, text in columns]
    return [list(line) for line in zip(*(column for column in cells if any(column[1:])), strict=True)]


def number(value: float | None) -> str:
    """Gives three digits, or all before the point."""
    return "" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
