"""The gateway's HTTP interface in front of a stand-in of the server: KServe's protocol, files, malformed requests."""

import asyncio
import gzip
import io
import json
from typing import Any

import numpy as np
import pytest

from i2i_rt.errors import I2IError
from i2i_rt.serving import health
from i2i_rt.serving.gateway import http
from i2i_rt.serving.gateway.refused import Refused
from tests.serving.gateway.front import KEY, LIMITS, Front, front

FRAMES = np.arange(192, dtype=np.uint8)
INFER = "/v2/models/m-translate/infer"
LENGTH = "Inference-Header-Content-Length"


def run(test: Any, **options: Any) -> None:
    """Runs an asynchronous test with a gateway and a client's session."""
    import aiohttp

    async def whole() -> None:
        async with front(**options) as gateway, aiohttp.ClientSession(gateway.http) as session:
            await test(gateway, session)

    asyncio.run(whole())


def described(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "frames", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": FRAMES.tolist()}
    return {"id": "seven", "inputs": [tensor | changes]}


def binary(content: dict[str, Any], *tensors: bytes, length: str | None = None) -> dict[str, Any]:
    head = json.dumps(content).encode()
    return {"data": b"".join([head, *tensors]), "headers": {LENGTH: length or str(len(head))}}


def binary_frames(**changes: Any) -> dict[str, Any]:
    content = described(parameters={"binary_data_size": 192}, **changes)
    del content["inputs"][0]["data"]
    return content


async def error_of(call: Any) -> tuple[int, str]:
    async with call as answer:
        return answer.status, (await answer.json())["error"]


def test_tensors_as_json() -> None:
    async def test(gateway: Front, session: Any) -> None:
        nested = described(data=FRAMES.reshape(1, 8, 8, 3).tolist())
        for content in (described(), nested):
            async with session.post(INFER, json=content) as answer:
                result = await answer.json()
            assert (answer.status, result["id"], result["model_name"]) == (200, "seven", "m-translate")
            assert result["outputs"] == [
                {"name": "translated", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": (255 - FRAMES).tolist()}
            ]

    run(test)


def test_tensors_as_bytes() -> None:
    async def test(gateway: Front, session: Any) -> None:
        content = binary_frames() | {"parameters": {"binary_data_output": True}}
        async with session.post(INFER, **binary(content, FRAMES.tobytes())) as answer:
            body, length = await answer.read(), int(answer.headers[LENGTH])
        result = json.loads(body[:length])
        assert result["outputs"][0]["parameters"] == {"binary_data_size": 192}
        np.testing.assert_array_equal(np.frombuffer(body[length:], np.uint8), 255 - FRAMES)

    run(test)


def test_parameters_reach_the_server() -> None:
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    from i2i_rt.serving.gateway.json_form import infer_request

    given = {"sequence_id": 7, "sequence_start": True, "priority": 2.5, "why": "so", "binary_data_output": True}
    outputs = [{"name": "translated", "parameters": {"binary_data": True}}]
    content = described() | {"parameters": given, "outputs": outputs}
    request: ModelInferRequest = infer_request("m-translate", "1", content, memoryview(b""))
    parameters = {name: value.WhichOneof("parameter_choice") for name, value in request.parameters.items()}
    assert parameters == {
        "sequence_id": "int64_param",
        "sequence_start": "bool_param",
        "priority": "double_param",
        "why": "string_param",
    }
    assert [output.name for output in request.outputs] == ["translated"] and not request.outputs[0].parameters


def test_file_goes_in_and_a_file_comes_out() -> None:
    async def test(gateway: Front, session: Any) -> None:
        path = "/v2/models/m-image/infer"
        file = b"\x00\x27\x00" + b"x" * 100  # the stand-in's answer begins as a JPEG does
        as_curl_does = {"Content-Type": "application/x-www-form-urlencoded"}
        async with session.post(path, data=file, headers=as_curl_does) as answer:
            body = await answer.read()
        assert answer.content_type == "image/jpeg"
        assert body == bytes(255 - value for value in file)
        async with session.post(path, data=file, headers={LENGTH: "0"}) as answer:
            whole, length = await answer.read(), int(answer.headers[LENGTH])
        assert json.loads(whole[:length])["outputs"][0]["name"] == "translated" and whole[length:] == body
        status, words = await error_of(session.post(path, data=bytes(LIMITS.file_bytes + 1)))
        assert status == 400 and "bytes" in words

    run(test)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"data": b"no JSON"}, "is no JSON", id="text"),
        pytest.param({"data": b"[" * 100_000}, "is no JSON", id="deep"),
        pytest.param({"data": b"[1]"}, "no JSON object", id="list"),
        pytest.param({"data": b"\xff\xfe"}, "is no JSON", id="bytes"),
        pytest.param({"data": b""}, "is no JSON", id="empty"),
        pytest.param({"json": {}}, "KServe's protocol", id="nothing"),
        pytest.param({"json": {"inputs": 7}}, "KServe's protocol", id="inputs"),
        pytest.param({"json": {"inputs": [7]}}, "KServe's protocol", id="input"),
        pytest.param({"json": described(shape="8x8")}, "KServe's protocol", id="shape-words"),
        pytest.param({"json": described(shape=[2**70, 8, 8, 3])}, "KServe's protocol", id="shape-beyond-64-bits"),
        pytest.param({"json": described(shape=[1, 2**32, 2**32, 3])}, "sides of 1 to", id="overflow"),
        pytest.param({"json": described(datatype="FP99")}, "KServe's protocol", id="datatype"),
        pytest.param({"json": described(data=["a", "b"])}, "KServe's protocol", id="words"),
        pytest.param({"json": described(data=[[1, 2], [3]])}, "KServe's protocol", id="ragged"),
        pytest.param({"json": described(data=[300] * 192)}, "KServe's protocol", id="beyond-uint8"),
        pytest.param({"json": described(data=[1] * 191)}, "has 191 bytes", id="count"),
        pytest.param({"json": described(data=[0.5] * 192)}, "not of uint8", id="fractions"),
        pytest.param({"json": described(data=[-1] * 192)}, "KServe's protocol", id="negative"),
        pytest.param({"json": described(parameters=7)}, "KServe's protocol", id="parameters"),
        pytest.param(binary(binary_frames(), b"1" * 191), "of which 191 came", id="too-few-bytes"),
        pytest.param(binary(binary_frames(), b"1" * 193), "belong to no input", id="too-many-bytes"),
        pytest.param(binary(described(parameters={"binary_data_size": -1}), b""), "has -1 bytes", id="negative-size"),
        pytest.param(binary(binary_frames(), b"1" * 192, length="99999"), LENGTH, id="length-beyond"),
        pytest.param(binary(binary_frames(), b"1" * 192, length="-5"), LENGTH, id="length-negative"),
        pytest.param(binary(binary_frames(), b"1" * 192, length="1e30"), LENGTH, id="length-float"),
        pytest.param(binary(binary_frames(), b"1" * 192, length="0"), "only input", id="a-file-for-frames"),
    ],
)
def test_malformed_requests_are_the_clients_fault(body: dict[str, Any], words: str) -> None:
    async def test(gateway: Front, session: Any) -> None:
        status, said = await error_of(session.post(INFER, **body))
        assert status == 400 and words in said and len(said) < 500
        assert gateway.server.calls == []

    run(test)


