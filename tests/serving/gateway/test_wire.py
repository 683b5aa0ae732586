"""The reading of inference requests: everything but the tensors, and never what protobuf would not read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2i_rt.serving.gateway import wire
from i2i_rt.serving.gateway.refused import Refused
from tests.serving.gateway.front import infer_request


def test_tensors_are_measured_and_left_out() -> None:
    request = infer_request("m-styled", frames=np.zeros((1, 64, 64, 3), np.uint8), style=np.zeros((1, 8), np.float32))
    request.parameters["sequence_id"].int64_param = -1
    infer = wire.read(request.SerializeToString())
    assert infer.raw_sizes == (64 * 64 * 3, 32)
    del request.raw_input_contents[:]
    assert infer.head == request


def test_order_of_fields_does_not_matter() -> None:
    request = infer_request()
    raw = request.raw_input_contents.pop()
    head = request.SerializeToString()
    tensor = b"\x3a" + b"\xc0\x01" + raw
    assert wire.read(tensor + head) == wire.read(head + tensor) == wire.Infer(request, (192,))


def test_truncated_requests_are_refused_or_have_no_less_than_their_head() -> None:
    data = infer_request().SerializeToString()
    for length in range(len(data)):
        try:
            infer = wire.read(data[:length])
        except Refused as refused:
            assert refused.code == "INVALID_ARGUMENT"
        else:
            assert sum(infer.raw_sizes) < 192


@given(st.binary(max_size=200))
def test_random_bytes_pass_only_where_protobuf_reads_them(data: bytes) -> None:
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    try:
        infer = wire.read(data)
    except Refused:
        return
    whole = ModelInferRequest.FromString(data)
    assert tuple(map(len, whole.raw_input_contents)) == infer.raw_sizes
    del whole.raw_input_contents[:]
    assert whole == infer.head


def test_number_without_an_end_is_refused() -> None:
    with pytest.raises(Refused):
        wire.read(b"\x3a" + b"\xff" * 12)
