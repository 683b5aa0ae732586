"""CyCADA's experiment: scenes whose labels are true, what is claimed of scores, and that it runs."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.benchmarks.effects import cycada
from i2i_rt.benchmarks.effects.cycada import ADAPTED, ORACLE, SEMANTIC, SOURCE, Judged, findings
from i2i_rt.benchmarks.effects.cycada_data import CAMERA, CLASSES, GAME, scene
from i2i_rt.metrics.segmentation import Agreement


def test_both_looks_show_what_the_labels_say() -> None:
    pictures = [scene(look, np.random.default_rng(seed), 48) for look in (GAME, CAMERA) for seed in range(6)]

    assert {picture.shape for picture, _ in pictures} == {(48, 48, 3)}
    assert set(np.unique([labels for _, labels in pictures])) == set(range(len(CLASSES)))
    for kind, colour in enumerate(GAME.colours):
        seen = np.concatenate([picture[labels == kind] for picture, labels in pictures[:6]])
        assert np.abs(np.median(seen, 0) - colour).max() < 25, CLASSES[kind]
    game, camera = pictures[0], pictures[6]
    assert np.array_equal(game[1], camera[1]), "one seed puts things at the same places in both looks"
    assert np.abs(game[0].astype(int) - camera[0]).mean() > 40


def judged(*mean_ious: float) -> Judged:
    return Judged(tuple(Agreement(value, value, value, (value,)) for value in mean_ious))


@pytest.mark.parametrize(
    ("adapted", "holds"),
    [
        pytest.param((0.4, 0.5), (True, True), id="in-between"),
        pytest.param((0.3, 0.34), (True, False), id="too-little-won-back"),
        pytest.param((0.19, 0.24), (False, False), id="one-seed-not-better"),
        pytest.param((0.6, 0.74), (False, True), id="better-than-the-oracle"),
    ],
)
def test_claims_hold_with_every_seed(adapted: tuple[float, ...], holds: tuple[bool, bool]) -> None:
    rows = {SOURCE: judged(0.2, 0.22), ADAPTED: judged(*adapted), SEMANTIC: judged(0.4, 0.4), ORACLE: judged(0.7, 0.72)}

    assert tuple(finding.holds for finding in findings(rows)) == holds


def test_experiment_runs_and_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-o", str(tmp_path), "--runs", str(tmp_path / "runs"), "--picture", str(tmp_path / "p.png"), "--quick"]

    assert cycada.main(words) == 0
    first = json.loads((tmp_path / "effects-cycada.json").read_text())
    capsys.readouterr()
    assert cycada.main(words) == 0

    assert "3 steps" not in capsys.readouterr().err, "what is trained is not trained again"
    again = json.loads((tmp_path / "effects-cycada.json").read_text())
    assert again["figures"] == first["figures"] and len(first["table"]) == 5
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > picture.height > 256
