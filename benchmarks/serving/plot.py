"""A picture of a serving report: throughput of the closed loops, latencies of the open ones, costs of each way."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from i2i_rt.benchmarks.serving.load import Latency
from i2i_rt.benchmarks.serving.report import CostRow, LoadRow, ServingReport, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RATE, MEDIAN, TAIL, LEAST = "#4c78a8", "#54a24b", "#e45756", "#888888"


def plot(report: ServingReport, file: Path) -> None:
    """Writes a PNG with a panel for each part of the report that is there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    costs, closed, opened = figure.subplots(1, 3)
    _costs(costs, report.costs)
    _closed(closed, report.closed)
    _open(opened, [row for row in report.open if not row.load.is_void])
    cpu, cpus = report.environment["cpu"], report.environment["cpus"]
    figure.suptitle(f"{report.title}\n{cpu}, {cpus} CPUs", x=0.01, ha="left", fontsize=10)
    figure.savefig(file, dpi=120)


def _costs(axes: "Axes", rows: Sequence[CostRow]) -> None:
    """Draws a dot at the median and a line to the 99th percentile, the first way on top."""
    for place, row in enumerate(reversed(rows)):
        p50, p99 = row.timing.p50_ms, row.timing.p99_ms
        axes.plot([p50, p99], [place, place], color="#333333", linewidth=1)
        axes.plot(p50, place, "o", color=RATE)
        axes.text(p99, place, f"  {number(p50)}", va="center", fontsize=7)
    labels = [f"{row.model}, {row.tensors}, {row.name}" for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), labels)
    if rows:
        axes.set_xscale("log")
        axes.set_xlim(right=3 * max(row.timing.p99_ms for row in rows))
    _finish(axes, "One at a time: median, line to p99", "ms", "")
    axes.tick_params(axis="y", labelsize=7)


def _closed(axes: "Axes", rows: Sequence[LoadRow]) -> None:
    """Draws the rate over how many are in flight; of the first way the latency too, on the other side."""
    other = axes.twinx()
    for wire, marker in zip(dict.fromkeys(row.wire for row in rows), "os^", strict=False):
        of_wire = sorted((row for row in rows if row.wire == wire), key=lambda row: row.concurrency or 0)
        places = [row.concurrency or 0 for row in of_wire]
        rates = [row.load.per_s for row in of_wire]
        axes.plot(places, rates, color=RATE, marker=marker, markersize=5, label=f"rate, {wire}")
        if wire == rows[0].wire:
            p99 = [row.load.accepted.p99_ms if row.load.accepted else float("nan") for row in of_wire]
            other.plot(places, p99, color=TAIL, marker=".", label=f"p99, {wire}")
    axes.set_ylim(0, 1.4 * max((row.load.per_s for row in rows), default=1.0))  # room for the legend
    other.set_ylim(bottom=0)
    axes.set_xticks(sorted({row.concurrency or 0 for row in rows}))
    other.set_ylabel("p99, ms", fontsize=8, color=TAIL)
    other.spines["top"].set_visible(False)
    other.tick_params(labelsize=8)
    handles = [line for side in (axes, other) for line in side.get_lines()]
    axes.legend(handles=handles, fontsize=7, frameon=False, loc="upper left")
    _finish(axes, "Closed loop", "requests in flight", "right answers a second")


def _open(axes: "Axes", rows: Sequence[LoadRow]) -> None:
    """Draws latencies over the offered rate, with queueing alone beside them, on a logarithmic axis."""
    rows = sorted(rows, key=lambda row: row.load.offered_per_s or 0.0)
    curves: list[tuple[str, str, str, str, str]] = [
        ("p50", "accepted", "p50_ms", MEDIAN, "-o"),
        ("p99", "accepted", "p99_ms", TAIL, "-o"),
        ("p50, queueing alone", "least", "p50_ms", MEDIAN, ":"),
        ("p99, queueing alone", "least", "p99_ms", TAIL, ":"),
        ("p99 of the refused", "refused", "p99_ms", LEAST, "-s"),
    ]
    for label, which, quantile, colour, style in curves:
        found: list[tuple[float, Latency]] = [
            (row.load.offered_per_s or 0.0, latency) for row in rows if (latency := getattr(row.load, which))
        ]
        if found:
            values = [getattr(latency, quantile) for _, latency in found]
            axes.plot([rate for rate, _ in found], values, style, color=colour, markersize=4, label=label)
    if rows:
        axes.set_yscale("log")
        axes.legend(fontsize=7, frameon=False)
    _finish(axes, "Open loop, from when a request was due", "requests due a second", "ms")


def _finish(axes: "Axes", title: str, across: str, up: str) -> None:
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(up, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines["top"].set_visible(False)
