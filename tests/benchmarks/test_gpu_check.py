"""The check on a GPU, run on a CPU: small networks, a clock of its own, no compilers."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from i2i_rt.benchmarks import end_to_end, gpu_check, kernel_cases, official
from i2i_rt.benchmarks.end_to_end import BEST, FUSED_COMPILED, OURS, Goal, compared, figures
from i2i_rt.benchmarks.gpu import EAGER, GPU_QUICK, Sample, Variant, graph_clock
from i2i_rt.benchmarks.gpu_check import TESTS, Budget, check, main, run_tests
from i2i_rt.benchmarks.measure import Timing
from i2i_rt.benchmarks.report import Report, Row
from i2i_rt.models.resnet import ResnetGeneratorConfig
from i2i_rt.models.spade import SpadeGeneratorConfig
from i2i_rt.models.stargan import StarGANGeneratorConfig
from i2i_rt.models.swapping import SwappingEncoderConfig, SwappingGeneratorConfig

CPU = torch.device("cpu")
SMALL = (
    Goal(official.resnet(ResnetGeneratorConfig(width=4, blocks=1), 16, "CycleGAN"), {1: 0.3, 2: 0.5}),
    Goal(official.starganv2(StarGANGeneratorConfig(width=4, max_width=8, levels=2), 32, "StarGAN v2"), {1: 0.3}),
    Goal(official.spade(SpadeGeneratorConfig(classes=5, width=2, hidden=4), 32, 32, "SPADE"), {1: 0.8}),
    Goal(
        official.swapping(
            SwappingEncoderConfig(widths=(4, 6, 8), texture_widths=(8, 8), structure_channels=4, texture_channels=8),
            SwappingGeneratorConfig(structure_channels=4, texture_channels=8, head_widths=(8,), widths=(8, 6)),
            32,
            "Swapping Autoencoder",
        ),
        {1: 0.3},
    ),
)


def run_once(calls: Sequence[Callable[[], object]]) -> Sample:
    """A clock that runs each call and says a millisecond."""
    for call in calls:
        call()
    return lambda: 1e-3


@pytest.fixture
def anything_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn weights of tiny networks say nothing of bfloat16."""
    monkeypatch.setitem(end_to_end.GATES_DB, "bf16", 5.0)


@pytest.mark.usefixtures("anything_passes")
def test_whole_check_runs_and_writes_its_files(tmp_path: Path) -> None:
    lines: list[str] = []
    right, files, summary = check(
        CPU,
        run_once,
        tmp_path,
        Budget(8),
        GPU_QUICK,
        tests=lambda budget: ("3 passed", True),
        goals=SMALL,
        cases=[kernel_cases.norm("small", (1, 3, 8, 8), slope=0)],
        batches=(1, 2),
        network_variants=(OURS, EAGER),
        kernel_variants=(OURS, EAGER),
        progress=lines.append,
    )
    assert right and {file.name for file in files} >= {"gpu-check.json", "gpu-check.md", "kernels.json", "kernels.md"}
    report = Report.read(tmp_path / "gpu-check.json")
    assert len(report.rows) == 4 * 2 * 2 and [row.note for row in report.rows] == [""] * 16
    assert all(row.ratios.keys() == {"floor", "eager" if "fused" in row.name else "fused"} for row in report.rows)
    assert report.figures["tests"] == "3 passed" and "of the floor (goal 50%)" in str(
        report.figures["CycleGAN 16x16, batch 2"]
    )
    assert json.loads((tmp_path / "kernels.json").read_text())["rows"][0]["ratios"] == {"eager": 1.0}
    assert "# Translations on a GPU" in summary and "# Fused operators" in summary
    assert "SPADE 32x32, batch 2, eager" in lines


@pytest.mark.gpu
@pytest.mark.usefixtures("anything_passes")
def test_whole_check_runs_on_the_gpu(tmp_path: Path) -> None:
    right, _, summary = check(
        torch.device("cuda", 0),
        graph_clock,
        tmp_path,
        Budget(8),
        GPU_QUICK,
        tests=lambda budget: ("none", True),
        goals=SMALL,
        cases=[kernel_cases.norm("small", (2, 16, 32, 32), slope=0, pad=1)],
    )
    assert right, summary


