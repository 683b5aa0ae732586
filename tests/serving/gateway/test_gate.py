"""What passes the gate, and with which code the rest is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from i2i_rt.serving.gateway import wire
from i2i_rt.serving.gateway.gate import Gate, largest_bytes
from i2i_rt.serving.gateway.refused import Refused
from i2i_rt.serving.health import Health
from tests.serving.gateway.front import KEY, LIMITS, MODELS, infer_request


@pytest.fixture
def gate() -> Gate:
    health = Health.of(model.name for model in MODELS)
    health.is_up = True
    for model in health.models.values():
        model.good()
    return Gate(MODELS, health, KEY, max_in_flight=2)


def check(gate: Gate, request: Any, key: str | None = None) -> str:
    return gate.check(wire.read(request.SerializeToString()), key).name


def test_right_requests_pass(gate: Gate) -> None:
    assert check(gate, infer_request()) == "m-translate"
    frames, style = np.zeros((4, 64, 128, 3), np.uint8), np.zeros((4, 8), np.float32)
    assert check(gate, infer_request("m-styled", frames=frames, style=style)) == "m-styled"
    assert check(gate, infer_request("m-image", image=np.zeros(1000, np.uint8))) == "m-image"


def shaped(*shape: int) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        request.inputs[0].shape[:] = shape

    return change


def second_input(request: Any) -> None:
    request.inputs.append(request.inputs[0])


def without_bytes(request: Any) -> None:
    request.raw_input_contents[0] = b""


def another_tensor(request: Any) -> None:
    request.raw_input_contents.append(b"1234")


def strings(request: Any) -> None:
    request.inputs[0].datatype = "BYTES"


def renamed(request: Any) -> None:
    request.inputs[0].name = "pictures"


def floats(request: Any) -> None:
    request.inputs[0].datatype = "FP32"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(shaped(1, 8, 8), "it must be", id="rank"),
        pytest.param(shaped(1, 8, 8, 4), "it must be", id="channels"),
        pytest.param(shaped(0, 8, 8, 3), "it must be", id="zero"),
        pytest.param(shaped(1, -8, -8, 3), "it must be", id="negative"),
        pytest.param(shaped(5, 8, 8, 3), "a batch of 5", id="batch"),
        pytest.param(shaped(1, 10, 8, 3), "a multiple of 4", id="multiple"),
        pytest.param(shaped(1, 260, 8, 3), "sides of 1 to 256", id="side"),
        pytest.param(shaped(1, 256, 256, 3), "up to 24576 pixels", id="pixels"),
        pytest.param(shaped(1, 2**32, 2**32, 3), "sides of 1 to 256", id="overflow"),
        pytest.param(shaped(2**62, 8, 8, 3), "a batch of", id="overflow-of-the-batch"),
        pytest.param(shaped(1, 8, 12, 3), "has 192 bytes; UINT8 [1, 8, 12, 3] has 288", id="bytes"),
        pytest.param(floats, "has 192 bytes; FP32 [1, 8, 8, 3] has 768", id="dtype"),
        pytest.param(second_input, "two inputs 'frames'", id="twice"),
        pytest.param(without_bytes, "has 0 bytes", id="no-bytes"),
        pytest.param(another_tensor, "more tensors than inputs", id="tensors"),
        pytest.param(strings, "the datatype 'BYTES'", id="strings"),
        pytest.param(renamed, "there is no input 'pictures'", id="name"),
    ],
)
def test_wrong_requests_are_invalid(gate: Gate, change: Callable[[Any], None], words: str) -> None:
    request = infer_request()
    change(request)
    with pytest.raises(Refused) as caught:
        check(gate, request)
    assert caught.value.code == "INVALID_ARGUMENT" and words in str(caught.value)


def test_file_that_is_too_large_is_invalid(gate: Gate) -> None:
    with pytest.raises(Refused, match="bytes"):
        check(gate, infer_request("m-image", image=np.zeros(LIMITS.file_bytes + 1, np.uint8)))


def test_unknown_model_is_not_found(gate: Gate) -> None:
    with pytest.raises(Refused, match="did you mean 'm-translate'") as caught:
        check(gate, infer_request("m-translat"))
    assert caught.value.code == "NOT_FOUND"


@pytest.mark.parametrize("place", ["inputs", "outputs"])
def test_shared_memory_needs_the_key(gate: Gate, place: str) -> None:
    request = infer_request()
    tensor = request.inputs[0] if place == "inputs" else request.outputs.add(name="translated")
    tensor.parameters["shared_memory_region"].string_param = "region"
    if place == "inputs":
        del request.raw_input_contents[:]
    for key in (None, "wrong", KEY[:-1]):
        with pytest.raises(Refused) as caught:
            check(gate, request, key)
        assert caught.value.code == "PERMISSION_DENIED"
    assert check(gate, request, KEY) == "m-translate"


def test_model_that_is_not_good_is_unavailable(gate: Gate) -> None:
    health = gate._health
    health.models["m-translate"].bad("its pixels are wrong")
    with pytest.raises(Refused, match="m-translate is not ready: its pixels are wrong") as caught:
        check(gate, infer_request())
    assert caught.value.code == "UNAVAILABLE" and caught.value.retry_after_s
    assert check(gate, infer_request("m-image", image=np.zeros(10, np.uint8))) == "m-image"
    assert not health.is_ready and health.is_model_ready("m-image")
    health.is_up = False
    with pytest.raises(Refused, match="the server restarts"):
        check(gate, infer_request("m-image", image=np.zeros(10, np.uint8)))
    health.is_up = health.is_draining = True
    with pytest.raises(Refused, match="the server is stopping"):
        check(gate, infer_request("m-image", image=np.zeros(10, np.uint8)))


def test_only_so_many_are_in_flight(gate: Gate) -> None:
    with gate.request("m-image"):
        with gate.request("m-translate"):
            with pytest.raises(Refused, match="2 requests are in flight") as caught, gate.request("m-image"):
                raise AssertionError("one too many was let in")
            assert caught.value.code == "UNAVAILABLE" and gate.in_flight == 2
        with gate.request("m-image"):
            assert gate.in_flight == 2
    assert gate.in_flight == 0


def test_answered_requests_are_signs_of_life_and_others_are_none(gate: Gate) -> None:
    health = gate._health.models["m-image"]
    before = health.answered
    with pytest.raises(Refused, match="full"), gate.request("m-image"):
        raise Refused("UNAVAILABLE", "full")
    assert gate.in_flight == 0 and health.answered == before
    with gate.request("m-image"):
        pass
    assert health.answered > before


def test_largest_messages_are_those_of_the_limits() -> None:
    frames = LIMITS.batch * LIMITS.pixels * 3
    assert [largest_bytes(model) for model in MODELS] == [frames, frames + 4 * 8 * 4, LIMITS.file_bytes]
