"""The record of a serving benchmark: tables, codes, void rows, the picture."""

import json
from pathlib import Path

import pytest

from i2i_rt.benchmarks.measure import Timing
from i2i_rt.benchmarks.serving.load import Load, Sample
from i2i_rt.benchmarks.serving.report import CostRow, LoadRow, ServingReport, Split, cost_table, load_table

TIMING = Timing.of([[0.010, 0.011], [0.012, 0.010]])
COSTS = (
    CostRow("in this process", "a", "uint8 256x256", TIMING, 0.0, 9.5),
    CostRow("gRPC", "a", "uint8 256x256", TIMING, 1.25, 10.5, 0.75),
)
LOAD = Load.of(
    [Sample(0.0, 0.0, 0.02, "OK"), Sample(0.1, 0.1, 0.11, "UNAVAILABLE")], 1.0, offered=True, saturated_per_s=100
)
CLOSED = LoadRow(
    "a",
    "gRPC",
    "uint8 256x256",
    "2 at a time",
    LOAD,
    concurrency=2,
    split=Split(1.5, 8.5),
    cpu_ms={"stubs": 9.0, "tritonserver": 1.0},
)
OPEN = LoadRow("a", "gRPC", "uint8 256x256", "70%", LOAD, share=0.7)
LATE = LoadRow(
    "a", "gRPC", "uint8 256x256", "90%", Load.of([Sample(0.0, 0.05, 0.06, "OK")], 1.0, offered=True), share=0.9
)


def report() -> ServingReport:
    machine = {"cpu": "a processor", "cpus": 2}
    return ServingReport("Serving", "quick", machine, COSTS, (CLOSED, OPEN, LATE), {"ratio": 1.1}, ("a note",))


def test_tables_have_what_was_measured() -> None:
    cost = dict(zip(*[cost_table(COSTS)[line] for line in (0, 2)], strict=True))
    assert (cost["way"], cost["over ms"], cost["CPU ms"], cost["client CPU ms"]) == ("gRPC", "1.25", "10.5", "0.75")
    closed = dict(zip(*load_table([CLOSED]), strict=True))
    assert (closed["queue ms"], closed["compute ms"], closed["CPU ms"]) == ("1.5", "8.5", "10")
    assert closed["codes"] == "1 OK, 1 UNAVAILABLE" and "late ms" not in closed
    opened = dict(zip(*load_table([OPEN]), strict=True))
    assert opened["p50 ms"] == "20" and opened["refused p99 ms"] == "10" and opened["least p50"] == "10"


def test_a_run_of_a_late_sender_is_called_void() -> None:
    assert "void" in load_table([LATE])[1][-1] and "void" not in load_table([OPEN])[1][-1]


def test_record_and_view_are_written(tmp_path: Path) -> None:
    record, view = report().write(tmp_path / "new")
    assert json.loads(record.read_text())["loads"][0]["split"] == {"queue_ms": 1.5, "compute_ms": 8.5}
    text = view.read_text()
    for part in (
        "## What serving costs",
        "## Closed loop",
        "## Open loop",
        "| ratio | 1.1 |",
        "- a note",
        "a processor",
    ):
        assert part in text


def test_picture_is_drawn_of_all_or_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    from i2i_rt.benchmarks.serving.plot import plot

    for name, content in (("all", report()), ("none", ServingReport("Serving", "", {"cpu": "", "cpus": 1}))):
        plot(content, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
