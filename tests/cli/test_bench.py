"""`i2i-rt bench` and `bench video` through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from i2i_rt.benchmarks import latency, video
from i2i_rt.benchmarks.measure import Rule
from i2i_rt.bundle import Bundle
from i2i_rt.cli import main

ROOT = Path(__file__).parents[2]
RULE = Rule("test", warmup_runs=1, warmup_s=0, rounds=2, runs_per_round=1, seconds_per_round=0)


def bench(*words: object) -> int:
    return main(["bench", *map(str, words)])


@pytest.fixture
def torch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps runs short: one backend, few runs."""
    monkeypatch.setattr("i2i_rt.benchmarks.measure.QUICK", RULE)


def test_results_are_printed_and_written(
    bundle: Bundle, torch_only: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results"
    options = ("--backend", "torch", "--precision", "fp32", "--size", "32,32x48", "--threads", 1, "--quick")
    assert bench(bundle.path, *options, "-o", folder) == 0
    output = capsys.readouterr().out
    assert "torch fp32" in output and "32x48" in output and "exact" in output
    assert f"wrote {folder / 'latency.json'}" in output and "next: i2i-rt bench" in output
    record = json.loads((folder / "latency.json").read_text())
    assert [row["width"] for row in record["rows"] if row["timing"]] == [32, 48]
    assert record["environment"]["bundle"]["weights_sha256"] == bundle.weights_sha256()
    assert "## Machine" in (folder / "latency.md").read_text()
    picture = cv2.imread(str(folder / "latency.png"))
    assert picture is not None and picture.std() > 5

    assert bench(bundle.path, *options, "-o", tmp_path / "again", "--compare", folder / "latency.json") == 0
    assert "old / new" in capsys.readouterr().out


def test_wrong_picture_ends_with_exit_code_1(
    bundle: Bundle,
    torch_only: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(latency.GATES_DB, "bf16", 200.0)
    options = ("--backend", "torch", "--precision", "bf16", "--size", 32, "--quick", "-o", tmp_path / "results")
    assert bench(bundle.path, *options) == 1
    assert "wrong, so not timed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(("--size", "256by256"), "--size is '256by256'; it must be 256 or HxW", id="size"),
        pytest.param(("--size", "0"), "--size is '0'", id="size-0"),
        pytest.param(("--batch", "1,0"), "--batch is '1,0'; it must be whole numbers from 1", id="batch"),
        pytest.param(("--backend", "pytorch"), "did you mean 'torch'", id="backend"),
        pytest.param(("--compare", "nowhere.json"), "nowhere.json cannot be read", id="compare"),
        pytest.param(("clip.mp4",), "one argument too many", id="clip-without-video"),
    ],
)
def test_mistakes_get_a_sentence_before_anything_runs(
    bundle: Bundle, options: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(bundle.path, *options) == 2
    assert sentence in capsys.readouterr().err


def test_results_do_not_replace_a_file(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert bench(bundle.path, "-o", file) == 2
    assert "is a file; name a folder" in capsys.readouterr().err and file.read_text() == "mine"


def test_video_is_measured_against_the_bare_model(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    options = ("--frames", 60, "--size", "32x48", "--threads", 1, "-o", tmp_path / "results")
    assert bench("video", bundle.path, *options) == 0
    output = capsys.readouterr().out
    for words in ("pipeline / bare model", "memory growth after frame 50", "infer, s at work", "decode, s at work"):
        assert words in output
    record = json.loads((tmp_path / "results" / "video.json").read_text())
    assert [row["timing"]["runs"] for row in record["rows"]] == [120, 120]
    assert all(row["height"] == 32 and row["width"] == 48 for row in record["rows"])


def test_clip_of_ones_own_is_measured_at_its_size(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("av")
    clip = tmp_path / "clip.mp4"
    video.write_sample_clip(clip, 7, (32, 64))
    assert bench("video", bundle.path, clip, "--quick", "--threads", 1, "-o", tmp_path / "results") == 0
    record = json.loads((tmp_path / "results" / "video.json").read_text())
    assert [row["timing"]["runs"] for row in record["rows"]] == [7, 7]
    assert {(row["height"], row["width"]) for row in record["rows"]} == {(32, 64)}
    assert "clip.mp4" in record["rule"] and record["rule"].startswith("quick")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(("nowhere.mp4",), "nowhere.mp4", id="clip"),
        pytest.param(("--size", "32,64"), "a video has one size", id="sizes"),
        pytest.param(("--frames", "1"), "--frames is 1; it must be at least 2", id="frames"),
    ],
)
def test_video_mistakes_get_a_sentence(
    bundle: Bundle, options: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    assert bench("video", bundle.path, *options) == 2
    assert sentence in capsys.readouterr().err


def test_memory_growth_is_counted_from_the_settled_frame() -> None:
    one = video._Pass()
    one.memory_mib = [0.0] * 49 + [100.0] * 50 + [104.0, 102.0]
    assert one.growth_mib() == 4.0


def test_bench_without_torch_times_what_is_left(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    assert main(["export", str(bundle.path), "--format", "openvino", "--no-verify"]) == 0
    words = ["bench", str(bundle.path), "--size", "32", "--quick", "-o", str(tmp_path / "results")]
    code = (
        "import sys\n"
        "for name in ('torch', 'skimage', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "from i2i_rt.cli import main\n"
        "if __name__ == '__main__':\n"
        f"    sys.exit(main({words}))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert "openvino fp32" in result.stdout and "not compared with PyTorch float32" in result.stdout
    assert "torch fp32, bf16" in result.stdout and "no plot: it needs" in result.stderr
