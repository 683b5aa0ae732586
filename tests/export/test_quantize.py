"""`i2i-rt export --precision int8`: 8 bits in OpenVINO and ONNX Runtime, judged by pictures that were held out."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from skimage import data

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.export import qdq
from i2i_rt.runtime import backends
from i2i_rt.testing import tiny_bundle
from i2i_rt.translator import Translator

pytest.importorskip("nncf")

REACHED, OUT_OF_REACH = "20", "90"  # dB; 8 bits of drawn weights give about 30


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures that the verification does not use."""
    folder = tmp_path_factory.mktemp("photographs")
    for name, picture in (
        ("rocket", data.rocket()),
        ("retina", data.retina()),
        ("tissue", data.immunohistochemistry()),
    ):
        cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(picture[:400, :400], cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Bundle:
    """A bundle with every artifact in 8 bits, verified."""
    bundle = tiny_bundle(tmp_path_factory.mktemp("quantized") / "bundle")
    options = ["--calibrate", str(photographs), "--min-psnr", REACHED]
    assert main(["export", str(bundle.path), "--precision", "fp32,int8", *options]) == 0
    return bundle


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 37, 51)], ids=str)
def test_eight_bits_come_close_to_the_network_at_any_size(
    quantized: Bundle, backend: str, shape: tuple[int, int, int]
) -> None:
    frames = np.stack([cv2.resize(data.coffee(), shape[:0:-1], interpolation=cv2.INTER_AREA)] * shape[0])
    expected = Translator.load(quantized.path, backend="torch", precision="fp32")(frames).astype(float)
    actual = Translator.load(quantized.path, backend=backend, precision="int8")(frames)
    error = np.square(actual - expected).mean()
    assert 0 < error < 255**2 / 10 ** (float(REACHED) / 10)


def test_weights_of_every_convolution_are_in_eight_bits(quantized: Bundle) -> None:
    model = onnx.load(quantized.path / "artifacts/onnx/translate.int8.onnx")
    onnx.checker.check_model(model)
    levels = [tensor for tensor in model.graph.initializer if tensor.name.endswith("weight.levels")]
    assert len(levels) == sum(layer.operator == "Conv" for layer in qdq.layers(onnx.load(
        quantized.path / "artifacts/onnx/translate.fp32.onnx"
    )))  # fmt: skip
    assert all(tensor.data_type == onnx.TensorProto.INT8 for tensor in levels)
    text = (quantized.path / "artifacts/openvino/translate.int8.xml").read_text()
    assert text.count('element_type="i8"') >= len(levels)
    assert {entry.key: entry.value for entry in model.metadata_props}["i2i_rt.precision"] == "int8"


def test_artifact_remembers_how_it_came_about(quantized: Bundle) -> None:
    found = [artifact for artifact in Bundle.open(quantized.path).artifacts() if artifact.precision == "int8"]
    assert {artifact.format for artifact in found} == {"onnx", "openvino"}
    for artifact in found:
        assert artifact.quantization is not None
        assert len(artifact.quantization.pictures) == 3
        first = artifact.quantization.steps[0]
        assert first["kept"] == 0 and first["fidelity_db"] > float(REACHED) and first["median_ms"] > 0
    assert all("nncf" in artifact.versions for artifact in found if artifact.format == "openvino")


def test_below_the_gate_layers_are_kept_and_auto_looks_elsewhere(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    words = ["export", str(bundle.path), "--format", "openvino", "--precision", "int8", "--calibrate", str(photographs)]
    assert main([*words, "--min-psnr", OUT_OF_REACH]) == 1
    assert "is below the gate" in capsys.readouterr().out
    (artifact,) = (entry for entry in bundle.artifacts() if entry.stage == "translate")
    assert artifact.quantization is not None
    steps, kept = artifact.quantization.steps, artifact.quantization.kept
    assert len(steps) > 1 and len(kept) in [step["kept"] for step in steps[1:]]
    assert max(step["fidelity_db"] for step in steps) > steps[0]["fidelity_db"]
    assert artifact.quantization.kept and all(
        name.startswith("generator.layers.") for name in artifact.quantization.kept
    )
    assert backends.choose(bundle).backend.name == "torch"


def test_pictures_of_the_calibration_cannot_judge(
    quantized: Bundle, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    options = ["--precision", "int8", "--calibrate", str(photographs), "--images", str(photographs)]
    assert main(["export", str(bundle.path), *options]) == 2
    assert "3 of the pictures to verify on are among those of --calibrate" in capsys.readouterr().err
    assert not (bundle.path / "artifacts").exists()
    assert main(["verify", str(quantized.path), "--images", str(photographs)]) == 2
    assert "was calibrated on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int8"], "pass --calibrate FOLDER"),
        (["--precision", "fp32", "--calibrate", "photos"], "--calibrate belongs to --precision int8"),
        (["--precision", "int8", "--calibrate", "nowhere"], "there is no folder nowhere; --calibrate"),
    ],
)
def test_wrong_options_of_calibration_name_the_option_to_change(
    bundle: Bundle, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(bundle.path), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (bundle.path / "artifacts").exists()
