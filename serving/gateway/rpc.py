"""The gateway's gRPC interface: messages pass as bytes, and only what decides about them is read."""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from i2i_rt.errors import I2IError
from i2i_rt.serving import keys
from i2i_rt.serving.gateway import wire
from i2i_rt.serving.gateway.gate import Gate
from i2i_rt.serving.gateway.refused import Refused
from i2i_rt.serving.gateway.tls import Tls
from i2i_rt.serving.gateway.upstream import SERVICE, Upstream
from i2i_rt.serving.gateway.versions import Versions
from i2i_rt.serving.health import Health

OPEN = {"ServerMetadata", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex"}
# what loads code, maps memory, or writes files where the caller says
CLOSED = {
    "RepositoryModelLoad": "loading models",
    "RepositoryModelUnload": "unloading models",
    "SystemSharedMemoryStatus": "shared memory",
    "SystemSharedMemoryRegister": "shared memory",
    "SystemSharedMemoryUnregister": "shared memory",
    "CudaSharedMemoryStatus": "shared memory",
    "CudaSharedMemoryRegister": "shared memory",
    "CudaSharedMemoryUnregister": "shared memory",
    "TraceSetting": "tracing",
    "LogSettings": "logging",
}
STANDARD_HEALTH = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"  # HealthCheckResponse.status

Unary = Callable[[bytes, Any], Awaitable[bytes]]


class RpcInterface:
    """Answers health itself; checks inference and passes it on; asks for the key where it is needed."""

    def __init__(self, gate: Gate, upstream: Upstream, health: Health, versions: Versions) -> None:
        self._gate, self._upstream, self._health, self._versions = gate, upstream, health, versions
        self._server: Any = None

    async def start(self, host: str, port: int, tls: Tls | None) -> None:
        """Listens on a port.

        Raises:
            I2IError: where the port is taken.
        """
        import grpc

        largest = self._gate.largest_message
        options = [
            ("grpc.max_receive_message_length", largest),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a second server on the port must fail
            ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a small message cannot become a large one
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", 60_000),  # a client that has gone without a word is noticed
        ]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((_handlers(self),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                server.add_insecure_port(address)
            else:
                server.add_secure_port(address, tls.grpc_credentials())
        except (RuntimeError, ssl.SSLError) as error:
            raise I2IError(f"the gRPC port {address} is in use or cannot be opened; choose one with --grpc") from error
        await server.start()
        self._server = server

    async def stop(self, grace_s: float) -> None:
        """Takes no new calls, and lets those that are running end."""
        if self._server is not None:
            await self._server.stop(grace_s)

    def method(self, path: str) -> tuple[Unary | None, Any]:
        """Gives what answers a method: a function of one message, or one of a stream of messages."""
        if path == STANDARD_HEALTH:
            return self._checked(self._standard_health), None
        name = path.removeprefix(SERVICE)
        if not path.startswith(SERVICE):
            return None, None
        local: Mapping[str, Callable[[bytes], bytes]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
        }
        if name == "ModelInfer":
            return self._infer, None
        if name == "ModelStreamInfer":
            return None, self._stream
        if name in local:
            return self._checked(local[name]), None
        if name in OPEN or name in CLOSED:
            return self._passed(name), None
        return None, None

    async def _infer(self, data: bytes, context: Any) -> bytes:
        try:
            return await self._answer(data, context)
        except Refused as refused:
            await self._abort(context, refused)
            raise

    async def _answer(self, data: bytes, context: Any) -> bytes:
        model = self._gate.check(wire.read(data), _key(context)).name
        with self._gate.request(model):
            answer = await self._upstream.call("ModelInfer", data, timeout=context.time_remaining(), model=model)
        await self._versions.release(model)
        return answer

    async def _abort(self, context: Any, refused: Refused) -> None:
        import grpc

        self._gate.count(refused)
        wait = refused.retry_after_s
        trailing = () if wait is None else (("retry-after-ms", str(round(wait * 1e3))),)
        await context.abort(getattr(grpc.StatusCode, refused.code), str(refused), trailing)

    def _checked(self, answer: Callable[[bytes], bytes]) -> Unary:
        from google.protobuf.message import DecodeError

        async def handle(data: bytes, context: Any) -> bytes:
            try:
                return answer(data)
            except DecodeError:
                await self._abort(context, Refused("INVALID_ARGUMENT", "the request cannot be read"))
                raise

        return handle

    def _passed(self, name: str) -> Unary:
        async def handle(data: bytes, context: Any) -> bytes:
            try:
                if name in CLOSED:
                    self._gate.require_key(_key(context), CLOSED[name])
                if name == "RepositoryModelLoad":
                    return await self._versions.load(_loaded(data), data)
                return await self._upstream.call(name, data, timeout=context.time_remaining())
            except Refused as refused:
                await self._abort(context, refused)
                raise

        return handle

    def _server_live(self, data: bytes) -> bytes:
        from tritonclient.grpc.service_pb2 import ServerLiveResponse

        return _bytes(ServerLiveResponse(live=self._health.is_live))

    def _server_ready(self, data: bytes) -> bytes:
        from tritonclient.grpc.service_pb2 import ServerReadyResponse

        return _bytes(ServerReadyResponse(ready=self._health.is_ready))

    def _model_ready(self, data: bytes) -> bytes:
        from tritonclient.grpc.service_pb2 import ModelReadyRequest, ModelReadyResponse

        name = ModelReadyRequest.FromString(data).name
        return _bytes(ModelReadyResponse(ready=self._health.is_model_ready(name)))

    def _standard_health(self, data: bytes) -> bytes:
        # HealthCheckRequest has one field, the service's name: for us a model's, or none for all
        name = data[2:].decode(errors="replace") if data[:1] == b"\x0a" else ""
        if name and name not in self._health.models:
            return SERVICE_UNKNOWN
        return SERVING if (self._health.is_model_ready(name) if name else self._health.is_ready) else NOT_SERVING

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Passes a stream of inference requests on; a request that is refused is answered in the stream."""
        answers: asyncio.Queue[bytes | Refused | None] = asyncio.Queue(maxsize=8)
        in_flight: deque[contextlib.ExitStack] = deque()

        async def passed() -> AsyncIterator[bytes]:
            async for data in messages:
                entered = contextlib.ExitStack()
                try:
                    model = self._gate.check(wire.read(data), _key(context)).name
                    entered.enter_context(self._gate.request(model))
                except Refused as refused:
                    self._gate.count(refused)
                    await answers.put(_stream_error(data, refused))
                else:
                    in_flight.append(entered)
                    yield data

        async def receive() -> None:
            try:
                stream = self._upstream.stream("ModelStreamInfer", passed(), timeout=context.time_remaining())
                async for answer in stream:
                    if in_flight:
                        in_flight.popleft().close()
                    if self._versions.are_loading:
                        await self._versions.release(_answered(answer))
                    await answers.put(answer)
                await answers.put(None)
            except Refused as refused:
                await answers.put(refused)

        receiver = asyncio.create_task(receive())
        try:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, Refused):
                    await self._abort(context, answer)
                    return
                yield answer
        finally:
            receiver.cancel()
            await asyncio.wait({receiver})
            never = asyncio.CancelledError()  # what was never answered says nothing of its model
            for entered in in_flight:
                with contextlib.suppress(asyncio.CancelledError):
                    entered.__exit__(type(never), never, None)


def _handlers(interface: RpcInterface) -> Any:
    import grpc

    class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc] # the package has no types
        def __init__(self) -> None:
            self._known: dict[str, Any] = {}

        def service(self, details: Any) -> Any:
            path = details.method
            if path not in self._known:
                unary, stream = interface.method(path)
                if unary is None and stream is None:
                    return None
                make = grpc.unary_unary_rpc_method_handler if unary else grpc.stream_stream_rpc_method_handler
                self._known[path] = make(unary or stream)
            return self._known[path]

    return Handlers()


def _key(context: Any) -> str | bytes | None:
    for name, value in context.invocation_metadata() or ():
        if name == keys.HEADER:
            key: str | bytes = value
            return key
    return None


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _stream_error(data: bytes, refused: Refused) -> bytes:
    from tritonclient.grpc.service_pb2 import ModelStreamInferResponse

    answer = ModelStreamInferResponse(error_message=str(refused))
    with contextlib.suppress(Refused):
        answer.infer_response.id = wire.read(data).head.id
    return _bytes(answer)


def _loaded(data: bytes) -> str:
    """Gives the name in a request to load a model.

    Raises:
        Refused: where it is none.
    """
    from google.protobuf.message import DecodeError
    from tritonclient.grpc.service_pb2 import RepositoryModelLoadRequest

    try:
        name: str = RepositoryModelLoadRequest.FromString(data).model_name
    except DecodeError as error:
        raise Refused("INVALID_ARGUMENT", "the request cannot be read") from error
    return name


def _answered(data: bytes) -> str:
    """Gives the model of an answer in a stream."""
    from tritonclient.grpc.service_pb2 import ModelStreamInferResponse

    name: str = ModelStreamInferResponse.FromString(data).infer_response.model_name
    return name
