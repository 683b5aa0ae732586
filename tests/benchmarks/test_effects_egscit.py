"""The experiment on EGSC-IT: it runs, goes on where it stopped, and its judge and findings say what they should."""

import json
from pathlib import Path

import pytest
import torch

from i2i_rt.benchmarks.effects import egscit
from i2i_rt.benchmarks.effects.egscit import ANSWERS, FULL, VARIANTS, Held, Judged, findings, judge, main, prepared


def test_quick_run_writes_a_record_and_a_picture_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    words = ["-o", str(tmp_path), "--runs", str(tmp_path / "runs"), "--picture", str(picture), "--quick"]

    for _ in range(2):
        assert main(words) == 0

    record = json.loads((tmp_path / "effects-egscit.json").read_text())
    assert len(record["findings"]) == 6 and len(record["table"]) == 9
    assert len(record["figures"][FULL]) == 1
    assert picture.stat().st_size < 300_000
    assert f"egsc-it-{egscit.SEEDS[0]}: 0 steps of egscit" in capsys.readouterr().err


def test_judge_prefers_the_answers(tmp_path: Path) -> None:
    held = Held.read(prepared(tmp_path / "data", 0, pictures=2, judged=12))

    right = judge((held.a_to_b, held.b_to_a), held)
    exchanged = judge((held.a_to_b.flip(0), held.b_to_a.flip(0)), held)

    assert [right.a_to_b, right.b_to_a] == pytest.approx([1, 1], abs=1e-4)
    assert exchanged.a_to_b < 0.5 and exchanged.b_to_a < 0.5
    assert torch.equal(held.a_to_b[:, :, 0, 0], held.b[:, :, 0, 0])
    assert right.shares == judge((held.b, held.a), held).shares and sum(right.shares.values()) == pytest.approx(1)


def test_findings_compare_the_same_seeds_both_ways() -> None:
    shares = {"red on green": 0.25, "blue on red": 0.75}
    worse = [Judged(0.3, 0.2, {"red on green": 1.0, "blue on red": 0.0})] * 2
    rows = dict.fromkeys((*VARIANTS, egscit.CYCLEGAN), worse)
    full = [Judged(0.5, 0.3, shares), Judged(0.2, 0.3, shares)]

    found = findings(rows | {FULL: full, ANSWERS: full})
    assert all(finding.holds for finding in found) and "0.050 (-0.100–0.200)" in found[0].measured
    assert "75 %" in found[-1].measured and "100 %" in found[-1].measured

    one_way = [Judged(0.5, 0.1, shares)] * 2
    assert not any(finding.holds for finding in findings(rows | {FULL: one_way, ANSWERS: full})[:-1])
