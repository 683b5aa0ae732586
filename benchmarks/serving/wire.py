"""Requests that were prepared beforehand, so that asking costs a loaded machine as little as it can.

Each way to the server (gRPC, HTTP, gRPC with the tensors in shared memory) turns a request into a `Call` of `load`.
What a user's client costs on top is measured elsewhere, with that client.
"""

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Protocol, Self

import numpy as np

from i2i_rt.benchmarks.serving.load import OK, WRONG, Call
from i2i_rt.serving.client.grpc_codec import refer

KEY = "i2i-rt-key"  # of the metadata
SERVICE = "/inference.GRPCInferenceService/"
HTTP_CODES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
DATATYPES = {"uint8": "UINT8", "float32": "FP32", "int64": "INT64"}
LARGEST_DIFFERENCE = 1  # between an answer and the expected one, in 8-bit levels: batches may round otherwise
TIMEOUT_S = 30.0

Arrays = Mapping[str, np.ndarray]
Tensors = Mapping[str, tuple[list[int], bytes | memoryview]]  # of an answer: shape and content by name


class Wire(Protocol):
    """A way to a server."""

    async def call(self, model: str, inputs: Arrays, expected: Arrays, *, in_flight: int = 1) -> Call:
        """Prepares a request, of which so many are in flight at most; its answer must hold the expected outputs."""
        ...


def agrees(answer: np.ndarray, expected: np.ndarray) -> bool:
    """Says whether an answer is right: of the same shape, and no value further away than rounding puts it."""
    if answer.shape != expected.shape or answer.dtype != expected.dtype:
        return False
    if np.array_equal(answer, expected):
        return True
    if answer.dtype != np.uint8:
        return bool(np.allclose(answer, expected, atol=1e-3))
    return int(np.abs(answer.astype(np.int16) - expected).max()) <= LARGEST_DIFFERENCE


def infer_request(model: str, inputs: Arrays) -> Any:
    """Gives the `ModelInferRequest` with the tensors in it."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=DATATYPES[str(array.dtype)], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


class GrpcWire:
    """gRPC with the tensors in the messages: an asynchronous context manager."""

    def __init__(self, address: str, *, key: str | None = None) -> None:
        """`address`: host and port; `key`: what opens the server's restricted calls."""
        import grpc

        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self._infer = self._channel.unary_unary(SERVICE + "ModelInfer")
        self._error = grpc.aio.AioRpcError
        self._metadata = () if key is None else ((KEY, key),)

    async def call(self, model: str, inputs: Arrays, expected: Arrays, *, in_flight: int = 1) -> Call:
        """Prepares a request; its answer must hold the expected outputs."""
        return self.raw(
            infer_request(model, inputs).SerializeToString(), lambda answer: holds(grpc_tensors(answer), expected)
        )

    def raw(self, message: bytes, is_right: Callable[[Any], bool]) -> Call:
        """Prepares any bytes as a request; `is_right` judges the `ModelInferResponse`."""
        from tritonclient.grpc import service_pb2

        async def ask() -> str:
            try:
                answer = await self._infer(message, timeout=TIMEOUT_S, metadata=self._metadata)
            except self._error as error:
                code: str = error.code().name
                return code
            return OK if is_right(service_pb2.ModelInferResponse.FromString(answer)) else WRONG

        return ask

    async def unary(self, method: str, request: Any, answer: Any) -> Any:
        """Calls another method of the service, and gives its answer as the given message type."""
        send = self._channel.unary_unary(SERVICE + method)
        found = await send(request.SerializeToString(), timeout=TIMEOUT_S, metadata=self._metadata)
        return answer.FromString(found)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()


class HttpWire:
    """HTTP with the tensors as binary data behind the JSON: an asynchronous context manager."""

    def __init__(self, address: str) -> None:
        """`address`: host and port."""
        import aiohttp

        self._address = address
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        )
        self._error = aiohttp.ClientError

    async def call(self, model: str, inputs: Arrays, expected: Arrays, *, in_flight: int = 1) -> Call:
        """Prepares a request; its answer must hold the expected outputs."""
        from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

        tensors = []
        for name, array in inputs.items():
            tensors.append(InferInput(name, list(array.shape), DATATYPES[str(array.dtype)]))
            tensors[-1].set_data_from_numpy(array, binary_data=True)
        outputs = [InferRequestedOutput(name, binary_data=True) for name in expected]
        body, length = InferenceServerClient.generate_request_body(tensors, outputs=outputs)
        headers = {"Inference-Header-Content-Length": str(length)}
        return self.raw(model, body, headers, lambda *answer: holds(http_tensors(*answer), expected))

    def raw(
        self, model: str, body: bytes, headers: Mapping[str, str], is_right: Callable[[Mapping[str, str], bytes], bool]
    ) -> Call:
        """Prepares any body as a request; `is_right` judges headers and body of an answer with status 200."""
        url = f"http://{self._address}/v2/models/{model}/infer"

        async def ask() -> str:
            try:
                async with self._session.post(url, data=body, headers=headers) as response:
                    answer = await response.read()
            except TimeoutError:
                return "DEADLINE_EXCEEDED"
            except self._error:
                return "UNAVAILABLE"
            if response.status != 200:
                return HTTP_CODES.get(response.status, f"HTTP {response.status}")
            return OK if is_right(response.headers, answer) else WRONG

        return ask

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()


