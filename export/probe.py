"""Looks behind the uint8 output: counts NaN and infinite values in front of the clamp, which would hide them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.runtime.backends import Choice, required_artifact
from i2i_rt.runtime.session import padded

Values = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def open_probe(bundle: Bundle, choice: Choice, stage: str) -> Callable[[Mapping[str, np.ndarray]], int]:
    """Loads a stage's graph once more, and gives what runs it and counts the values that are not finite.

    Sizes that the graph does not take are padded, as a session does.
    """
    file = bundle.path / required_artifact(bundle, choice, stage).file
    if choice.backend.format == "openvino":
        values = _openvino_values(file, choice)
    elif choice.backend.format == "aot-inductor":
        values = _torch_values(bundle, choice, stage)
    else:
        values = _onnx_values(file, choice)
    spec = bundle.stages[stage]

    def count(inputs: Mapping[str, np.ndarray]) -> int:
        return int(np.count_nonzero(~np.isfinite(values(padded(spec, inputs)))))

    return count


def _onnx_values(file: Path, choice: Choice) -> Values:
    import onnx
    import onnxruntime

    from i2i_rt.export.fused_nodes import inlined
    from i2i_rt.runtime.onnxruntime import PROVIDERS

    model = inlined(file)
    clamp = [node for node in model.graph.node if node.op_type == "Clip"][-1]
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(clamp.input[0], onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=[PROVIDERS[choice.backend.name]]
    )

    def values(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        result: np.ndarray = session.run(None, dict(inputs))[0]
        return result

    return values


def _openvino_values(file: Path, choice: Choice) -> Values:
    from i2i_rt.runtime.openvino import core

    model = core().read_model(file)
    clamp = [node for node in model.get_ordered_ops() if node.get_type_name() == "Clamp"][-1]
    model.add_outputs(clamp.input(0).get_source_output())
    last = len(model.outputs) - 1
    settings = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[choice.precision]}
    compiled = core().compile_model(model, "CPU", settings)

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
