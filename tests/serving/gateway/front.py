"""A gateway in front of a stand-in of the server, for tests that need no server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.serving.gateway.gate import Gate
from i2i_rt.serving.gateway.http import HttpInterface
from i2i_rt.serving.gateway.metrics import MetricsInterface
from i2i_rt.serving.gateway.refused import Refused
from i2i_rt.serving.gateway.rpc import RpcInterface
from i2i_rt.serving.gateway.tls import Tls
from i2i_rt.serving.gateway.versions import Versions
from i2i_rt.serving.health import Health
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.served import Kind, ServedModel
from i2i_rt.spec import Axis, StageSpec, TensorSpec, frames_spec
from tests.serving.conftest import free_ports

KEY = "a key of the administrator"
LIMITS = Limits(side=256, pixels=128 * 192, batch=4, file_bytes=2**16)
FILE = TensorSpec("image", "uint8", (Axis("bytes"),))
STYLE = TensorSpec("style", "float32", (Axis("N"), Axis("style", size=8)))


def model(name: str, kind: Kind, *inputs: TensorSpec, output: TensorSpec) -> ServedModel:
    return ServedModel(name, kind, "m", "cut", "0" * 64, "fp32", StageSpec(kind, inputs, (output,)), LIMITS)


MODELS = (
    model("m-translate", "stage", frames_spec("frames", 4, 4), output=frames_spec("translated", 4, 4)),
    model("m-styled", "stage", frames_spec("frames", 4, 4), STYLE, output=frames_spec("translated", 4, 4)),
    model("m-image", "image", FILE, output=FILE),
)


def infer_request(name: str = "m-translate", **arrays: np.ndarray) -> Any:
    from tritonclient.grpc.service_pb2 import ModelInferRequest
    from tritonclient.utils import np_to_triton_dtype

    request = ModelInferRequest(model_name=name, id="seven")
    for tensor, array in (arrays or {"frames": np.arange(1 * 8 * 8 * 3, dtype=np.uint8).reshape(1, 8, 8, 3)}).items():
        request.inputs.add(name=tensor, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


@dataclass
class FakeServer:
    """Stands for the server behind the gateway: answers with the first tensor, 255 - x, or as it is told.

    Attributes:
        calls: the methods that were called.
        failure: raised in place of an answer.
        seconds: that an answer takes.
        cancelled: how many calls were given up.
    """

    calls: list[str] = field(default_factory=list)
    failure: Refused | None = None
    seconds: float = 0.0
    cancelled: int = 0
    answer: Callable[[bytes], bytes] | None = None

    async def call(self, method: str, data: bytes, *, timeout: float | None = None, model: str = "") -> bytes:
        from tritonclient.grpc import service_pb2 as pb

        self.calls.append(method)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        if method != "ModelInfer":
            return b""
        request = pb.ModelInferRequest.FromString(data)
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        answer.outputs.add(name="translated", datatype="UINT8", shape=request.inputs[0].shape)
        answer.raw_output_contents.append((255 - np.frombuffer(request.raw_input_contents[0], np.uint8)).tobytes())
        result: bytes = answer.SerializeToString()
        return result

    async def stream(
        self, method: str, messages: AsyncIterator[bytes], *, timeout: float | None
    ) -> AsyncIterator[bytes]:
        from tritonclient.grpc import service_pb2 as pb

        async for data in messages:
            response = pb.ModelInferResponse.FromString(await self.call("ModelInfer", data))
            answer: bytes = pb.ModelStreamInferResponse(infer_response=response).SerializeToString()
            yield answer


@dataclass
class Front:
    """A gateway that listens."""

    server: FakeServer
    gate: Gate
    health: Health
    versions: Versions
    grpc: str
    http: str
    metrics: str

    def stub(self, channel: Any) -> Any:
        from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

        return GRPCInferenceServiceStub(channel)


@contextlib.asynccontextmanager
async def front(*, tls: Tls | None = None, max_in_flight: int = 8) -> AsyncIterator[Front]:
    """Gives a gateway in front of a `FakeServer` whose models are all ready."""
    server = FakeServer()
    health = Health.of(one.name for one in MODELS)
    health.is_up = True
    for one in health.models.values():
        one.good()
    gate = Gate(MODELS, health, KEY, max_in_flight=max_in_flight)
    upstream: Any = server
    versions = Versions(gate, upstream, health)
    rpc, http = RpcInterface(gate, upstream, health, versions), HttpInterface(gate, upstream, health, versions)
    metrics = MetricsInterface(gate, health, lambda: Path("/nowhere"))
    ports = free_ports(3)
    try:
        await rpc.start("127.0.0.1", ports[0], tls)
        await http.start("127.0.0.1", ports[1], tls)
        await metrics.start("127.0.0.1", ports[2])
        secure = "" if tls is None else "s"
        yield Front(
            server,
            gate,
            health,
            versions,
            f"127.0.0.1:{ports[0]}",
            f"http{secure}://127.0.0.1:{ports[1]}",
            f"http://127.0.0.1:{ports[2]}/metrics",
        )
    finally:
        await rpc.stop(0)
        await http.stop(0)
        await metrics.stop()
