"""An operator's plain formula as TensorRT computes it: exported, built without plugins, run on PyTorch's tensors.

The engine is for one set of shapes, and holds the weights as constants. TensorRT chooses the layout of what goes in and
comes out, planes or channels last, and gets it in that layout: bringing it there is not part of the time.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from i2i_rt.benchmarks.gpu import Variant
from i2i_rt.errors import UnsupportedError
from i2i_rt.runtime import tensorrt_builder, tensorrt_library
from i2i_rt.runtime.tensorrt_builder import ALL_MEMORY, LEVEL, NO_PLUGINS, PLUGINS, WORKSPACE
from i2i_rt.spec import Axis, StageSpec, TensorSpec

if TYPE_CHECKING:
    pass

PRECISIONS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
USUAL_LEVEL = "3"  # of the builder's search
RESULT = "result"  # name of the output

Arguments = tuple[Any, ...]


class TensorRTVariant(Variant):
    """A column that is another library's; only `calls` is TensorRT's."""

    def problem(self, dtype: torch.dtype) -> str | None:
        return tensorrt_library.problem(PRECISIONS[dtype])

    def calls(
        self, function: Callable[..., Any], inputs: Sequence[Arguments], weights: Sequence[int] = ()
    ) -> list[Callable[[], Any]]:
        """Builds an engine for the first arguments, and gives a call for each.

        Raises:
            UnsupportedError: where TensorRT cannot express the function.
        """
        inputs = [tuple(map(_expressible, arguments)) for arguments in inputs]
        tensors = [position for position, value in enumerate(inputs[0]) if isinstance(value, Tensor)]
        given = [position for position in tensors if position not in weights]
        with torch.inference_mode():
            result = function(*inputs[0])
        with tempfile.TemporaryDirectory() as folder:
            content = _built(_Graph(function, inputs[0], given), _spec(inputs[0], given, result), Path(folder))
        engine = OperatorEngine(content)
        return [
            engine.call({f"input{position}": arguments[position] for position in given}, result) for arguments in inputs
        ]


TENSORRT = TensorRTVariant("TensorRT", "off", foreign=True)


def _expressible(value: Any) -> Any:
    """Gives whole numbers of 16 bits, which TensorRT does not have, in 32."""
    return value.int() if isinstance(value, Tensor) and value.dtype == torch.int16 else value


class _Graph(nn.Module):
    """A function of tensors, with some of its arguments given and the others constant."""

    def __init__(self, function: Callable[..., Any], arguments: Arguments, given: Sequence[int]) -> None:
        super().__init__()
        self._function, self._given = function, given
        self._constants = [
            None if position in given else value.cpu() if isinstance(value, Tensor) else value
            for position, value in enumerate(arguments)
        ]

    def forward(self, *inputs: Tensor) -> Tensor:
        arguments = list(self._constants)
        for position, tensor in zip(self._given, inputs, strict=True):
            arguments[position] = tensor
        result: Tensor = self._function(*arguments)
        return result


def _spec(arguments: Arguments, given: Sequence[int], result: Tensor) -> StageSpec:
    inputs = tuple(_tensor_spec(f"input{position}", arguments[position]) for position in given)
    return StageSpec("operator", inputs, (_tensor_spec(RESULT, result),))


def _tensor_spec(name: str, tensor: Tensor) -> TensorSpec:
    axes = tuple(Axis(f"{name}.{number}", size=length) for number, length in enumerate(tensor.shape))
    return TensorSpec(name, _name(tensor.dtype), axes)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _built(graph: _Graph, spec: StageSpec, folder: Path) -> bytes:
    """Exports a graph and builds its engine; the files in between are left in a folder."""
    import onnx

    from i2i_rt.export import onnx as onnx_export
    from i2i_rt.export.tensorrt_graph import prepare
    from i2i_rt.stages.base import Stage

    dtypes = {tensor.dtype for tensor in (*spec.inputs, *spec.outputs)}
    precision = next(
        (name for dtype, name in PRECISIONS.items() if str(dtype).removeprefix("torch.") in dtypes), "fp32"
    )
    exported, prepared = folder / "exported.onnx", folder / "operator.onnx"
    onnx_export.build(Stage(spec, graph), exported, precision=precision, metadata={})
    onnx.save(prepare(onnx.load(exported)), prepared)
    key = tensorrt_builder.key_here(
        stage=spec.name,
        precision=precision,
        weights="",
        shapes=[],  # all are fixed in the graph
        options={LEVEL: USUAL_LEVEL, WORKSPACE: ALL_MEMORY, PLUGINS: NO_PLUGINS},
    )
    return tensorrt_builder.build(prepared, key, any_layout=True)


class OperatorEngine:
    """A loaded engine of one set of shapes, with one context: what is recorded of it runs one after the other."""

    def __init__(self, content: bytes) -> None:
        import tensorrt as trt

        self._messages = tensorrt_library.new_log()
        self._runtime = trt.Runtime(self._messages)
        self._engine: trt.ICudaEngine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise UnsupportedError(f"the engine does not load: {self._messages.worst()}")
        self._context: trt.IExecutionContext = self._engine.create_execution_context()
        # one that the result does not depend on is no longer there
        self._names = {self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)}

    def call(self, inputs: Mapping[str, Tensor], like: Tensor) -> Callable[[], Tensor]:
        """Gives what runs the engine on inputs, in the layouts that it takes; the result is as large as `like`."""
        laid = {name: self._laid(name, tensor) for name, tensor in inputs.items() if name in self._names}
        result = self._laid(RESULT, torch.empty_like(like))
        addresses = {name: tensor.data_ptr() for name, tensor in (*laid.items(), (RESULT, result))}

        def run(_kept: object = laid) -> Tensor:
            for name, address in addresses.items():
                self._context.set_tensor_address(name, address)
            if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
                raise RuntimeError(f"TensorRT could not start a run: {self._messages.worst()}")
            return result

        return run

    def _laid(self, name: str, tensor: Tensor) -> Tensor:
        """Gives a tensor in the engine's layout, the same one where it has that already."""
        import tensorrt as trt

        layout = self._engine.get_tensor_format(name)
        if layout == trt.TensorFormat.LINEAR:
            return tensor.contiguous()
        if layout == trt.TensorFormat.HWC8:
            return tensor.contiguous(memory_format=torch.channels_last)
        raise UnsupportedError(f"the engine has {name} in {layout}, which PyTorch cannot give")
