"""A picture of a latency report: bars up to the median, whiskers to the 99th percentile, fidelity beside them."""

from pathlib import Path

import numpy as np

from i2i_rt.benchmarks.report import Report, Row, fidelity

COLOURS = {"fp32": "#4c78a8", "bf16": "#f58518", "fp16": "#54a24b", "int8": "#e45756", "fp8": "#b279a2"}


def plot(report: Report, file: Path) -> None:
    """Writes a PNG with a panel for each size (down) and batch (across).

    Raises:
        MissingDependencyError: where matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    timed = [row for row in report.rows if row.timing is not None]
    sizes = sorted({(row.height, row.width) for row in timed})
    batches = sorted({row.batch for row in timed})
    labels = len({row.label for row in timed})
    height = len(sizes) * (0.38 * labels + 0.9) + 0.7
    figure = Figure(figsize=(max(5.5 * len(batches), 7.5), height), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    panels = figure.subplots(len(sizes), len(batches), squeeze=False)
    for line, size in zip(panels, sizes, strict=True):
        for axes, batch in zip(line, batches, strict=True):
            rows = [row for row in timed if (row.height, row.width) == size and row.batch == batch]
            _panel(axes, rows, f"{size[0]}x{size[1]}" + (f", batch {batch}" if batch > 1 else ""))
    precisions = [name for name in COLOURS if any(row.precision == name for row in timed)]
    handles = [Patch(color=COLOURS[name], label=name) for name in precisions]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False)
    machine = report.environment.get("gpu") or {}
    where = machine.get("name", report.environment["cpu"]) if isinstance(machine, dict) else report.environment["cpu"]
    figure.suptitle(f"{report.title}\n{where}, {report.environment['cpus']} CPUs", x=0.01, ha="left", fontsize=10)
    figure.savefig(file, dpi=120)


def _panel(axes: object, rows: list[Row], title: str) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    rows = sorted(rows, key=lambda row: -row.timing.p50_ms if row.timing else 0.0)  # the fastest on top
    widest = max((row.timing.p99_ms for row in rows if row.timing), default=1.0)
    for position, row in enumerate(rows):
        if row.timing is None:
            continue
        p50, p99 = row.timing.p50_ms, row.timing.p99_ms
        axes.barh(position, p50, color=COLOURS[row.precision], height=0.65)
        axes.errorbar(p50, position, xerr=np.array([[0.0], [p99 - p50]]), color="#333333", capsize=3, linewidth=1)
        quality = fidelity(row)
        text = f"{p50:.3g} ms" if p50 < 100 else f"{p50:.0f} ms"
        text += f", {quality}" + (" dB" if quality[:1].isdigit() else "") if quality else ""
        axes.text(p99 + 0.015 * widest, position, text, va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
    axes.set_xlim(0, 1.42 * widest)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("ms a batch: bar to the median, whisker to the 99th percentile", fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
