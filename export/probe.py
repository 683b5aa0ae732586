"""Looks behind the uint8 output: counts NaN and infinite values in front of the clamp, which would hide them."""

from typing import Any

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.runtime.backends import Choice, required_artifact


def non_finite_values(bundle: Bundle, choice: Choice, frames: np.ndarray) -> int:
    """Runs the stage `translate` on `frames` `[N, H, W, 3]` and counts the values in front of the clamp.

    Sizes that the graph does not take are padded, as a session does.
    """
    file = bundle.path / required_artifact(bundle, choice, "translate").file
    axes = bundle.stages["translate"].inputs[0].axes
    widths = [(0, axis.fit(length) - length) for axis, length in zip(axes, frames.shape, strict=True)]
    padded = np.pad(frames, widths, mode="reflect")
    if choice.backend.format == "openvino":
        values = _openvino_values(file, choice.precision, padded)
    else:
        values = _onnx_values(file, choice, padded)
    return int(np.count_nonzero(~np.isfinite(values)))


def _onnx_values(file: Any, choice: Choice, frames: np.ndarray) -> np.ndarray:
    import onnx
    import onnxruntime

    from i2i_rt.runtime.onnxruntime import PROVIDERS

    model = onnx.load(file)
    clamp = [node for node in model.graph.node if node.op_type == "Clip"][-1]
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(clamp.input[0], onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=[PROVIDERS[choice.backend.name]]
    )
    values: np.ndarray = session.run(None, {model.graph.input[0].name: frames})[0]
    return values


def _openvino_values(file: Any, precision: str, frames: np.ndarray) -> np.ndarray:
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    clamp = [node for node in model.get_ordered_ops() if node.get_type_name() == "Clamp"][-1]
    model.add_outputs(clamp.input(0).get_source_output())
    settings = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision]}
    values: np.ndarray = core.compile_model(model, "CPU", settings)(frames)[1]
    return values
