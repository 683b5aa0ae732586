"""StEP's experiment: its data has the known answers, and it runs and goes on where it was stopped."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.benchmarks.effects import step, step_data
from i2i_rt.benchmarks.effects.step import Judged, findings
from i2i_rt.training.triplets import FILE


def test_painted_pictures_have_the_colours_of_their_style() -> None:
    grey = np.array([[0.0, 1.0, 0.25]])
    style = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.75])  # red in the dark, blue in the light, gamma sqrt(2)

    painted = step_data.two_tones(grey, style)

    level = 0.25**2**0.5
    assert painted[0].tolist() == [[255, 0, 0], [0, 0, 255], [round(255 * (1 - level)), 0, round(255 * level)]]
    three = step_data.three_tones(np.array([[0.0, 0.5, 1.0]]), np.array([1, 0, 0, 0, 1, 0, 0, 0, 1.0]))
    assert three[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_transfer_paints_each_content_in_the_next_ones_style() -> None:
    _, held = step_data.drawings()

    moved = held.painted(1)

    np.testing.assert_array_equal(moved[0], held.paint(held.contents[0], held.styles[1]))
    np.testing.assert_array_equal(moved[-1], held.paint(held.contents[-1], held.styles[0]))


def test_contents_fill_the_range_of_grey() -> None:
    for train, held in (step_data.photographs(), step_data.drawings()):
        assert (len(train.contents), len(held.contents)) == (step_data.TRAIN, step_data.HELD_OUT)
        for contents in (train.contents, held.contents):
            assert (contents.min((1, 2)) == 0).all() and (contents.max((1, 2)) == 1).all()


def test_experiment_runs_and_does_not_train_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step, "TRAIN", 24)
    monkeypatch.setattr(step_data, "TRAIN", 24)
    monkeypatch.setattr(step_data, "HELD_OUT", 20)
    monkeypatch.setattr(step, "QUICK_STEPS", 1)
    words = ["-o", str(tmp_path), "--runs", str(tmp_path / "runs"), "--picture", str(tmp_path / "it.png"), "--quick"]

    assert step.main(words) == 0

    record = json.loads((tmp_path / "effects-step.json").read_text())
    assert [row[0] for row in record["table"][1:]][:2] == [step.STAGE_2, step.STAGE_3] and len(record["table"]) == 8
    assert "random weights" in (tmp_path / "effects-step.md").read_text()
    with Image.open(tmp_path / "it.png") as picture:
        assert picture.size == (3 * 32 * 10, 3 * 32 * 6)
    assert (tmp_path / "runs" / "other" / FILE).is_file()
    capsys.readouterr()
    assert step.main(words) == 0
    assert "stage-3-target: 0 steps" in capsys.readouterr().err
    again = json.loads((tmp_path / "effects-step.json").read_text())
    assert again["figures"] == record["figures"]


def test_findings_follow_from_the_figures() -> None:
    better, worse = Judged(20.0, 0.1, 18.0), Judged(19.0, 0.2, 18.0)
    names = (step.STAGE_2, step.STAGE_3, step.LONG_STAGE_2, step.OTHER_2, step.OTHER_3, step.BICYCLEGAN, step.MUNIT_P)
    scores = {name: worse for name in names} | {step.STAGE_3: better}

    found = [finding.holds for finding in findings(scores, {"target": (0.8, 0.95), "other": (0.8, 0.9)})]

    # 1 dB between the pre-trainings is more than half of one
    assert found == [True, True, True, False, True, True]
    assert not findings(scores, {"target": (0.8, 0.95), "other": (0.92, 0.91)})[0].holds