@pytest.mark.usefixtures("anything_passes")
def test_what_fails_or_finds_no_time_is_a_row_with_the_reason() -> None:
    class Failing(Variant):
        def prepared(self, function: Callable[..., Any]) -> Callable[..., Any]:
            raise RuntimeError("no compiler\nat all")

    variants = (OURS, Failing("failing", "off"), FUSED_COMPILED)
    rows = end_to_end.measure(
        CPU,
        run_once,
        GPU_QUICK,
        end_to_end.Rates(),
        goals=SMALL[:1],
        batches=(1,),
        variants=variants,
        out_of_time=lambda: True,
    )
    assert [row.note for row in rows] == ["", "RuntimeError: no compiler", "no time was left"]
    assert [row.timing is None for row in rows] == [False, True, True]


def test_worst_picture_of_a_batch_is_compared_with_the_gate() -> None:
    row = Row("translate", "a", "bf16", 2, 2, 2)
    expected = torch.zeros(2, 2, 2, 3, dtype=torch.uint8)
    assert compared(row, expected, expected).psnr_db is None
    bad = expected.clone()
    bad[1] = 9
    assert compared(row, bad, expected).wrong and compared(row, bad, expected).largest_difference == 9
    assert not compared(row, bad.clamp(max=2), expected).wrong


def test_figures_tell_the_better_of_ours_against_the_goals() -> None:
    timing = Timing(2, 2, 2, 2, 2, 5, 1)
    goal = SMALL[0]
    row = Row("translate", f"CycleGAN {OURS.name}", "bf16", 16, 16, 1, timing, ratios={"floor": 0.2}, psnr_db=41.5)
    better = replace(row, name=f"CycleGAN {FUSED_COMPILED.name}", ratios={"floor": 0.4, BEST.name: 1.3})
    assert figures([row, better], [goal]) == {
        "CycleGAN 16x16, batch 1": "40% of the floor (goal 30%), 1.30 x its fair best (goal 1.25), 41.5 dB (goal 40 dB)"
    }
    assert figures([replace(row, timing=None)], [goal]) == {}


def test_time_is_over_when_its_share_is() -> None:
    now = 0.0
    budget = Budget(1, lambda: now)
    assert budget.left_s(0.5) == 30 and not budget.over(0.5)()
    now = 31.0
    assert budget.over(0.5)() and not budget.over(0.6)()


def test_tests_are_counted_and_failures_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_tests(Budget(1), tmp_path)[0].startswith("not run")
    folder = tmp_path / "tests" / "kernels"
    folder.mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: needs a GPU\n")
    (folder / "test_a.py").write_text(
        "def test_right(): pass\ndef test_compiled_code(): assert False\ndef test_wrong(): assert False\n"
    )
    told, passed = run_tests(Budget(10), tmp_path)
    assert not passed and "1 failed, 1 passed, 1 deselected" in told and "FAILED" in told and "test_wrong" in told
    # in two pieces: this file must not be taken for one that has such a test
    marked = "import pytest\n@pytest.mark" + ".gpu\ndef test_on_it(): pass\ndef test_elsewhere(): assert False\n"
    (tmp_path / "tests" / "test_b.py").write_text(marked)
    told, _ = run_tests(Budget(10), tmp_path)
    assert told.startswith("1 passed, 1 deselected") and told.count("FAILED") == 1
    monkeypatch.setattr(sys, "executable", "/bin/true")
    assert run_tests(Budget(1), tmp_path) == ("no output; no output", True)
    assert TESTS < 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.usefixtures("anything_passes")
def test_exit_code_is_that_of_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "require_gpu", lambda: CPU)
    for right in (True, False):
        answer = SimpleNamespace(check=lambda *_, right=right, **__: (right, [tmp_path / "a.json"], "summary"))
        monkeypatch.setattr(gpu_check, "check", answer.check)
        assert main(["--quick", "-o", str(tmp_path)]) == (0 if right else 1)
    assert "summary" in capsys.readouterr().out
