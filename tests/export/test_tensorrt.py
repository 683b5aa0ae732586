"""TensorRT engines from export to picture, on stand-ins for the library: no part of this has met the real one."""

from pathlib import Path

import numpy as np
import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.runtime import backends
from i2i_rt.testing import tiny_bundle
from i2i_rt.translator import Translator
from tests import gpu_stand_ins
from tests.gpu_stand_ins import engines

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 68, 100, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with an L4 and TensorRT 11.4."""
    gpu_stand_ins.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    engines.builds.clear()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "bundle")


def export(bundle: Bundle, *options: str) -> int:
    return main(["export", str(bundle.path), "--format", "tensorrt", "--no-verify", *options])


@pytest.mark.parametrize(("precision", "levels"), [("fp32", 1), ("fp16", 3), ("bf16", 12)])
def test_engine_gives_the_networks_pictures(bundle: Bundle, precision: str, levels: int) -> None:
    assert export(bundle, "--precision", precision) == 0
    expected = Translator.load(bundle.path, backend="torch", precision="fp32")(FRAMES)
    with Translator.load(bundle.path, backend="tensorrt", precision=precision) as translator:
        actual = translator(FRAMES)
        assert translator.session.device == "NVIDIA L4"
    assert actual.dtype == np.uint8 and np.abs(actual.astype(int) - expected).max() <= levels


def test_export_verifies_engines_and_auto_takes_them(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(bundle.path), "--format", "tensorrt"]) == 0
    record = next(entry for entry in bundle.verification() if entry["stage"] == "translate")
    assert record["backend"] == "tensorrt" and record["passed"] and record["psnr_db"] > 60
    assert {(case["height"], case["width"]) for case in record["cases"]} == {(256, 256), (203, 251), (192, 320)}
    assert backends.choose(bundle).backend.name == "tensorrt"
    assert "auto: tensorrt fp32" in capsys.readouterr().out
