"""The gateway's HTTP interface: KServe's protocol, passed to the server over gRPC; and pictures in, pictures out.

    curl --data-binary @photo.jpg -o translated.jpg http://127.0.0.1:8000/v2/models/horse2zebra-image/infer

No HTTP of the server itself is used: it sees requests that are well formed, and notices a client that has gone.
"""

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from i2i_rt.errors import I2IError
from i2i_rt.serving import keys
from i2i_rt.serving.gateway import json_form, wire
from i2i_rt.serving.gateway.gate import Gate
from i2i_rt.serving.gateway.refused import Refused
from i2i_rt.serving.gateway.tls import Tls
from i2i_rt.serving.gateway.upstream import Upstream
from i2i_rt.serving.gateway.versions import Versions
from i2i_rt.serving.health import Health

BODY_S = 30.0  # for a request's body to arrive
IDLE_S = 75.0  # for a request to begin, on a connection that is open
LARGEST_JSON = 4 * 2**20  # bytes: while numbers are read as text, everybody else waits
HEADER_LENGTH = "Inference-Header-Content-Length"
PICTURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp"}

Handler = Callable[["HttpInterface", Any], Awaitable[Any]]


class HttpInterface:
    """Answers over HTTP as `RpcInterface` does over gRPC."""

    def __init__(self, gate: Gate, upstream: Upstream, health: Health, versions: Versions) -> None:
        self._gate, self._upstream, self._health, self._versions = gate, upstream, health, versions
        self._runner: Any = None

    async def start(self, host: str, port: int, tls: Tls | None) -> None:
        """Listens on a port.

        Raises:
            I2IError: where the port is taken.
        """
        from aiohttp import web

        app = web.Application(client_max_size=max(self._gate.largest_message, LARGEST_JSON))
        app.add_routes([web.route(*route) for route in self._routes()])
        self._runner = await listen(app, host, port, "--http", tls)

    async def stop(self, grace_s: float) -> None:
        """Takes no new requests, and lets those that are running end."""
        if self._runner is not None:
            await stop_listening(self._runner, grace_s)

    def _routes(self) -> list[tuple[str, str, Any]]:
        model = "/v2/models/{model}"
        region = "/v2/systemsharedmemory/region/{region}"
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/v2/health/live", HttpInterface._live),
            ("GET", "/v2/health/ready", HttpInterface._ready),
            ("GET", "/v2", HttpInterface._metadata),
            ("GET", "/v2/models/stats", HttpInterface._statistics),
            ("POST", "/v2/repository/index", HttpInterface._index),
            ("POST", "/v2/repository/models/{model}/load", HttpInterface._load),
            ("POST", "/v2/repository/models/{model}/unload", HttpInterface._unload),
            ("GET", "/v2/systemsharedmemory/status", HttpInterface._region_status),
            ("GET", f"{region}/status", HttpInterface._region_status),
            ("POST", f"{region}/register", HttpInterface._region_register),
            ("POST", f"{region}/unregister", HttpInterface._region_unregister),
            ("POST", "/v2/systemsharedmemory/unregister", HttpInterface._region_unregister),
        ]
        for path in (model, f"{model}/versions/{{version}}"):
            routes += [
                ("GET", path, HttpInterface._model_metadata),
                ("GET", f"{path}/ready", HttpInterface._model_ready),
                ("GET", f"{path}/config", HttpInterface._model_config),
                ("GET", f"{path}/stats", HttpInterface._statistics),
                ("POST", f"{path}/infer", HttpInterface._infer),
            ]
        return [(method, path, functools.partial(self._handled, handler)) for method, path, handler in routes]

    async def _handled(self, handler: Handler, request: Any) -> Any:
        from aiohttp import web

        try:
            if request.headers.get("Content-Encoding", "identity") != "identity":
                raise Refused("UNIMPLEMENTED", "compressed requests are not taken")
            return await handler(self, request)
        except Refused as refused:
            self._gate.count(refused)
            wait = refused.retry_after_s
            headers = {} if wait is None else {"Retry-After": str(max(1, round(wait)))}
            return web.json_response({"error": str(refused)}, status=refused.http_status, headers=headers)

    async def _live(self, request: Any) -> Any:
        return _status(self._health.is_live)

    async def _ready(self, request: Any) -> Any:
        return _status(self._health.is_ready)

    async def _model_ready(self, request: Any) -> Any:
        name = self._gate.find(request.match_info["model"]).name
        return _status(self._health.is_model_ready(name))

    async def _metadata(self, request: Any) -> Any:
        from tritonclient.grpc import service_pb2 as pb

        return await self._asked("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)

    async def _model_metadata(self, request: Any) -> Any:
        from tritonclient.grpc import service_pb2 as pb

        return await self._asked("ModelMetadata", pb.ModelMetadataRequest(**_named(request)), pb.ModelMetadataResponse)

    async def _model_config(self, request: Any) -> Any:
        from tritonclient.grpc import service_pb2 as pb

        question = pb.ModelConfigRequest(**_named(request))
        answer = pb.ModelConfigResponse.FromString(
            await self._upstream.call("ModelConfig", question.SerializeToString())
        )
        return _json(json_form.to_json(answer.config))

    async def _statistics(self, request: Any) -> Any:
        from tritonclient.grpc import service_pb2 as pb

        question = pb.ModelStatisticsRequest(**(_named(request) if "model" in request.match_info else {}))
        return await self._asked("ModelStatistics", question, pb.ModelStatisticsResponse)

    async def _index(self, request: Any) -> Any:
        from tritonclient.grpc import service_pb2 as pb

        question = pb.RepositoryIndexRequest(ready=bool((await self._body_json(request)).get("ready", False)))
        answer = pb.RepositoryIndexResponse.FromString(
            await self._upstream.call("RepositoryIndex", question.SerializeToString())
        )
        return _json([json_form.to_json(model) for model in answer.models])

    async def _load(self, request: Any) -> Any:
        from tritonclient.grpc import service_pb2 as pb

        self._require_key(request, "loading models")
        name = request.match_info["model"]
        await self._versions.load(name, pb.RepositoryModelLoadRequest(model_name=name).SerializeToString())
        return _json({})

    async def _unload(self, request: Any) -> Any:
        from tritonclient.grpc import service_pb2 as pb

        self._require_key(request, "unloading models")
        question = pb.RepositoryModelUnloadRequest(model_name=request.match_info["model"])
        return await self._asked("RepositoryModelUnload", question, pb.RepositoryModelUnloadResponse)

    async def _region_status(self, request: Any) -> Any:
        from tritonclient.grpc import service_pb2 as pb

        self._require_key(request, "shared memory")
        question = pb.SystemSharedMemoryStatusRequest(name=request.match_info.get("region", ""))
        answer = pb.SystemSharedMemoryStatusResponse.FromString(
            await self._upstream.call("SystemSharedMemoryStatus", question.SerializeToString())
        )
        return _json([json_form.to_json(region) for region in answer.regions.values()])

    async def _region_register(self, request: Any) -> Any:
        from tritonclient.grpc import service_pb2 as pb

        self._require_key(request, "shared memory")
        content = await self._body_json(request)
        try:
            question = pb.SystemSharedMemoryRegisterRequest(
                name=request.match_info["region"],
                key=content["key"],
                offset=content.get("offset", 0),
                byte_size=content["byte_size"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Refused("INVALID_ARGUMENT", f"a region has a key, an offset and a byte_size: {error}") from None
        return await self._asked("SystemSharedMemoryRegister", question, pb.SystemSharedMemoryRegisterResponse)

    async def _region_unregister(self, request: Any) -> Any:
        from tritonclient.grpc import service_pb2 as pb

        self._require_key(request, "shared memory")
        question = pb.SystemSharedMemoryUnregisterRequest(name=request.match_info.get("region", ""))
        return await self._asked("SystemSharedMemoryUnregister", question, pb.SystemSharedMemoryUnregisterResponse)

    async def _infer(self, request: Any) -> Any:
        from aiohttp import web

        name, version = request.match_info["model"], request.match_info.get("version", "")
        model = self._gate.find(name)
        header = request.headers.get(HEADER_LENGTH)
        plain = header is None and model.kind == "image" and "json" not in request.content_type
        body = await self._body(request, None if header is not None or plain else LARGEST_JSON)
        if plain or header == "0":
            content: dict[str, Any] = {"parameters": {json_form.BINARY_OUTPUTS: True}}
            question = _raw_request(model, version, body)
        else:
            length = _length(header, len(body))
            content = json_form.read_json(body[:length])
            question = json_form.infer_request(name, version, content, memoryview(body)[length:])
        answer = await self._answered(question, request)
        result, tensors = json_form.infer_answer(answer, content)
        if plain:
            return web.Response(body=tensors[0], content_type=_picture_type(tensors[0]))
        head = json.dumps(result).encode()
        if not tensors:
            return web.Response(body=head, content_type="application/json")
        headers = {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
        return web.Response(body=b"".join([head, *tensors]), headers=headers)

    async def _answered(self, question: Any, request: Any) -> Any:
        from tritonclient.grpc.service_pb2 import ModelInferResponse

        sizes = tuple(map(len, question.raw_input_contents))
        model = self._gate.check(wire.Infer(question, sizes), _key(request)).name
        with self._gate.request(model):
            answer = await self._upstream.call("ModelInfer", question.SerializeToString(), model=model)
        await self._versions.release(model)
        return ModelInferResponse.FromString(answer)

    async def _asked(self, method: str, question: Any, kind: Any) -> Any:
        answer = await self._upstream.call(method, question.SerializeToString())
        return _json(json_form.to_json(kind.FromString(answer)))

    async def _body(self, request: Any, largest: int | None = None) -> bytes:
        """Reads the body, up to a length and within a time.

        Raises:
            Refused: RESOURCE_EXHAUSTED or DEADLINE_EXCEEDED.
        """
        from aiohttp import web

        too_large = Refused("RESOURCE_EXHAUSTED", f"the request is larger than {largest or request._client_max_size}")
        if largest is not None and (request.content_length or 0) > largest:
            raise too_large
        try:
            async with asyncio.timeout(BODY_S):
                body: bytes = await request.read()
        except TimeoutError:
            raise Refused("DEADLINE_EXCEEDED", f"the request did not arrive within {BODY_S:g} s") from None
        except web.HTTPRequestEntityTooLarge:
            raise too_large from None
        if largest is not None and len(body) > largest:
            raise too_large
        return body

    async def _body_json(self, request: Any) -> dict[str, Any]:
        body = await self._body(request, LARGEST_JSON)
        return json_form.read_json(body) if body else {}

    def _require_key(self, request: Any, what: str) -> None:
        self._gate.require_key(_key(request), what)


async def listen(app: Any, host: str, port: int, option: str, tls: Tls | None = None) -> Any:
    """Serves an application on a port, and gives its runner.

    Raises:
        I2IError: where the port is taken; the sentence names the option that chooses another.
    """
    from aiohttp import web
    from aiohttp.log import server_logger

    # a client's bytes that are no HTTP are not worth a traceback each
    server_logger.addFilter(_is_ours)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, keepalive_timeout=IDLE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=None if tls is None else tls.context()).start()
    except OSError as error:
        await runner.cleanup()
        raise I2IError(f"the port {host}:{port} is in use or cannot be opened; choose one with {option}") from error
    return runner


def _is_ours(record: logging.LogRecord) -> bool:
    from aiohttp.http import HttpProcessingError

    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


async def stop_listening(runner: Any, grace_s: float) -> None:
    """Closes the ports, lets requests end, and closes the connections."""
    runner._shutdown_timeout = grace_s
    await runner.cleanup()


def _key(request: Any) -> str | None:
    key: str | None = request.headers.get(keys.HEADER)
    return key


def _named(request: Any) -> dict[str, str]:
    return {"name": request.match_info["model"], "version": request.match_info.get("version", "")}


def _json(content: Any) -> Any:
    from aiohttp import web

    return web.json_response(content)


def _status(good: bool) -> Any:
    from aiohttp import web

    return web.Response(status=200 if good else 503)


def _length(header: str | None, whole: int) -> int:
    if header is None:
        return whole
    if not header.isdecimal() or len(header) > 12 or int(header) > whole:
        raise Refused("INVALID_ARGUMENT", f"{HEADER_LENGTH} is {header[:20]!r}; the request has {whole} bytes")
    return int(header)


def _raw_request(model: Any, version: str, body: bytes) -> Any:
    """Gives the request whose only input is the body."""
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    if len(model.spec.inputs) != 1 or len(model.spec.inputs[0].axes) != 1 or model.spec.inputs[0].dtype != "uint8":
        raise Refused("INVALID_ARGUMENT", f"{model.name} does not take a file as its only input")
    question = ModelInferRequest(model_name=model.name, model_version=version)
    question.inputs.add(name=model.spec.inputs[0].name, datatype="UINT8", shape=[len(body)])
    question.raw_input_contents.append(body)
    return question


def _picture_type(file: bytes) -> str:
    return next((kind for start, kind in PICTURES.items() if file.startswith(start)), "application/octet-stream")
