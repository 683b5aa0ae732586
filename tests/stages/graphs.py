"""Runs exported graphs, for the tests of a family's stages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2i_rt.stages.base import Stage

Run = Callable[[dict[str, np.ndarray]], np.ndarray]


def in_onnxruntime(file: Path) -> Run:
    """Opens a graph of one output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]  # type: ignore[no-any-return]


def in_openvino(file: Path) -> Run:
    """Opens a graph of one output, in float32."""
    from i2i_rt.runtime.openvino import core

    model = core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: model(inputs)[0]  # type: ignore[no-any-return]


def in_torch(stage: Stage) -> Run:
    """Runs the stage itself."""
    return lambda inputs: stage.module(*map(torch.from_numpy, inputs.values())).numpy()  # type: ignore[no-any-return]


def inputs_of(stage: Stage, height: int, width: int, batch: int, domains: int = 1) -> dict[str, np.ndarray]:
    """Draws what a stage takes: frames, domains below `domains`, and vectors from N(0, 1)."""
    random = np.random.default_rng(0)
    lengths = {"N": batch, "H": height, "W": width}
    inputs: dict[str, Any] = {}
    for spec in stage.spec.inputs:
        shape = [axis.size or lengths[axis.name] for axis in spec.axes]
        if spec.dtype == "float32":
            inputs[spec.name] = random.standard_normal(shape, np.float32)
        else:
            high = 256 if spec.dtype == "uint8" else domains
            inputs[spec.name] = random.integers(0, high, shape, spec.dtype)
    return inputs


def psnr(actual: np.ndarray, expected: np.ndarray) -> float:
    """Compares pictures `[N, H, W, 3]`, uint8."""
    error = float(np.square(actual.astype(float) - expected).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def norms_in_float32(file: Path) -> int:
    """Counts a graph's instance norms; fails where one is not computed in float32."""
    import onnx

    model = onnx.load(file)
    producers = {output: node for node in model.graph.node for output in node.output}
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    for node in norms:
        source = producers[node.input[0]]
        while source.op_type == "Reshape":
            source = producers[source.input[0]]
        assert source.op_type == "Cast" and source.attribute[0].i == onnx.TensorProto.FLOAT
    return len(norms)
