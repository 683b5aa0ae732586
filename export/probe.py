"""Looks behind the uint8 output: counts NaN and infinite values in front of the clamp, which would hide them."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.runtime.backends import Choice, required_artifact
from i2i_rt.runtime.session import padded
from i2i_rt.spec import StageSpec, TensorSpec

Values = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def open_probe(bundle: Bundle, choice: Choice, stage: str) -> Callable[[Mapping[str, np.ndarray]], int]:
    """Loads a stage's graph once more, and gives what runs it and counts the values that are not finite.

    Sizes that the graph does not take are padded, as a session does.
    """
    file = bundle.path / required_artifact(bundle, choice, stage).file
    spec = bundle.stages[stage]
    values = {
        "onnx": lambda: _onnx_values(file, choice),
        "openvino": lambda: _openvino_values(file, choice),
        "tensorrt": lambda: _tensorrt_values(file, spec),
        "aot-inductor": lambda: _torch_values(bundle, choice, stage),
    }[choice.backend.format or ""]()

    def count(inputs: Mapping[str, np.ndarray]) -> int:
        return int(np.count_nonzero(~np.isfinite(values(padded(spec, inputs)))))

    return count


def _unclamped(file: Path) -> tuple[Any, str]:
    """Gives an ONNX graph with one more output, and its name: the values in front of the clamp."""
    import onnx

    from i2i_rt.export.fused_nodes import inlined

    model = inlined(file)
    name = [node for node in model.graph.node if node.op_type == "Clip"][-1].input[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return model, name


def _onnx_values(file: Path, choice: Choice) -> Values:
    import onnxruntime

    from i2i_rt.runtime.onnxruntime import PROVIDERS

    model, name = _unclamped(file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=[PROVIDERS[choice.backend.name]]
    )

    def values(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        result: np.ndarray = session.run([name], dict(inputs))[0]
        return result

    return values


def _tensorrt_values(file: Path, spec: StageSpec) -> Values:
    """Builds the engine once more: the values are an output there, so what computes them stays the same up to them."""
    from i2i_rt.export import tensorrt_registry
    from i2i_rt.runtime import tensorrt, tensorrt_builder, tensorrt_library
    from i2i_rt.runtime.artifact_key import ArtifactKey

    key = ArtifactKey.read(file)
    assert key is not None, "the session has just loaded it"
    if key.options[tensorrt_builder.PLUGINS] != tensorrt_builder.NO_PLUGINS:
        tensorrt_registry.register_all(tensorrt_library.capability())
    model, name = _unclamped(file.with_suffix(".onnx"))
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / f"{file.stem}.onnx"
        graph.write_bytes(model.SerializeToString())
        content = tensorrt_builder.build(graph, tensorrt_builder.again(key))
    wider = replace(spec, outputs=(*spec.outputs, TensorSpec(name, "float32", ())))
    engine = tensorrt.Engine(content, file.name, wider, tensorrt.new_stream())
    return lambda inputs: engine.run(inputs)[name]


def _openvino_values(file: Path, choice: Choice) -> Values:
    from i2i_rt.runtime.openvino import core, hint

    model = core().read_model(file)
    clamp = [node for node in model.get_ordered_ops() if node.get_type_name() == "Clamp"][-1]
    model.add_outputs(clamp.input(0).get_source_output())
    last = len(model.outputs) - 1
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint(choice.precision)})

    def values(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        result: np.ndarray = compiled(dict(inputs))[last]
        return result

    return values


def _torch_values(bundle: Bundle, choice: Choice, stage: str) -> Values:
    """Looks into the PyTorch network in the package's precision: nothing can be seen in compiled code itself."""
    import torch
    from torch.overrides import TorchFunctionMode

    from i2i_rt.runtime.torch_device import device_here, placed
    from i2i_rt.stages.table import load_stages

    module = placed(load_stages(bundle)[stage].module, choice.precision)
    clamped: list[torch.Tensor] = []

    class Clamps(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.Tensor.clamp:
                clamped.append(args[0])
            return func(*args, **(kwargs or {}))

    def values(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        clamped.clear()
        given = [torch.from_numpy(np.ascontiguousarray(inputs[t.name])) for t in bundle.stages[stage].inputs]
        with torch.inference_mode(), Clamps():
            module(*(tensor.to(device_here()) for tensor in given))
        result: np.ndarray = clamped[-1].float().cpu().numpy()
        return result

    return values
