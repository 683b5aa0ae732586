"""The benchmark's TensorRT column on stand-ins for the library: exported, built, run and compared; never timed."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from i2i_rt.benchmarks import kernel_cases, kernels
from i2i_rt.benchmarks.gpu import GPU_QUICK, OURS
from i2i_rt.benchmarks.kernel_cases import Case
from i2i_rt.benchmarks.roofline import Rates
from i2i_rt.benchmarks.tensorrt_operator import TENSORRT
from i2i_rt.cli import main
from i2i_rt.kernels.fused import TOLERANCES, relative_error
from tests import gpu_stand_ins
from tests.benchmarks.test_kernels import CPU, run_once
from tests.gpu_stand_ins import cuda, engines
from tests.tensorrt_bindings.parser import refused

VARIANTS = (OURS, TENSORRT)
FULL = torch.float32
CASES = (
    kernel_cases.frames_in("small", (1, 4, 4)),
    kernel_cases.frames_out("small", (1, 4, 4)),
    kernel_cases.norm("small", (1, 8, 8, 8), slope=0, pad=1),
    kernel_cases.norm("small with a sum", (1, 3, 8, 8), slope=1, residual=True),
    kernel_cases.epilogue("small", (1, 8, 8, 8)),
    kernel_cases.blurred("small", (1, 8, 9, 9)),
    kernel_cases.pooled("small", (1, 3, 8, 8)),
    kernel_cases.table("small", (1, 3, 8, 8)),
    kernel_cases.modulated("small", (1, 8, 8, 8)),
    kernel_cases.folded("small", 8, 8),
    kernel_cases.hidden("small", (1, 4, 128, 128)),
    kernel_cases.borders("small", (1, 8, 32, 64)),
)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> cuda.Stream:
    """A machine with the stand-ins, whose current stream is one of theirs."""
    gpu_stand_ins.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engines.builds.clear()
    stream = cuda.Stream()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=stream.ptr))
    return stream


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_engine_gives_what_the_formula_gives(case: Case) -> None:
    inputs = [case.make(CPU, torch.float16) for _ in range(2)]
    for position in case.weights:  # which the engine has from the first
        inputs[1] = (*inputs[1][:position], inputs[0][position], *inputs[1][position + 1 :])
    calls = TENSORRT.calls(case.run, inputs, case.weights)
    for arguments, call in zip(inputs, calls, strict=True):
        exact = case.run(*map(kernels._widened, arguments))
        assert relative_error(call(), exact) <= TOLERANCES[torch.float16]
    (build,) = engines.builds
    assert not refused(build["model"]) and build["profiles"] == []


def test_precision_and_layout_are_chosen_by_the_arguments() -> None:
    for dtype in (torch.float32, torch.float16):
        TENSORRT.calls(lambda x: x + 1, [(torch.ones(1, 8, 2, 2, dtype=dtype),)])
    exact, reduced = engines.builds
    assert (exact["tf32"], exact["formats"]) == (False, {"input0": 0, "result": 0})
    channels_last = engines.TensorFormat.HWC8
    assert (reduced["tf32"], reduced["formats"]) == (True, {"input0": channels_last, "result": channels_last})


def test_calls_can_be_recorded_and_keep_their_own_results(machine: cuda.Stream) -> None:
    inputs = [(torch.full((2, 3), value),) for value in (1.0, 2.0)]
    calls = TENSORRT.calls(lambda x: 2 * x, inputs)
    machine.begin_capture()
    results = [call() for call in calls]
    graph = machine.end_capture()
    inputs[0][0][...] = 5
    graph.launch()
    assert [float(result.mean()) for result in results] == [10, 4]


def test_report_has_the_column_and_says_what_is_missing_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spread(x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x)

    def wrong(x: Tensor) -> Tensor:
        return x * (2 if torch.compiler.is_compiling() else 1)

    def ones(device: torch.device, dtype: torch.dtype) -> tuple[Tensor]:
        return (torch.ones(4, 4, dtype=dtype),)

    cases = (CASES[0], Case("frame_in", "not in ONNX", ones, spread, 8), Case("frame_in", "wrong", ones, wrong, 8))
    report = kernels.measure(CPU, run_once, GPU_QUICK, cases=cases, variants=VARIANTS, rates=Rates(), dtype=FULL)
    right, inexpressible, different = report.rows
    assert right.ratios == {"TensorRT": 1.0} and not right.note
    assert inexpressible.timing is not None and inexpressible.note.startswith("TensorRT fails: ")
    assert different.note == "TensorRT is wrong: its relative error is 1.0e+00; 1e-05 is allowed"
    table = kernels.table(report.rows, report.columns)
    assert [line[-1] for line in table] == ["x TensorRT", "1.00", "-", "-"]
    assert "- frame_in, wrong: TensorRT is wrong" in report.markdown()


def test_engine_that_does_not_start_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.IExecutionContext, "execute_async_v3", lambda context, stream: False)
    report = kernels.measure(
        CPU, run_once, GPU_QUICK, cases=CASES[:1], variants=VARIANTS, rates=Rates(), dtype=torch.float16
    )
    assert report.rows[0].note.startswith("TensorRT fails: RuntimeError: TensorRT could not start a run")


def test_where_it_is_not_installed_the_report_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_stand_ins.install(monkeypatch, version="8.6.1")
    report = kernels.measure(CPU, run_once, GPU_QUICK, cases=CASES[:2], variants=VARIANTS, rates=Rates())
    assert report.missing == {"TensorRT": "TensorRT is 8.6.1; 10.0 or later is needed"}
    assert report.notes() == ["TensorRT: not measured: TensorRT is 8.6.1; 10.0 or later is needed"]
    assert [line[-1] for line in kernels.table(report.rows, report.columns)] == ["x TensorRT", "-", "-"]
    assert not engines.builds


def test_plan_names_the_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "kernels", "--plan"]) == 0
    assert "compared with eager, torch.compile, its fair best, TensorRT" in capsys.readouterr().out
