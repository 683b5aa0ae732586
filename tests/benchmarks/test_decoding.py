"""The benchmark of decoding, on one small photograph."""

from pathlib import Path

import pytest

from i2i_rt.benchmarks import decoding
from i2i_rt.benchmarks.report import Report
from tests.training.conftest import photograph


def test_ways_are_compared_by_time_and_by_pixels(tmp_path: Path) -> None:
    photograph(400, 320).save(tmp_path / "photo.jpg")

    assert decoding.main([str(tmp_path), "--quick", "-o", str(tmp_path)]) == 0

    rows = Report.read(tmp_path / "decoding.json").rows
    assert [row.name for row in rows] == list(decoding.WAYS)
    assert all(row.timing is not None and (row.width, row.height) == (400, 320) for row in rows)
    assert rows[0].largest_difference == 0 and not rows[0].ratios
    assert all(row.largest_difference <= 2 and row.ratios["Pillow"] > 0 for row in rows[1:])


def test_folder_without_photographs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        decoding.main([str(tmp_path)])
    assert "has no JPEG files" in capsys.readouterr().err
