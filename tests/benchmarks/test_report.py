"""The record, its Markdown view, and the comparison of two records."""

from dataclasses import replace
from pathlib import Path

import pytest

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.measure import Timing
from i2i_rt.benchmarks.report import Report, Row, Start, comparison, notes, table
from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError

FAST = Row(
    "translate", "openvino", "bf16", 256, 256, 1,
    timing=Timing.of([[0.1] * 3]), images_per_s=10.0, peak_memory_mib=300.0, psnr_db=45.9, largest_difference=9,
    ratios={"torch fp32": 2.5}, start=Start(0.1, 0.5, 300.0, 0.4, 120.0), note="what --backend auto takes",
)  # fmt: skip
MISSING = Row("translate", "onnxruntime", "fp32", 0, 0, 0, note="no artifact; run 'i2i-rt export | x'")


def report(*rows: Row) -> Report:
    return Report("Latency", "in full", {"date": "2026-01-01", "cpu": "a processor", "gpu": None}, rows, {"share": 0.5})


def test_record_survives_the_disk(tmp_path: Path) -> None:
    written = report(FAST, MISSING)
    record, view = written.write(tmp_path / "new" / "folder", "latency")
    assert Report.read(record) == written
    assert view.read_text() == written.markdown()


def test_markdown_has_figures_notes_start_and_machine() -> None:
    text = report(FAST, MISSING).markdown()
    assert "| openvino bf16 | 256x256 | 100 |" in text
    assert "45.9" in text and "2.50" in text and "| share | 0.5 |" in text and "a processor" in text
    assert "- onnxruntime fp32: no artifact" in text
    assert "| openvino bf16 | 0.10 | 0.50 | 300 | 0.40 | 120 |" in text


def test_rows_without_a_time_are_notes_not_lines() -> None:
    assert len(table((FAST, MISSING))) == 2
    assert any(line.startswith("onnxruntime fp32:") for line in notes((FAST, MISSING)))


def test_same_note_of_several_shapes_is_said_once() -> None:
    assert notes((FAST, replace(FAST, batch=4))) == [
        "openvino bf16 at 256x256, 256x256 x4: what --backend auto takes"
    ]  # fmt: skip


def test_equal_pictures_are_called_exact() -> None:
    lines = table((replace(FAST, psnr_db=None, largest_difference=0),))
    assert dict(zip(*lines, strict=True))["PSNR dB"] == "exact"


def test_comparison_divides_old_by_new_where_both_were_measured() -> None:
    old = report(replace(FAST, timing=Timing.of([[0.2] * 3])), MISSING)
    new = report(FAST, replace(FAST, batch=2), MISSING)
    lines = comparison(old, new)
    assert len(lines) == 2 and lines[1][-3:] == ["200", "100", "2.00"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(None, "cannot be read: No such file", id="missing"),
        pytest.param("not json", "is no JSON record of 'i2i-rt bench'", id="text"),
        pytest.param('{"rows": 5}', "is no JSON record of 'i2i-rt bench'", id="other-json"),
        pytest.param("[]", "is no JSON record of 'i2i-rt bench'", id="list"),
        pytest.param('{"rows": [{"case": 1}]}', "is no JSON record of 'i2i-rt bench'", id="other-rows"),
    ],
)
def test_other_files_are_refused_with_a_sentence(tmp_path: Path, content: str | None, sentence: str) -> None:
    file = tmp_path / "old.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(I2IError, match=sentence):
        Report.read(file)


def test_environment_names_machine_versions_and_weights(bundle: Bundle) -> None:
    stamp = environment(bundle=bundle, threads=1)
    assert stamp["bundle"]["weights_sha256"] == bundle.weights_sha256()
    assert stamp["threads"] == 1 and stamp["cpus"] >= 1
    assert {"python", "i2i-rt", "numpy", "torch"} <= set(stamp["versions"])
    assert {"date", "cpu", "clocks_mhz", "load_average", "gpu", "commit"} <= set(stamp)
