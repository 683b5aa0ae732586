"""The comparison of layers: both ways give the same, and what does not is refused."""

from pathlib import Path

import pytest
import torch

from i2i_rt.benchmarks import training_operators
from i2i_rt.benchmarks.measure import Rule
from i2i_rt.benchmarks.training_operators import Case, cases, main, measure
from i2i_rt.errors import I2IError

ONCE = Rule("once", warmup_runs=1, warmup_s=0, rounds=1, runs_per_round=1, seconds_per_round=0)


def test_every_layer_has_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training_operators, "QUICK", ONCE)

    assert main(["--batch", "2", "--channels", "4", "--side", "8", "--quick", "-o", str(tmp_path)]) == 0

    said, written = capsys.readouterr().out, (tmp_path / "training-operators.md").read_text()
    for case in cases(2, 4, 8):
        assert f"| {case.name} | " in said and f"| {case.name} | " in written


def test_two_ways_that_differ_are_refused() -> None:
    case = Case("wrong", lambda x: x, lambda x: 1.01 * x, ((2, 3),))
    with pytest.raises(I2IError, match=r"wrong: the two ways differ by 9\.9e-03"):
        measure(case, torch.device("cpu"), ONCE)
