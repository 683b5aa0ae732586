import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.errors import UnsupportedError
from i2i_rt.serving.deploy import natives
from tests.serving.deploy.conftest import record


def test_a_gpu_gets_the_engine_and_without_one_the_onnx_graph(copied: Bundle) -> None:
    found = natives.choose(copied, "gpu", "auto", "auto")
    assert found is not None and (found[0].name, found[1]) == ("tensorrt", "fp32")
    for file in (copied.path / "artifacts" / "tensorrt").iterdir():
        file.unlink()
    found = natives.choose(copied, "gpu", "auto", "auto")
    assert found is not None and found[0].name == "onnxruntime-cuda"


def test_a_cpu_gets_python_models_unless_a_backend_is_named(tiny: Bundle) -> None:
    assert natives.choose(tiny, "cpu", "auto", "auto") is None
    found = natives.choose(tiny, "cpu", "onnxruntime-openvino", "auto")
    assert found is not None and found[0].format == "onnx"


def test_what_failed_its_gate_is_not_taken(copied: Bundle) -> None:
    record(copied, passed=False)
    with pytest.raises(UnsupportedError, match="no onnx artifact that passed its gate"):
        natives.choose(copied, "gpu", "onnxruntime-cuda", "auto")


@pytest.mark.parametrize(
    ("device", "backend", "sentence"),
    [
        ("cpu", "tensorrt", "is not for a cpu; use onnxruntime-openvino, onnxruntime, python"),
        ("gpu", "onnxruntime", "is not for a gpu"),
        ("gpu", "tensortr", "did you mean 'tensorrt'"),
        ("gpu", "python", "compute on a CPU"),
    ],
)
def test_backend_of_another_device_is_a_sentence(
    tiny: Bundle, device: natives.Device, backend: str, sentence: str
) -> None:
    with pytest.raises(UnsupportedError, match=sentence):
        natives.choose(tiny, device, backend, "auto")


def test_missing_precision_says_how_to_get_it(tiny: Bundle) -> None:
    with pytest.raises(UnsupportedError, match=r"no onnx artifact in fp16 .*run 'i2i-rt export"):
        natives.choose(tiny, "gpu", "onnxruntime-cuda", "fp16")


def test_artifact_of_other_weights_is_refused(copied: Bundle) -> None:
    with (copied.path / "weights.safetensors").open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(UnsupportedError, match="from its weights"):
        natives.artifact_of(copied, natives.NATIVES["tensorrt"], "fp32", "translate")
