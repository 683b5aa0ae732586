"""Calls and their answers as the messages of Triton's gRPC service."""

from typing import Any

import numpy as np

from i2i_rt.errors import MissingDependencyError
from i2i_rt.serving.client.address import Address, Tls
from i2i_rt.serving.client.calls import (
    Answer,
    Call,
    GetConfig,
    Infer,
    IsReady,
    ListModels,
    ListRegions,
    MapRegion,
    UnmapRegion,
    needs_key,
)
from i2i_rt.serving.datatypes import DATATYPES
from i2i_rt.serving.errors import ServingError, from_grpc
from i2i_rt.serving.keys import HEADER

# without a bound, since a server's own limits hold; a connection that broke is tried again soon, for servers restart
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


def messages() -> Any:
    """Gives the module of the messages.

    Raises:
        MissingDependencyError: where tritonclient is not installed.
    """
    try:
        from tritonclient.grpc import service_pb2
    except ModuleNotFoundError:
        raise MissingDependencyError("tritonclient", "client", "a client over gRPC") from None
    return service_pb2


def stub(channel: Any) -> Any:
    """Gives what calls the service over a channel, one for threads or one for asyncio."""
    from tritonclient.grpc import service_pb2_grpc

    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


def credentials(tls: Tls) -> Any:
    import grpc

    return grpc.ssl_channel_credentials(tls.read("ca"), tls.read("key"), tls.read("cert"))


class GrpcCodec:
    """Makes messages of calls, and answers of messages."""

    def __init__(self, address: Address, key: str | None) -> None:
        self._pb = messages()
        self._address = address
        self._key = ((HEADER, key),) if key else ()

    def metadata(self, call: Call) -> tuple[tuple[str, str], ...]:
        return self._key if needs_key(call) else ()

    def encode(self, call: Call) -> tuple[str, Any]:
        """Gives the method's name and its message."""
        pb = self._pb
        match call:
            case Infer():
                return "ModelInfer", self._infer(call)
            case ListModels():
                return "RepositoryIndex", pb.RepositoryIndexRequest(ready=True)
            case GetConfig(model):
                return "ModelConfig", pb.ModelConfigRequest(name=model)
            case IsReady(None):
                return "ServerReady", pb.ServerReadyRequest()
            case IsReady(model):
                return "ModelReady", pb.ModelReadyRequest(name=model)
            case ListRegions():
                return "SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest()
            case MapRegion(name, size):
                request = pb.SystemSharedMemoryRegisterRequest(name=name, key=f"/{name}", offset=0, byte_size=size)
                return "SystemSharedMemoryRegister", request
            case UnmapRegion(name):
                return "SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest(name=name)

    def _infer(self, call: Infer) -> Any:
        request = self._pb.ModelInferRequest(model_name=call.model)
        for name, array in call.inputs.items():
            tensor = request.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
            if call.lease is None:
                request.raw_input_contents.append(array.tobytes())
            else:
                refer(tensor, call.lease.region.name, *call.lease.inputs[name])
        if call.lease is not None:
            for name, (offset, size) in call.lease.outputs.items():
                refer(request.outputs.add(name=name), call.lease.region.name, offset, size)
        if call.place is not None:
            request.parameters["sequence_id"].int64_param = call.place.stream
            request.parameters["sequence_start"].bool_param = call.place.start
            request.parameters["sequence_end"].bool_param = call.place.end
        return request

    def decode(self, call: Call, answer: Any) -> Answer:
        match call:
            case Infer():
                return _outputs(call, answer)
            case ListModels():
                return [model.name for model in answer.models]
            case GetConfig():
                return {name: value.string_value for name, value in answer.config.parameters.items()}
            case IsReady():
                return bool(answer.ready)
            case ListRegions():
                return list(answer.regions)
            case _:
                return None

    def error(self, call: Call, failure: Any) -> ServingError:
        """Gives the error for a `grpc.RpcError`, that of asyncio among them."""
        hint = None
        for key, value in failure.trailing_metadata() or ():
            if key == "retry-after-ms" and value.isdecimal():
                hint = int(value) / 1000
        return from_grpc(failure.code().name, failure.details() or "", f"{call.subject} at {self._address}", hint)


def refer(tensor: Any, region: str, offset: int, size: int) -> None:
    """Lets a tensor of a message lie in a region of shared memory."""
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_offset"].int64_param = offset
    tensor.parameters["shared_memory_byte_size"].int64_param = size


def _outputs(call: Infer, answer: Any) -> dict[str, np.ndarray]:
    contents = answer.raw_output_contents
    return {
        output.name: call.output(
            output.name, output.datatype, output.shape, contents[index] if index < len(contents) else b""
        )
        for index, output in enumerate(answer.outputs)
    }
