"""Backends side by side: the gate, the baselines, missing parts, workers that die."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.benchmarks import latency
from i2i_rt.benchmarks.inputs import sample_frames
from i2i_rt.benchmarks.latency import Case, compared, measure, variants
from i2i_rt.benchmarks.measure import Rule
from i2i_rt.benchmarks.report import Report, Row
from i2i_rt.benchmarks.worker import Worker, WorkerError
from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.errors import UnsupportedError
from i2i_rt.importers.table import write_bundle
from i2i_rt.runtime import backends
from i2i_rt.runtime.backends import BACKENDS, Choice
from i2i_rt.testing import tiny_bundle

RULE = Rule("test", warmup_runs=1, warmup_s=0, rounds=2, runs_per_round=2, seconds_per_round=0)
ROW = Row("translate", "openvino", "fp32", 32, 32, 2)
TORCH = Choice(BACKENDS["torch"], "fp32", "")


@pytest.fixture(scope="module")
def torch_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    bundle = tiny_bundle(tmp_path_factory.mktemp("bench") / "bundle")
    cases = [Case(48, 32, 2), Case(32, 32, 1)]
    return measure(bundle, variants=[("torch", "bf16"), ("openvino", "fp32")], cases=cases, rule=RULE, threads=1)


def timed(report: Report) -> list[Row]:
    return [row for row in report.rows if row.timing is not None]


def test_every_shape_is_timed_with_the_baseline_beside_it(torch_report: Report) -> None:
    shapes = [(row.label, row.shape) for row in timed(torch_report)]
    assert shapes == [
        ("torch fp32", "32x32"), ("torch bf16", "32x32"), ("torch fp32", "48x32 x2"), ("torch bf16", "48x32 x2"),
    ]  # fmt: skip
    for row in timed(torch_report):
        assert row.timing is not None and row.timing.runs == 4 and row.images_per_s and row.images_per_s > 0
        assert row.ratios["torch fp32"] > 0
        if row.precision == "fp32":
            assert row.ratios["torch fp32"] == 1 and row.largest_difference == 0


def test_half_precision_is_close_but_not_equal(torch_report: Report) -> None:
    halves = [row for row in timed(torch_report) if row.precision == "bf16"]
    assert halves and all(row.psnr_db is not None and 38 < row.psnr_db < 70 for row in halves)


def test_start_and_new_shapes_have_their_own_figures(torch_report: Report) -> None:
    first, _, later, _ = timed(torch_report)
    assert first.new_shape_ms is None and later.new_shape_ms is not None
    assert first.start is not None and first.start.import_s > 0 and first.start.first_run_ms > 0
    assert first.start == later.start and first.start.reopened_first_run_ms > 0


def test_peak_memory_is_that_of_the_backends_process(torch_report: Report) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("reads /proc")
    assert all(row.peak_memory_mib and row.peak_memory_mib > 100 for row in timed(torch_report))


def test_missing_artifact_is_a_row_with_the_command(torch_report: Report) -> None:
    missing = {row.label: row.note for row in torch_report.rows if row.timing is None}
    assert "i2i-rt export" in missing["openvino fp32"] and "--format openvino" in missing["openvino fp32"]
    assert "i2i-rt export" in missing["onnxruntime fp32"]


def test_choice_of_auto_is_marked(torch_report: Report) -> None:
    assert {row.label for row in timed(torch_report) if "auto" in row.note} == {"torch fp32"}


def test_wrong_picture_has_no_time(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(latency.GATES_DB, "bf16", 200.0)
    report = measure(bundle, variants=[("torch", "bf16")], cases=[Case(32, 32, 1)], rule=RULE, threads=1)
    (row,) = [row for row in report.rows if row.precision == "bf16"]
    assert row.wrong and row.timing is None and "the gate is 200 dB" in row.note


def test_wrong_second_picture_does_not_hide_behind_the_first() -> None:
    expected = np.zeros((2, 32, 32, 3), np.uint8)
    translated = expected.copy()
    assert compared(ROW, translated, expected).largest_difference == 0
    translated[1] += 1
    row = compared(ROW, translated, expected)
    assert row.psnr_db == pytest.approx(48.13, abs=0.01) and row.wrong


def test_without_pytorch_rows_say_that_nothing_was_compared() -> None:
    row = compared(ROW, np.zeros((2, 32, 32, 3), np.uint8), None)
    assert not row.wrong and "not compared" in row.note


@pytest.fixture
def worker(bundle: Bundle) -> Iterator[Worker]:
    with Worker(bundle.path, TORCH, 1) as worker:
        yield worker


def test_dead_worker_is_an_error_with_its_exit_code(worker: Worker) -> None:
    worker.open()
    pid = worker._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="exit code -9: out of memory"):
        worker.turn(RULE)


def test_failing_worker_says_why(worker: Worker) -> None:
    worker.open()
    with pytest.raises(WorkerError, match="must be uint8"):
        worker.prepare({"frames": np.zeros((1, 32, 32, 3), np.float32)})


def test_worker_that_dies_on_the_way_leaves_the_others(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Worker.turn

    def dying(self: Worker, rule: Rule) -> list[float]:
        if self.choice.precision == "bf16":
            os.kill(self._process.pid or 0, signal.SIGKILL)
        return turn(self, rule)

    monkeypatch.setattr(Worker, "turn", dying)
    cases = [Case(32, 32, 1), Case(48, 48, 1)]
    report = measure(bundle, variants=[("torch", "bf16")], cases=cases, rule=RULE, threads=1)
    assert [row.label for row in timed(report)] == ["torch fp32", "torch fp32"]
    assert [row.shape for row in report.rows if "exit code -9" in row.note] == ["32x32"]


def test_nothing_that_runs_is_a_mistake(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "problem", lambda backend, precision=None: "it is broken")
    with pytest.raises(UnsupportedError, match=r"nothing can run .* it is broken; see 'i2i-rt doctor'"):
        measure(bundle, variants=[("torch", "fp32")], cases=[Case(32, 32, 1)], rule=RULE)


def test_all_names_every_backend_and_precision(bundle: Bundle) -> None:
    pairs = variants(bundle, "all", "all")
    assert {name for name, _ in pairs} == set(BACKENDS)
    assert ("openvino", "bf16") in pairs and ("onnxruntime", "bf16") not in pairs


def test_auto_is_what_a_translator_would_take(bundle: Bundle) -> None:
    assert variants(bundle, "auto", "all") == [("torch", "fp32")]
    assert variants(bundle, "auto,openvino", "fp32") == [("torch", "fp32"), ("openvino", "fp32")]


@pytest.mark.parametrize(
    ("backend", "precision", "sentence"),
    [
        pytest.param("opnvino", "all", "did you mean 'openvino'", id="backend"),
        pytest.param("all", "fp3", "did you mean 'fp32'", id="precision"),
        pytest.param("openvino", "fp16", "openvino does not compute in fp16", id="pair"),
    ],
)
def test_unknown_names_get_a_sentence(bundle: Bundle, backend: str, precision: str, sentence: str) -> None:
    with pytest.raises(UnsupportedError, match=sentence):
        variants(bundle, backend, precision)


def test_sample_frames_are_photographs_of_the_case() -> None:
    frames = sample_frames(20, 30, 4)
    assert frames.shape == (4, 20, 30, 3) and frames.dtype == np.uint8
    assert frames[0].std() > 20 and not np.array_equal(frames[0], frames[1])


def test_label_maps_go_through_two_stages_with_the_dense_network_beside_them(tmp_path: Path) -> None:
    from tests.small.spade import SMALL

    bundle = write_bundle(SMALL["spade"](), "spade", tmp_path / "bundle", Provenance("drawn with seed 0", ""))
    report = measure(bundle, variants=[("torch", "fp32")], cases=[Case(64, 64, 1)], rule=RULE, threads=1)
    split, dense = timed(report)
    assert (split.name, dense.name) == ("torch", "torch dense")
    assert split.ratios["itself dense"] == dense.timing.p50_ms / split.timing.p50_ms  # type: ignore[union-attr]
    assert "itself dense" not in dense.ratios and dense.largest_difference is not None and dense.largest_difference <= 1
