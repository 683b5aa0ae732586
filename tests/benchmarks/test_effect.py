"""The record of an experiment, and a training that goes on where it was stopped."""

from pathlib import Path

import pytest

from i2i_rt.benchmarks.effects.effect import Effect, Finding, trained
from tests.training.conftest import pairs, photos

__all__ = ["pairs", "photos"]


def test_record_says_whether_a_claim_holds(tmp_path: Path) -> None:
    findings = (Finding("better", "2 > 1", True), Finding("faster", "2 > 1 s", False))
    effect = Effect("Title", "Data.", "Method.", [["a"], ["1"]], findings, {"a": 1}, 3.4, {"cpu": "some"})

    record, view = effect.write(tmp_path, "some")

    assert '"holds": false' in record.read_text()
    assert "- [✓] better: 2 > 1\n- [x] faster: 2 > 1 s" in view.read_text()


def test_stopped_training_goes_on(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"width": 4, "blocks": 1, "discriminator_width": 4, "crop_size": 32, "threads": 1}

    first, _ = trained(tmp_path / "run", "fastcut", photos, steps=2, **small)
    second, outcome = trained(tmp_path / "run", "fastcut", photos, steps=3, **small)

    assert (first.step, second.step, outcome.trained) == (2, 3, 1)
    assert set(second.networks()) == {"generator", "discriminator", "sampler"}
