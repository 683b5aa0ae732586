"""The verb eval labels: label maps whose scores are known, and a task network's labels of pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.cli import main


def write(file: Path, values: list[list[int]] | np.ndarray) -> None:
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)).save(file)


@pytest.fixture
def maps(tmp_path: Path) -> tuple[Path, Path]:
    """Six known pixels of two maps; the scores stand in the first test."""
    write(tmp_path / "truth" / "a.png", [[0, 0], [0, 255]])
    write(tmp_path / "truth" / "b.png", [[1, 1], [3, 255]])
    write(tmp_path / "predicted" / "a.png", [[0, 0], [1, 2]])
    write(tmp_path / "predicted" / "b.png", [[1, 0], [3, 0]])
    return tmp_path / "truth", tmp_path / "predicted"


def test_pixels_of_all_maps_count_together(
    maps: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--classes", "4", "--json", str(tmp_path / "scores.json")]
    assert main(["eval", "labels", *map(str, maps), *words]) == 0
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["scores"] == {
        "iou_0": pytest.approx(2 / 4),
        "iou_1": pytest.approx(1 / 3),
        "iou_3": 1,
        "mean_iou": pytest.approx((1 / 2 + 1 / 3 + 1) / 3),
        "frequency_weighted_iou": pytest.approx((3 / 2 + 2 / 3 + 1) / 6),
        "pixel_accuracy": pytest.approx(4 / 6),
    }
    assert content["confusion"] == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert "features" not in content
    printed = capsys.readouterr().out
    assert "mean IoU" in printed
    assert "1 of 4 classes occur nowhere" in printed


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        ([[0, 0, 0]], "do not fit: the truth has the shape [2, 2] and the prediction [1, 3]"),
        ([[0, 255], [0, 0]], "do not fit: the prediction has the label 255"),
        ([[0, 9], [0, 0]], "9"),
    ],
)
def test_maps_that_do_not_fit_are_named(
    picture: list[list[int]], sentence: str, maps: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write(maps[1] / "a.png", picture)
    assert main(["eval", "labels", *map(str, maps), "--classes", "4"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "a.png" in error
