"""Stands in for TensorRT: an engine is a JSON header and an ONNX graph, computed by ONNX Runtime."""

import enum
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper

from tests.gpu_stand_ins.cuda import MEMORY, STREAMS, array_at

__version__ = "11.4.0.106"
Shape = Sequence[int]
SCRATCH_BYTES = 64  # for each element of the first input
builds: list[dict[str, Any]] = []  # what was built, oldest first


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 0
    PREFER_JIT_PYTHON_PLUGINS = 1
    PREFER_AOT_PYTHON_PLUGINS = 2


class BuilderFlag(enum.IntEnum):
    TF32 = 6


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0


class ExecutionContextAllocationStrategy(enum.IntEnum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class DataType(enum.IntEnum):
    FLOAT, HALF, INT32, UINT8, INT64, BF16 = range(6)


class TensorFormat(enum.IntEnum):
    LINEAR = 0
    HWC8 = 3


class IHostMemory:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def __bytes__(self) -> bytes:
        return self.content


class ITensor:
    """An input or output of a network.

    Attributes:
        allowed_formats: a bit for each layout; of several this builder chooses the last.
    """

    def __init__(self, described: ValueInfoProto) -> None:
        kind = described.type.tensor_type
        self.name = described.name
        self.dtype = TYPES[kind.elem_type]
        self.shape = tuple(axis.dim_value or -1 for axis in kind.shape.dim)
        self.allowed_formats = 1 << TensorFormat.LINEAR


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        assert flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self.model: ModelProto | None = None
        self.inputs: list[ITensor] = []
        self.outputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_input(self, index: int) -> ITensor:
        return self.inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self.outputs[index]


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._errors = network, list[ParserError]()

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        try:
            parsed = onnx.load(model)
            self._network.inputs, self._network.outputs = (
                [ITensor(described) for described in ends] for ends in (parsed.graph.input, parsed.graph.output)
            )
        except Exception as error:
            self._errors.append(ParserError(f"In node -1: {type(error).__name__}"))
            return False
        self._network.model = parsed
        return True


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None:
        assert all(low <= usual <= high for low, usual, high in zip(min, opt, max, strict=True))
        self.shapes[input] = [list(min), list(opt), list(max)]


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(self.content)


class IBuilderConfig:
    def __init__(self) -> None:
        self.builder_optimization_level = 3
        self.profiles: list[IOptimizationProfile] = []
        self.cleared: set[BuilderFlag] = set()
        self.limits: dict[str, int] = {}
        self.cache = ITimingCache(b"")

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.limits[pool.name] = pool_size

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.cleared.add(flag)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self.cache


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        assert network.model is not None
        for tensor in network.inputs:
            fixed = -1 not in tensor.shape
            if not (config.profiles or fixed) or not all(tensor.name in entry.shapes for entry in config.profiles):
                self._logger.log(ILogger.ERROR, f"{tensor.name} has no shape in a profile")
                return None
        header = {
            "version": __version__,
            "profiles": [profile.shapes for profile in config.profiles],
            "level": config.builder_optimization_level,
            "tf32": BuilderFlag.TF32 not in config.cleared,
            "limits": config.limits,
            "formats": {
                tensor.name: max(layout for layout in TensorFormat if tensor.allowed_formats & 1 << layout)
                for tensor in (*network.inputs, *network.outputs)
            },
        }
        outputs = [tensor.name for tensor in network.outputs]
        builds.append({**header, "cache": config.cache.content, "outputs": outputs, "model": network.model})
        config.cache = ITimingCache(config.cache.content + b"measured;")
        return IHostMemory(json.dumps(header).encode() + b"\n" + network.model.SerializeToString())


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        header, _, model = serialized_engine.partition(b"\n")
        try:
            entries = json.loads(header)
        except ValueError:
            self._logger.log(ILogger.ERROR, "magicTag does not match")
            return None
        if entries["version"] != __version__:
            self._logger.log(ILogger.ERROR, "Version tag does not match")
            return None
        return ICudaEngine(entries, ModelProto.FromString(model))


class ICudaEngine:
    def __init__(self, header: dict[str, Any], model: ModelProto) -> None:
        import onnxruntime

        self.profiles, self._formats = header["profiles"], header["formats"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.graph = onnxruntime.InferenceSession(
            _widened(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [tensor.name for tensor in self.graph.get_inputs()]
        self.outputs = [tensor.name for tensor in self.graph.get_outputs()]

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
        shapes: list[list[int]] = self.profiles[profile_index][name]
        return shapes

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return (*self.inputs, *self.outputs)[index]

    def get_tensor_format(self, name: str) -> TensorFormat:
        return TensorFormat(self._formats[name])

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC
    ) -> "IExecutionContext":
        return IExecutionContext(self, strategy)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, strategy: ExecutionContextAllocationStrategy) -> None:
        self._engine = engine
        self._profile = 0
        ends = (*engine.graph.get_inputs(), *engine.graph.get_outputs())
        # those that are fixed in the graph
        self._shapes = {end.name: tuple(end.shape) for end in ends if all(isinstance(side, int) for side in end.shape)}
        self._addresses: dict[str, int] = {}
        self._memory = 0 if strategy is ExecutionContextAllocationStrategy.USER_MANAGED else math.inf

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in STREAMS
        self._profile = profile_index
        return profile_index < len(self._engine.profiles)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, greatest = self._engine.profiles[self._profile][name]
        assert all(low <= length <= high for low, length, high in zip(least, shape, greatest, strict=True)), shape
        self._shapes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        missing = [name for name in self._engine.inputs if name not in self._shapes]
        if not missing:
            inputs = self._engine.graph.get_inputs()
            zeros = {tensor.name: np.zeros(self._shapes[tensor.name], NUMPY[tensor.type]) for tensor in inputs}
            results = self._engine.graph.run(self._engine.outputs, zeros)
            self._shapes |= {name: array.shape for name, array in zip(self._engine.outputs, results, strict=True)}
        return missing

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        return SCRATCH_BYTES * int(np.prod(self._shapes[self._engine.inputs[0]]))

    def set_device_memory(self, memory: int, size: int) -> None:
        assert MEMORY[memory].nbytes >= size
        self._memory = size

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self._memory < self.update_device_memory_size_for_shapes():
            return False
        addresses = dict(self._addresses)  # a captured run keeps them
        STREAMS[stream_handle].submit(lambda: self._execute(addresses))
        return True

    def _execute(self, addresses: dict[str, int]) -> None:
        kinds = {end.name: end.type for end in (*self._engine.graph.get_inputs(), *self._engine.graph.get_outputs())}
        arrays = {name: self._array(name, addresses[name], np.dtype(NUMPY[kind])) for name, kind in kinds.items()}
        results = self._engine.graph.run(self._engine.outputs, {name: arrays[name] for name in self._engine.inputs})
        for name, array in zip(self._engine.outputs, results, strict=True):
            arrays[name][...] = array

    def _array(self, name: str, address: int, dtype: np.dtype[Any]) -> np.ndarray:
        """Gives what lies at a tensor's address, with the axes in the graph's order."""
        shape = self._shapes[name]
        if self._engine.get_tensor_format(name) is TensorFormat.LINEAR:
            return array_at(address, shape, dtype)
        batch, channels, height, width = shape
        return array_at(address, (batch, height, width, channels), dtype).transpose(0, 3, 1, 2)


TYPES = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.BFLOAT16: DataType.BF16,
    TensorProto.INT32: DataType.INT32,
    TensorProto.INT64: DataType.INT64,
    TensorProto.UINT8: DataType.UINT8,
}
NUMPY = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


def _widened(model: ModelProto) -> ModelProto:
    """Gives a bfloat16 graph with its values in float32, because ONNX Runtime has no convolution in bfloat16."""
    constants = [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    for tensor in (*model.graph.initializer, *constants):
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
    return model


def graph_of(engine: Path) -> ModelProto:
    """Gives the graph that a built engine holds."""
    return ModelProto.FromString(engine.read_bytes().partition(b"\n")[2])