def test_compressed_and_large_bodies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(gateway: Front, session: Any) -> None:
        bomb = gzip.compress(bytes(10_000_000))
        status, words = await error_of(session.post(INFER, data=bomb, headers={"Content-Encoding": "gzip"}))
        assert status == 501 and "compressed" in words
        assert (await error_of(session.post(INFER, data=bytes(5000))))[0] == 413
        monkeypatch.setattr(http, "LARGEST_JSON", 2**24)
        largest = max(gateway.gate.largest_message, 2**24)
        body = io.BytesIO(bytes(largest + 1))
        assert (await error_of(session.post(INFER, data=body, headers={LENGTH: "10"})))[0] == 413

    monkeypatch.setattr(http, "LARGEST_JSON", 4096)
    run(test)


def test_body_and_request_that_do_not_come_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_S", 0.3)
    monkeypatch.setattr(http, "IDLE_S", 0.5)

    async def test(gateway: Front, session: Any) -> None:
        host, port = gateway.http.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf".encode())
        assert b"504" in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /v2/models/m-trans")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()

    run(test)


@pytest.mark.parametrize(
    "line", ["GARBAGE", "GET /v2 HTTP/9.9", "GET  HTTP/1.1", "POST /v2 HTTP/1.1\r\nTransfer-Encoding: nonsense", "\x00"]
)
def test_garbage_is_answered_or_the_connection_closed(line: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test(gateway: Front, session: Any) -> None:
        host, port = gateway.http.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 200"))
        writer.close()
        async with session.get("/v2/health/ready") as good:
            assert good.status == 200
        assert not caplog.records  # a log could be filled that way

    run(test)


def test_client_that_goes_cancels_its_request() -> None:
    async def test(gateway: Front, session: Any) -> None:
        gateway.server.seconds = 5.0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await session.post(INFER, json=described())
        for _ in range(100):
            if gateway.server.cancelled:
                break
            await asyncio.sleep(0.02)
        assert gateway.server.cancelled == 1 and gateway.gate.in_flight == 0

    run(test)


def test_codes_become_statuses_with_a_hint() -> None:
    async def test(gateway: Front, session: Any) -> None:
        for code, status in (("NOT_FOUND", 404), ("UNAVAILABLE", 503), ("INTERNAL", 500), ("DEADLINE_EXCEEDED", 504)):
            gateway.server.failure = Refused(code, "so it is", retry_after_s=2.0)
            async with session.post(INFER, json=described()) as answer:
                assert (answer.status, await answer.json()) == (status, {"error": "so it is"})
                assert answer.headers["Retry-After"] == "2"
        assert (await error_of(session.post("/v2/models/other/infer", json=described())))[0] == 404

    run(test)


def test_health_says_what_the_canaries_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(gateway: Front, session: Any) -> None:
        async def statuses() -> list[int]:
            paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/m-image/ready", "/v2/models/m-translate/ready")
            return [(await session.get(path)).status for path in paths]

        assert await statuses() == [200, 200, 200, 200]
        gateway.health.models["m-translate"].bad("gone")
        assert await statuses() == [200, 503, 200, 503]
        gateway.health.went_down()
        assert await statuses() == [200, 503, 503, 503]
        monkeypatch.setattr(health, "HOPELESS_S", 0.0)
        assert await statuses() == [503, 503, 503, 503]
        gateway.health.went_up()
        assert await statuses() == [200, 503, 200, 503]

    run(test)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/models/m-image/load"),
        ("POST", "/v2/repository/models/m-image/unload"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/systemsharedmemory/region/mine/register"),
        ("POST", "/v2/systemsharedmemory/region/mine/unregister"),
    ],
)
def test_closed_calls_need_the_key(method: str, path: str) -> None:
    async def test(gateway: Front, session: Any) -> None:
        body = {"key": "/mine", "byte_size": 4}
        assert (await session.request(method, path, json=body)).status == 403
        assert (await session.request(method, path, json=body, headers={"i2i-rt-key": "wrong"})).status == 403
        assert gateway.server.calls == []
        assert (await session.request(method, path, json=body, headers={"i2i-rt-key": KEY})).status == 200
        assert len(gateway.server.calls) == 1

    run(test)


