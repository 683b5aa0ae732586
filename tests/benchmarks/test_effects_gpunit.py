"""The experiment on GP-UNIT: it runs, its poses are known, its measures say what they should."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.benchmarks.effects.gpunit import FREE, FULL, PLAIN, ROWS, SCRATCH, Judged, draw_cases, findings, judge, main
from i2i_rt.benchmarks.effects.gpunit_data import SHAPES, SIDE, Pose, cover, draw_look, found, pose_errors, render


def test_quick_run_writes_a_record_and_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    words = ["-o", str(tmp_path), "--runs", str(tmp_path / "runs"), "--picture", str(picture), "--quick"]

    assert main(words) == 0

    record = json.loads((tmp_path / "effects-gpunit.json").read_text())
    assert len(record["findings"]) == 3 and len(record["table"]) == 7
    assert set(record["figures"]) == set(ROWS) and len(record["figures"][FULL]["angle"]) == 1
    # eight cases; both pictures, the right one and each way's
    with Image.open(picture) as grid:
        assert grid.size == (8 * 2 * SIDE, 7 * 2 * SIDE)


@pytest.mark.parametrize("name", SHAPES)
def test_pose_of_a_class_is_found_in_its_pictures(name: str) -> None:
    generator = np.random.default_rng(0)
    for angle in (0.1, 1.0, 2.0, 3.0):
        pose = Pose(14, 18, angle, 9)
        look = draw_look(name, generator)
        mask = found(render(pose, look, generator), look)
        assert np.mean(mask == (cover(name, pose) > 0.5)) > 0.97
        centre, turned = pose_errors(mask, name, pose)
        assert centre < 1 and turned < 6


def test_errors_are_those_between_two_poses() -> None:
    pose = Pose(16, 16, 0.2, 10)
    moved = cover("bar", replace(pose, y=18, x=15, angle=0.2 + np.pi - np.radians(30))) > 0.5
    centre, turned = pose_errors(moved, "bar", pose)
    assert centre == pytest.approx(np.hypot(2, 1), abs=0.6) and turned == pytest.approx(30, abs=5)
    for nothing in (np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)):
        assert pose_errors(nothing, "bar", Pose(13, 20, 0, 9)) == (5, 45)


def test_right_picture_has_no_error_and_another_one_has() -> None:
    cases = draw_cases(12)
    right, other = (judge([getattr(case, name) for case in cases], cases) for name in ("answer", "reference"))
    assert right.angle.max() < 6 and right.iou.min() > 0.85
    assert other.angle.mean() > 20 and other.iou.mean() < 0.6


def test_findings_hold_where_the_figures_say_so() -> None:
    def judged(error: float, mask: float) -> Judged:
        values = np.full(3, error)
        return Judged(values, values, values, np.full(3, mask), np.full(3, mask))

    rows = {FULL: judged(1, 0.1), SCRATCH: judged(3, 0.1), PLAIN: judged(2, 0.1), FREE: judged(1, 0.5)}
    assert [finding.holds for finding in findings(rows)] == [True] * 3
    rows = {FULL: judged(3, 0.5), SCRATCH: judged(1, 0.1), PLAIN: judged(2, 0.1), FREE: judged(1, 0.1)}
    assert [finding.holds for finding in findings(rows)] == [False] * 3
