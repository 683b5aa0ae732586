"""The benchmark of training steps: what it measures and when it fails."""

from pathlib import Path

import pytest

from i2i_rt.benchmarks import training
from i2i_rt.benchmarks.report import Report
from i2i_rt.benchmarks.training import CASES, Measured, Setting, Worker


def measured(cut_s: float) -> list[Measured]:
    seconds = {"cyclegan": 1.0, "cut": cut_s, "fastcut": 0.4, "cut, low-pass": 0.7, "fastcut, low-pass": 0.45}
    return [
        Measured(case, [seconds[case.name]] * 3, [seconds[case.name]] * 3, 1000 * seconds[case.name]) for case in CASES
    ]


@pytest.mark.parametrize(
    ("cut_s", "status", "mark"),
    [pytest.param(0.6, 0, "[✓]", id="reached"), pytest.param(0.66, 1, "[x]", id="missed")],
)
def test_benchmark_compares_with_the_thesis_and_fails_where_a_target_is_missed(
    cut_s: float,
    status: int,
    mark: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(training, "measure", lambda setting, progress: measured(cut_s))

    assert training.main(["--size", "64", "-o", str(tmp_path)]) == status

    assert f"| cut | {cut_s:.3f} | 0.600 | 0.65 | {mark} |" in capsys.readouterr().out
    report = Report.read(tmp_path / "training.json")
    assert [row.name for row in report.rows] == [case.name for case in CASES]
    assert report.figures["cut, share of CycleGAN's time"] == f"{cut_s:.3f} (thesis 0.6, target 0.65) {mark}"
    assert "share of CycleGAN's memory" in (tmp_path / "training.md").read_text()


def test_worker_trains_in_its_own_process_and_counts_its_memory() -> None:
    worker = Worker(CASES[1], Setting(size=32, width=4, blocks=1, batch=1, steps=1, precision="fp32", threads=1))

    wall, cpu = worker.step()
    memory = worker.memory_mib()
    worker.close()

    assert wall > 0 and cpu > 0
    assert memory is None or 0 < memory < 1000