def test_tracing_and_logging_are_not_there() -> None:
    async def test(gateway: Front, session: Any) -> None:
        for path in ("/v2/trace/setting", "/v2/logging", "/v2/cudasharedmemory/status"):
            assert (await session.get(path, headers={"i2i-rt-key": KEY})).status == 404

    run(test)


def test_port_in_use_is_a_sentence() -> None:
    async def test(gateway: Front, session: Any) -> None:
        upstream: Any = gateway.server
        second = http.HttpInterface(gateway.gate, upstream, gateway.health, gateway.versions)
        with pytest.raises(I2IError, match="in use or cannot be opened; choose one with --http"):
            await second.start("127.0.0.1", int(gateway.http.rpartition(":")[2]), None)

    run(test)


def test_metrics_count_what_happens() -> None:
    async def test(gateway: Front, session: Any) -> None:
        import aiohttp

        await session.post(INFER, data=b"no JSON")
        gateway.health.models["m-image"].bad("gone")
        gateway.health.restarts = 3
        async with aiohttp.ClientSession() as other, other.get(gateway.metrics) as answer:
            lines = (await answer.text()).splitlines()
        assert answer.content_type == "text/plain"
        for line in (
            "i2i_rt_up 1",
            "i2i_rt_ready 0",
            "i2i_rt_restarts_total 3",
            'i2i_rt_refused_total{code="INVALID_ARGUMENT"} 1',
            'i2i_rt_model_ready{model="m-image"} 0',
            'i2i_rt_model_ready{model="m-translate"} 1',
        ):
            assert line in lines
        for line in lines:
            assert line.startswith(("# HELP i2i_rt_", "# TYPE i2i_rt_")) or len(line.split()) == 2

    run(test)
