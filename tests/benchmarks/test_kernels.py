"""The benchmark of operators: its cases, its arithmetic, and a whole run on a CPU with a clock of its own."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i_rt.benchmarks import kernel_cases, kernels
from i2i_rt.benchmarks.gpu import EAGER, GPU_QUICK, OURS, Sample, Variant, measured_rates, require_gpu, take_turns
from i2i_rt.benchmarks.kernel_cases import CASES, Case
from i2i_rt.benchmarks.roofline import Rates
from i2i_rt.cli import main
from i2i_rt.errors import UnsupportedError
from i2i_rt.kernels import fused

CPU = torch.device("cpu")
RATES = Rates()
SMALL = (
    kernel_cases.frames_in("small", (1, 4, 4)),
    kernel_cases.frames_out("small", (1, 4, 4)),
    kernel_cases.norm("small", (1, 3, 8, 8), slope=0, pad=1),
    kernel_cases.norm("small with a sum", (1, 3, 8, 8), slope=1, residual=True),
    kernel_cases.epilogue("small", (1, 3, 8, 8)),
    kernel_cases.blurred("small", (1, 3, 9, 9)),
    kernel_cases.pooled("small", (1, 3, 8, 8)),
    kernel_cases.table("small", (1, 3, 8, 8)),
    kernel_cases.hidden("small", (1, 4, 128, 128)),
    kernel_cases.borders("small", (1, 3, 32, 64)),
    kernel_cases.modulated("small", (1, 3, 8, 8)),
)


def run_once(calls: Sequence[Callable[[], object]]) -> Sample:
    """A clock that runs each call and says a microsecond."""
    for call in calls:
        call()
    return lambda: 1e-6


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.label)
def test_cases_run_and_move_what_they_say(case: Case) -> None:
    arguments = case.make(CPU, torch.bfloat16)
    result = case.run(*arguments)
    least = sum(value.numel() * value.element_size() for value in (arguments[0], result))
    # what is normalised is read twice; weights can be more than a small image
    assert least <= case.moved and (case.macs or case.moved <= 2 * least)
    if case.by_hand is not None:
        torch.testing.assert_close(case.by_hand(*arguments), result, rtol=0.05, atol=0.05)


def test_borders_are_as_many_as_the_products_say() -> None:
    case = kernel_cases.borders("small", (2, 3, 64, 96))
    count = case.make(CPU, torch.float32)[-1]
    assert case.macs == 9 * 128 * 2 * 3 * int(count)


def test_every_operator_that_has_a_test_of_its_own_is_measured_or_part_of_another() -> None:
    # SPADE's layout is measured with the whole of it; edges are part of the norm
    inside = {"spade_layout", "norm_act_edged"}
    named = {name for name in fused._tests if hasattr(torch.ops.i2i_rt, name)}
    assert len(named) > 5 and {case.operator for case in CASES} | inside >= named


def test_some_cases_are_beyond_any_cache_and_some_bound_by_products() -> None:
    memory = {case.operator for case in CASES if case.moved > 4 * 60 * 2**20 and not case.macs}
    assert memory >= {"norm_act", "conv_epilogue", "blur_epilogue", "spade_table_apply", "frame_in", "frame_out"}
    lines = kernels.plan(RATES)
    assert len(lines) == len(CASES) + 1 and {line[-1] for line in lines[1:]} == {"memory", "products"}


def test_whole_run_on_a_cpu_compares_and_reports(tmp_path: Path) -> None:
    report = kernels.measure(CPU, run_once, GPU_QUICK, cases=SMALL, variants=(OURS, EAGER), rates=RATES)
    assert [row.note for row in report.rows] == [""] * len(SMALL)
    assert all(row.timing is not None and row.ratios == {"eager": 1.0} for row in report.rows)
    record, view = report.write(tmp_path)
    assert record.exists() and "| norm_act | small | 1.0 |" in view.read_text()


def test_wrong_results_and_failing_compilers_have_no_time() -> None:
    def wrong(x: torch.Tensor) -> torch.Tensor:
        return x * (2 if x.dtype == torch.bfloat16 else 1)

    def fails(function: Callable[..., Any]) -> Callable[..., Any]:
        raise RuntimeError("no compiler\nat all")

    class Failing(Variant):
        def prepared(self, function: Callable[..., Any]) -> Callable[..., Any]:
            return fails(function)

    case = Case("frame_in", "wrong", lambda device, dtype: (torch.ones(4, dtype=dtype),), wrong, 8)
    right = SMALL[2]
    report = kernels.measure(
        CPU, run_once, GPU_QUICK, cases=(case, right), variants=(OURS, Failing("best", "off")), rates=RATES
    )
    assert report.rows[0].timing is None and "wrong: its relative error is 1.0e+00" in report.rows[0].note
    assert report.rows[1].timing is not None and report.rows[1].note == "best fails: RuntimeError: no compiler"


def test_compiled_variants_are_left_out_when_time_is_up() -> None:
    late = Variant("late", "off", "default")
    report = kernels.measure(
        CPU, run_once, GPU_QUICK, cases=SMALL[:1], variants=(OURS, late), rates=RATES, out_of_time=lambda: True
    )
    assert report.rows[0].note == "no time was left for late" and report.rows[0].ratios == {}


@pytest.mark.parametrize(("moved", "macs", "bandwidth", "product"), [
    (3_000_000_000, 0, 0.5, None),
    (3_000_000, 0, None, None),
    (3_000_000, 395_000_000_000, None, 0.5),
])  # fmt: skip
def test_shares_are_of_what_bounds_the_kernel_and_never_of_a_cache(
    moved: int, macs: int, bandwidth: float | None, product: float | None
) -> None:
    row = kernels.KernelRow("a", "b", moved, macs)
    timings = take_turns({"fused": lambda: 0.002, "eager": lambda: 0.004}, GPU_QUICK)
    done = kernels._finished(row, timings, RATES, l2=50 * 2**20)
    assert done.in_l2 == (moved < 100 * 2**20)
    assert done.bandwidth_share == (None if bandwidth is None else pytest.approx(bandwidth))
    assert done.product_share == (None if product is None else pytest.approx(product))
    assert done.ratios["eager"] == pytest.approx(2)
    assert ("in L2" in str(kernels.table([done], ["eager"]))) == done.in_l2


def test_inputs_take_turns_until_none_is_left_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    case = SMALL[0]
    monkeypatch.setattr(kernels, "l2_bytes", lambda _: 480)
    first = case.make(CPU, torch.bfloat16)
    assert len(kernels._inputs(case, first, CPU, torch.bfloat16)) == math.ceil(3 * 480 / 48) + 1


def test_rates_are_measured_in_the_same_process() -> None:
    rates = measured_rates(run_once, CPU, copied=1024, side=8)
    assert rates.terabytes == pytest.approx(2048 / 1e-6 / 1e12) and rates.tflops == pytest.approx(1024 / 1e-6 / 1e12)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="needs a CUDA device"):
        require_gpu()
    assert main(["bench", "kernels", "-o", str(tmp_path / "out")]) == 2
    assert "needs a CUDA device" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_plan_needs_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "kernels", "--plan"]) == 0
    assert "spade_conv_modulate" in capsys.readouterr().out
