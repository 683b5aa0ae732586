"""The picture of a latency report."""

from pathlib import Path

import cv2
import pytest

from i2i_rt.benchmarks.measure import Timing
from i2i_rt.benchmarks.report import Report, Row
from i2i_rt.runtime.backends import PRECISIONS

pytest.importorskip("matplotlib")


def test_every_precision_has_a_bar_of_its_own_colour(tmp_path: Path) -> None:
    from i2i_rt.benchmarks.plot import COLOURS, plot

    rows = tuple(
        Row("translate", "torch", precision, 256, 256, 1, timing=Timing.of([[0.1, 0.2]])) for precision in PRECISIONS
    )
    plot(Report("Latency", "in full", {"cpu": "a processor", "cpus": 2}, rows), tmp_path / "latency.png")
    pixels = {tuple(pixel) for row in cv2.imread(str(tmp_path / "latency.png")) for pixel in row[:, ::-1].tolist()}
    assert len(set(COLOURS.values())) == len(PRECISIONS)
    assert all(tuple(bytes.fromhex(colour[1:])) in pixels for colour in COLOURS.values())
