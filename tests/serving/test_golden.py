"""Canaries: right answers pass, wrong pixels do not, and every kind of model has one."""

from typing import Any

import numpy as np
import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.errors import BundleError
from i2i_rt.export import golden
from i2i_rt.serving.golden import Canary, canary_of, difference
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.served import Kind, ServedModel


def model(bundle: Bundle, kind: Kind = "stage", precision: str = "fp32") -> ServedModel:
    spec = bundle.stages["translate"]
    return ServedModel("m-translate", kind, "m", bundle.system, bundle.weights_sha256(), precision, spec, Limits())


def canary(bundle: Bundle, kind: Kind = "stage") -> Canary:
    found = canary_of(model(bundle, kind), bundle)
    assert found is not None
    return found


def answer(**outputs: np.ndarray) -> Any:
    from tritonclient.grpc.service_pb2 import ModelInferResponse

    response = ModelInferResponse()
    for name, array in outputs.items():
        response.outputs.add(name=name, datatype="UINT8", shape=array.shape)
        response.raw_output_contents.append(array.tobytes())
    return response


def test_right_answer_passes(bundle: Bundle) -> None:
    golden.record(bundle)
    one = canary(bundle)
    request = one.request()
    assert [tensor.name for tensor in request.inputs] == ["frames"]
    assert one.problem(answer(translated=one.outputs["translated"])) is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda right: np.full_like(right, right.flat[0]), "levels from PyTorch's", id="constant"),
        pytest.param(lambda right: right[:, ::-1], "levels from PyTorch's", id="upside-down"),
        pytest.param(lambda right: right[..., ::-1], "levels from PyTorch's", id="BGR"),
        pytest.param(lambda right: right[:, :32], "shape [1, 32, 64, 3]", id="half"),
    ],
)
def test_wrong_pixels_do_not_pass(bundle: Bundle, spoil: Any, words: str) -> None:
    golden.record(bundle)
    one = canary(bundle)
    problem = one.problem(answer(translated=np.ascontiguousarray(spoil(one.outputs["translated"]))))
    assert problem is not None and words in problem


def test_missing_output_does_not_pass(bundle: Bundle) -> None:
    golden.record(bundle)
    assert canary(bundle).problem(answer(other=np.zeros(3, np.uint8))) == "the answer has no translated"


def test_stream_is_a_sequence_of_one_frame(bundle: Bundle) -> None:
    golden.record(bundle)
    one = canary(bundle, "stream")
    request = one.request()
    assert request.parameters["sequence_start"].bool_param and request.parameters["sequence_end"].bool_param
    assert list(request.inputs[0].shape) == [64, 64, 3]
    assert one.problem(answer(translated=one.outputs["translated"])) is None


def test_image_is_judged_by_its_pixels(bundle: Bundle) -> None:
    from i2i_rt.serving.golden import _encoded

    golden.record(bundle)
    one = canary(bundle, "image")
    right = one.outputs["translated"]
    assert one.problem(answer(translated=np.frombuffer(_encoded(right), np.uint8))) is None
    assert one.problem(answer(translated=np.frombuffer(_encoded(255 - right), np.uint8))) is not None
    assert one.problem(answer(translated=np.zeros(10, np.uint8))) is not None


def test_bundle_without_cases_is_a_sentence(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"i2i-rt export .* again"):
        canary_of(model(bundle), bundle)


def test_difference_depends_on_the_precision() -> None:
    wanted = np.linspace(0, 255, 64 * 64 * 3).astype(np.uint8).reshape(64, 64, 3)
    near = np.clip(wanted.astype(int) + np.arange(64 * 64 * 3).reshape(wanted.shape) % 4, 0, 255).astype(np.uint8)
    assert difference(wanted, near, "fp32") == "a pixel is 3 levels from PyTorch's"
    assert difference(wanted, near, "fp16") is None
    codes = np.linspace(-1, 1, 8, dtype=np.float32)
    assert difference(codes, codes + 0.01, "fp16") is None
    assert difference(codes, codes + 0.01, "fp32") == "an error of 0.01, the gate is 0.001"
    assert difference(codes, codes * np.nan, "fp16") == "it has values that are NaN or infinite"
    classes = np.arange(100, dtype=np.int64).reshape(10, 10)
    assert difference(classes, np.where(classes < 50, classes, 0), "fp16") == "an error of 0.5, the gate is 0.02"
