"""SPADE's experiment: its data is what it says, its judge sees textures, and it runs."""

import json
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.benchmarks.effects import spade
from i2i_rt.benchmarks.effects.spade_data import CLASSES, SIDE, Textured, painted, uniform


def test_pictures_show_their_labels_and_stay_the_same_when_mirrored() -> None:
    drawn = Textured.drawn(6, seed=0)

    assert {len(np.unique(labels)) for labels in drawn.labels} <= {1, 2, 3, 4}
    assert np.array_equal(drawn.pictures, Textured.drawn(6, seed=0).pictures)
    labels = np.zeros((SIDE, SIDE), np.uint8) + 1  # checks
    picture = levels(labels)
    assert np.abs(picture - picture[:, ::-1]).mean() < 12  # noise alone
    assert np.abs(picture - levels(labels - 1)).mean() > 30  # stripes of the same colour


def levels(labels: np.ndarray) -> np.ndarray:
    return painted(labels, np.random.default_rng(0)).astype(np.float32)


def test_judge_tells_uniform_textures_apart() -> None:
    real = Textured.drawn(40, seed=0)
    judge = spade.Judge(real, steps=60)

    alone = np.stack([levels(labels) for labels in uniform()]).astype(np.uint8)
    found = spade.judge(real.pictures, alone, real, judge)

    assert found.mean_iou > 0.35 and np.mean(found.kept) > 0.6  # by chance 1/6
    assert len(found.kept) == CLASSES and found.told_apart > 20


def test_experiment_runs_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spade, "PICTURES", 8)
    monkeypatch.setattr(spade, "HELD_OUT", 6)
    places = ["--runs", str(tmp_path / "runs"), "--picture", str(tmp_path / "a" / "spade.png")]

    for _ in range(2):
        assert spade.main(["-o", str(tmp_path), "--quick", *places]) == 0

    record = json.loads((tmp_path / "effects-spade.json").read_text())
    assert len(record["findings"]) == 5 and record["figures"]["SPADE"][0]["kept"]
    assert (tmp_path / "a" / "spade.png").stat().st_size < 300_000
    assert "spade-0: 0 steps of spade" in capsys.readouterr().err
