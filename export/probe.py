"""Looks behind the uint8 output: counts NaN and infinite values in front of the clamp, which would hide them."""

from pathlib import Path

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.runtime.backends import Choice, required_artifact


def non_finite_values(bundle: Bundle, choice: Choice, stage: str, frames: np.ndarray) -> int:
    """Runs a stage on `frames` `[N, H, W, 3]`, its other inputs zero, and counts the values in front of the clamp.

    Sizes that the graph does not take are padded, as a session does.
    """
    file = bundle.path / required_artifact(bundle, choice, stage).file
    spec = bundle.stages[stage]
    axes = spec.inputs[0].axes
    widths = [(0, axis.fit(length) - length) for axis, length in zip(axes, frames.shape, strict=True)]
    inputs = {"frames": np.pad(frames, widths, mode="reflect")}
    inputs |= {t.name: np.zeros([axis.size or 1 for axis in t.axes], t.dtype) for t in spec.inputs[1:]}
    if choice.backend.format == "openvino":
        values = _openvino_values(file, choice.precision, inputs)
    else:
        values = _onnx_values(file, choice, inputs)
    return int(np.count_nonzero(~np.isfinite(values)))


def _onnx_values(file: Path, choice: Choice, inputs: dict[str, np.ndarray]) -> np.ndarray:
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
    values: np.ndarray = session.run(None, inputs)[0]
    return values


def _openvino_values(file: Path, precision: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    clamp = [node for node in model.get_ordered_ops() if node.get_type_name() == "Clamp"][-1]
    model.add_outputs(clamp.input(0).get_source_output())
    last = len(model.outputs) - 1
    settings = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision]}
    values: np.ndarray = core.compile_model(model, "CPU", settings)(inputs)[last]
    return values
