"""The gateway's gRPC interface in front of a stand-in of the server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from i2i_rt.errors import I2IError
from i2i_rt.serving.gateway.refused import Refused
from i2i_rt.serving.gateway.rpc import CLOSED
from tests.serving.gateway.front import KEY, Front, front, infer_request


def run(test: Any, **options: Any) -> None:
    """Runs an asynchronous test with a gateway and a channel to it."""
    import grpc

    async def whole() -> None:
        async with front(**options) as gateway, grpc.aio.insecure_channel(gateway.grpc) as channel:
            await test(gateway, channel)

    asyncio.run(whole())


async def code_of(call: Any) -> tuple[str, str, dict[str, str]]:
    import grpc

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return error.code().name, error.details() or "", {key: str(value) for key, value in error.trailing_metadata()}


def test_inference_passes() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        answer = await gateway.stub(channel).ModelInfer(infer_request())
        assert answer.id == "seven"
        np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.uint8), 255 - np.arange(192))
        assert gateway.server.calls == ["ModelInfer"] and gateway.gate.in_flight == 0

    run(test)


def test_refusals_never_reach_the_server() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        stub = gateway.stub(channel)
        assert (await code_of(stub.ModelInfer(infer_request("other"))))[0] == "NOT_FOUND"
        code, words, _ = await code_of(stub.ModelInfer(infer_request("\N{SNOWMAN}" * 10_000)))
        assert code == "NOT_FOUND" and len(words) < 600  # what is quoted must fit into gRPC's metadata
        wrong = infer_request()
        wrong.inputs[0].shape[1] = 2**32
        assert (await code_of(stub.ModelInfer(wrong)))[0] == "INVALID_ARGUMENT"
        raw = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for data in (b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", infer_request().SerializeToString()[:-3]):
            assert (await code_of(raw(data)))[0] == "INVALID_ARGUMENT"
        for name in ("Other", "../ModelInfer"):
            method = channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
            assert (await code_of(method(b"")))[0] == "UNIMPLEMENTED"
        assert gateway.server.calls == [] and gateway.gate.refused == {"NOT_FOUND": 2, "INVALID_ARGUMENT": 4}

    run(test)


def test_message_beyond_the_largest_is_refused() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        raw = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        code, words, _ = await code_of(raw(bytes(gateway.gate.largest_message + 1)))
        assert code == "RESOURCE_EXHAUSTED" and "larger than max" in words

    run(test)


@pytest.mark.parametrize("method", sorted(CLOSED))
def test_closed_methods_need_the_key(method: str) -> None:
    async def test(gateway: Front, channel: Any) -> None:
        call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        for metadata in (None, (("i2i-rt-key", "wrong"),)):
            assert (await code_of(call(b"", metadata=metadata)))[0] == "PERMISSION_DENIED"
        assert gateway.server.calls == []
        await call(b"", metadata=(("i2i-rt-key", KEY),))
        assert gateway.server.calls == [method]

    run(test)


def test_servers_code_passes_with_its_words_and_a_hint() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        gateway.server.failure = Refused("UNAVAILABLE", "the server has gone", retry_after_s=2.0)
        code, words, trailing = await code_of(gateway.stub(channel).ModelInfer(infer_request()))
        assert (code, words, trailing["retry-after-ms"]) == ("UNAVAILABLE", "the server has gone", "2000")
        assert gateway.gate.in_flight == 0

    run(test)


def test_health_says_what_the_canaries_found() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        from tritonclient.grpc import service_pb2 as pb

        stub = gateway.stub(channel)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")

        async def state() -> tuple[bool, bool, bytes, bytes]:
            return (
                (await stub.ServerReady(pb.ServerReadyRequest())).ready,
                (await stub.ModelReady(pb.ModelReadyRequest(name="m-image"))).ready,
                await check(b""),
                await check(b"\x0a\x07m-image"),
            )

        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert await state() == (True, True, b"\x08\x01", b"\x08\x01")
        gateway.health.models["m-translate"].bad("gone")
        assert await state() == (False, True, b"\x08\x02", b"\x08\x01")
        gateway.health.is_draining = True
        assert await state() == (False, False, b"\x08\x02", b"\x08\x02")
        assert await check(b"\x0a\x05other") == b"\x08\x03"
        assert gateway.server.calls == []

    run(test)


def test_requests_beyond_those_in_flight_are_refused_at_once() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        gateway.server.seconds = 0.3
        calls = [gateway.stub(channel).ModelInfer(infer_request()) for _ in range(5)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        assert len(refused) == 3 and gateway.gate.refused == {"UNAVAILABLE": 3}
        assert gateway.gate.in_flight == 0

    run(test, max_in_flight=2)


def test_client_that_goes_cancels_its_request() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        gateway.server.seconds = 5.0
        call = gateway.stub(channel).ModelInfer(infer_request())
        await asyncio.sleep(0.2)
        call.cancel()
        for _ in range(100):
            if gateway.server.cancelled:
                break
            await asyncio.sleep(0.02)
        assert gateway.server.cancelled == 1 and gateway.gate.in_flight == 0

    run(test)


def test_stream_answers_refusals_in_the_stream() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        async def requests() -> AsyncIterator[Any]:
            yield infer_request()
            yield infer_request("other")
            yield infer_request()

        answers = [answer async for answer in gateway.stub(channel).ModelStreamInfer(requests())]
        errors = [answer for answer in answers if answer.error_message]
        assert len(answers) == 3 and len(errors) == 1
        assert "there is no model 'other'" in errors[0].error_message and errors[0].infer_response.id == "seven"
        assert gateway.server.calls == ["ModelInfer"] * 2

    run(test)


def test_stream_is_bounded_too_and_leaves_nothing_in_flight() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        gateway.server.seconds = 0.2
        all_sent = asyncio.Event()

        async def requests() -> AsyncIterator[Any]:
            for _ in range(5):
                yield infer_request()
            all_sent.set()
            await asyncio.sleep(5)

        call = gateway.stub(channel).ModelStreamInfer(requests())
        first = await call.read()
        assert not first.error_message
        await all_sent.wait()
        call.cancel()
        for _ in range(100):
            if not gateway.gate.in_flight:
                break
            await asyncio.sleep(0.02)
        assert gateway.gate.in_flight == 0

        async def one() -> AsyncIterator[Any]:
            yield infer_request()

        with gateway.gate.request("m-translate"), gateway.gate.request("m-image"):
            (answer,) = [answer async for answer in gateway.stub(channel).ModelStreamInfer(one())]
        assert "2 requests are in flight" in answer.error_message

    run(test, max_in_flight=2)


def test_stream_of_a_server_that_goes_ends_with_its_code() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        import grpc

        async def requests() -> AsyncIterator[Any]:
            yield infer_request()

        gateway.server.failure = Refused("UNAVAILABLE", "the server has gone")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [answer async for answer in gateway.stub(channel).ModelStreamInfer(requests())]
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

    run(test)


def test_port_in_use_is_a_sentence() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        from i2i_rt.serving.gateway.rpc import RpcInterface

        upstream: Any = gateway.server
        second = RpcInterface(gateway.gate, upstream, gateway.health, gateway.versions)
        with pytest.raises(I2IError, match="in use or cannot be opened; choose one with --grpc"):
            await second.start("127.0.0.1", int(gateway.grpc.rpartition(":")[2]), None)

    run(test)


def test_addresses_of_ipv6_are_taken() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        import socket

        from i2i_rt.serving.gateway.rpc import RpcInterface
        from tests.serving.conftest import free_ports

        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
        upstream: Any = gateway.server
        second = RpcInterface(gateway.gate, upstream, gateway.health, gateway.versions)
        await second.start("::1", free_ports(1)[0], None)
        await second.stop(0)

    run(test)


def test_compressed_messages_are_not_taken() -> None:
    async def test(gateway: Front, channel: Any) -> None:
        import grpc

        call = gateway.stub(channel).ModelInfer(infer_request(), compression=grpc.Compression.Gzip)
        assert (await code_of(call))[0] == "UNIMPLEMENTED"

    run(test)