class SharedMemoryWire:
    """gRPC with the tensors in system shared memory, a region for each request in flight: a context manager."""

    def __init__(self, address: str, *, key: str | None = None) -> None:
        """`address`: host and port; `key`: what opens the server's restricted calls."""
        self._grpc = GrpcWire(address, key=key)
        self._name = f"i2i_rt_bench_{os.getpid()}_{secrets.token_hex(4)}"
        self._regions: list[SharedMemory] = []

    async def call(self, model: str, inputs: Arrays, expected: Arrays, *, in_flight: int = 1) -> Call:
        """Prepares a request in as many regions as are in flight at a time; further ones wait for a region."""
        free: asyncio.Queue[Call] = asyncio.Queue()
        for _ in range(in_flight):
            free.put_nowait(await self._slot(model, inputs, expected))

        async def ask() -> str:
            slot = await free.get()
            try:
                return await slot()
            finally:
                free.put_nowait(slot)

        return ask

    async def _slot(self, model: str, inputs: Arrays, expected: Arrays) -> Call:
        from tritonclient.grpc import service_pb2

        size = sum(array.nbytes for array in (*inputs.values(), *expected.values()))
        name = f"{self._name}_{len(self._regions)}"
        region = SharedMemory(name, create=True, size=size)
        self._regions.append(region)
        register = service_pb2.SystemSharedMemoryRegisterRequest(name=name, key=f"/{name}", offset=0, byte_size=size)
        await self._grpc.unary("SystemSharedMemoryRegister", register, service_pb2.SystemSharedMemoryRegisterResponse)
        request, offset = service_pb2.ModelInferRequest(model_name=model), 0
        for tensor, array in inputs.items():
            entry = request.inputs.add(name=tensor, datatype=DATATYPES[str(array.dtype)], shape=array.shape)
            refer(entry, name, offset, array.nbytes)
            np.ndarray(array.shape, array.dtype, region.buf, offset)[...] = array
            offset += array.nbytes
        views: dict[str, tuple[int, np.ndarray]] = {}
        for tensor, array in expected.items():
            refer(request.outputs.add(name=tensor), name, offset, array.nbytes)
            views[tensor] = offset, array
            offset += array.nbytes

        def is_right(answer: Any) -> bool:
            shapes = {output.name: list(output.shape) for output in answer.outputs}
            return all(
                shapes.get(tensor) == list(array.shape)
                and agrees(np.ndarray(array.shape, array.dtype, region.buf, at), array)
                for tensor, (at, array) in views.items()
            )

        return self._grpc.raw(request.SerializeToString(), is_right)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        from tritonclient.grpc import service_pb2

        for region in self._regions:
            request = service_pb2.SystemSharedMemoryUnregisterRequest(name=region.name)
            with contextlib.suppress(Exception):  # the server may be gone; the region goes all the same
                await self._grpc.unary(
                    "SystemSharedMemoryUnregister", request, service_pb2.SystemSharedMemoryUnregisterResponse
                )
            region.close()
            region.unlink()
        await self._grpc.__aexit__()


def grpc_tensors(answer: Any) -> Tensors:
    """Gives the outputs of a `ModelInferResponse`."""
    pairs = zip(answer.outputs, answer.raw_output_contents, strict=False)
    return {output.name: (list(output.shape), content) for output, content in pairs}


def http_tensors(headers: Mapping[str, str], body: bytes) -> Tensors:
    """Gives the outputs of an answer over HTTP, whose binary data lies behind the JSON."""
    offset = int(headers["Inference-Header-Content-Length"])
    tensors = {}
    for output in json.loads(body[:offset])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        tensors[output["name"]] = output["shape"], memoryview(body)[offset : offset + size]
        offset += size
    return tensors


def holds(tensors: Tensors, expected: Arrays) -> bool:
    """Says whether an answer has all expected outputs, and they are right."""
    for name, array in expected.items():
        shape, content = tensors.get(name, ([], b""))
        if shape != list(array.shape) or len(content) != array.nbytes:
            return False
        if not agrees(np.frombuffer(content, array.dtype).reshape(array.shape), array):
            return False
    return True
