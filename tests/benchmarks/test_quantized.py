"""The benchmark of 8 bits, from training to the report, on a small network."""

import json
from pathlib import Path

import cv2
import pytest
from skimage import data

from i2i_rt.benchmarks import quantized

pytest.importorskip("nncf")


def test_trains_exports_and_compares_with_bfloat16(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("rocket", "retina", "immunohistochemistry"):
        picture = getattr(data, name)()[:300, :300]
        cv2.imwrite(str(photos / f"{name}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    small = ["--steps", "2", "--width", "4", "--blocks", "1"]
    words = ["--train", str(photos), *small, "--bundle", str(tmp_path / "bundle"), "--quick", "-o", str(tmp_path)]
    status = quantized.main(words)
    report = json.loads((tmp_path / "quantized.json").read_text())
    rows = {(row["name"], row["precision"]): row for row in report["rows"]}
    assert status == (1 if any(row["wrong"] for row in report["rows"]) else 0)
    assert {"fp32", "int8"} <= {precision for name, precision in rows if name == "openvino"}
    assert "fp32" in rows["openvino", "int8"]["ratios"] and "fp32" in rows["onnxruntime", "int8"]["ratios"]
    assert any(name.startswith("openvino, step 1") for name in report["figures"])


def test_without_photographs_says_what_to_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantized.main(["--bundle", str(tmp_path)]) == 2
    assert "--train FOLDER" in capsys.readouterr().err
