"""Prepared requests against a server of KServe's protocol in this process: right, wrong and refused answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")
pytest.importorskip("aiohttp", reason="needs aiohttp")

import grpc
from aiohttp import web

from i2i_rt.benchmarks.serving.wire import GrpcWire, HttpWire, agrees, infer_request

FRAMES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


class Inverter(grpc.GenericRpcHandler):
    """Answers `ModelInfer` with the inverted frames; of other models with NOT_FOUND."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.unary_unary_rpc_method_handler(self._answer) if details.method.endswith("/ModelInfer") else None

    async def _answer(self, message: bytes, context: "grpc.aio.ServicerContext") -> bytes:
        from tritonclient.grpc import service_pb2

        request = service_pb2.ModelInferRequest.FromString(message)
        if request.model_name != "inverter":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        response = service_pb2.ModelInferResponse(model_name="inverter")
        response.outputs.add(name="translated", datatype="UINT8", shape=request.inputs[0].shape)
        frames = np.frombuffer(request.raw_input_contents[0], np.uint8)
        response.raw_output_contents.append((255 - frames).tobytes())
        return bytes(response.SerializeToString())


@asynccontextmanager
async def grpc_server() -> AsyncIterator[str]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Inverter(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def http_server() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        if request.match_info["model"] != "inverter":
            return web.Response(status=404)
        body = await request.read()
        frames = np.frombuffer(body[int(request.headers["Inference-Header-Content-Length"]) :], np.uint8)
        shape = '"shape":[2,4,4,3],"parameters":{"binary_data_size":96}'
        head = f'{{"outputs":[{{"name":"translated","datatype":"UINT8",{shape}}}]}}'.encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        return web.Response(body=head + (255 - frames).tobytes(), headers=headers)

    app = web.Application()
    app.router.add_post("/v2/models/{model}/infer", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("server", "wire"), [(grpc_server, GrpcWire), (http_server, HttpWire)], ids=["grpc", "http"])
def test_answers_are_judged(server: "type[grpc_server]", wire: type[GrpcWire] | type[HttpWire]) -> None:
    async def codes() -> list[str]:
        async with server() as address, wire(address) as way:
            return [
                await (await way.call(model, {"frames": FRAMES}, {name: expected}))()
                for model, name, expected in (
                    ("inverter", "translated", 255 - FRAMES),
                    ("inverter", "translated", (255 - FRAMES) // 2),
                    ("inverter", "translated", 255 - FRAMES[:1]),
                    ("inverter", "other", 255 - FRAMES),
                    ("nobody", "translated", 255 - FRAMES),
                )
            ]

    assert asyncio.run(codes()) == ["OK", "WRONG", "WRONG", "WRONG", "NOT_FOUND"]


@pytest.mark.parametrize("wire", [GrpcWire, HttpWire])
def test_no_server_is_unavailable(wire: type[GrpcWire] | type[HttpWire]) -> None:
    async def code() -> str:
        async with wire("127.0.0.1:9") as way:
            return await (await way.call("inverter", {"frames": FRAMES}, {}))()

    assert asyncio.run(code()) == "UNAVAILABLE"


def test_rounding_agrees_and_nothing_else() -> None:
    assert agrees(FRAMES, FRAMES) and agrees(FRAMES, np.minimum(FRAMES + 1, 255).astype(np.uint8))
    assert not agrees(FRAMES, FRAMES + 2) and not agrees(FRAMES, FRAMES.astype(np.float32))
    ones = np.ones((2, 2), np.float32)
    assert agrees(ones, ones + 5e-4) and not agrees(ones, ones + 0.01)


def test_a_request_carries_names_types_shapes_and_values() -> None:
    request = infer_request("m", {"a": FRAMES, "b": np.zeros((1, 2), np.float32), "c": np.array([7])})
    assert [(entry.name, entry.datatype, list(entry.shape)) for entry in request.inputs] == [
        ("a", "UINT8", [2, 4, 4, 3]), ("b", "FP32", [1, 2]), ("c", "INT64", [1]),
    ]  # fmt: skip
    assert [len(content) for content in request.raw_input_contents] == [96, 8, 8]
