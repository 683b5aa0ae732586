"""The benchmark of baked styles, on a narrow network."""

from pathlib import Path

import pytest

from i2i_rt.benchmarks import baked
from i2i_rt.benchmarks.report import Report


def test_a_system_is_measured_with_and_without_its_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baked, "SYSTEMS", {"swapping": baked.swapping_autoencoder})
    assert baked.main(["--quick", "--width", "4", "-o", str(tmp_path)]) == 0
    rows = Report.read(tmp_path / "baked.json").rows
    assert {row.name for row in rows} == {"swapping", "swapping baked"}
    assert all(row.timing is not None and row.timing.p50_ms > 0 for row in rows)
    for plain, constant in zip(rows[::2], rows[1::2], strict=True):
        assert (plain.case, plain.precision) == (constant.case, constant.precision)
        assert not plain.ratios and constant.ratios["not baked"] > 0
        before, after = (float(row.note.split()[0]) for row in (plain, constant))
        assert 0 < after < before
