"""What TensorRT's ONNX parser takes, as the project onnx-tensorrt lists it for 10.15: names, types and limits."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from i2i_rt.export.tensorrt_fusion import constants_of

OPSETS = range(9, 25)
OPERATORS = frozenset(Path(__file__).with_name("operators.txt").read_text().split())
NOT_IN_BFLOAT16 = {
    "BlackmanWindow", "DeformConv", "GridSample", "HammingWindow", "HannWindow", "Mish", "NonMaxSuppression", "NonZero",
    "RoiAlign", "STFT",
}  # fmt: skip
RESIZE_COORDINATES = {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"}
CONSTANT_INPUTS = {"CumSum": 1, "OneHot": 1, "Squeeze": 1, "Unsqueeze": 1}  # operator -> which must be constant


def refused(model: ModelProto) -> list[str]:
    """Names what TensorRT's parser would not take in a graph."""
    found = [
        f"opset {entry.version}" for entry in model.opset_import if entry.domain == "" and entry.version not in OPSETS
    ]
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {tensor.name: tensor.type.tensor_type.elem_type for tensor in (*inferred.input, *inferred.value_info)}
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    constants = constants_of(inferred)
    inputs = {tensor.name for tensor in inferred.input}
    outputs = {tensor.name for tensor in inferred.output}
    types |= {tensor.name: tensor.type.tensor_type.elem_type for tensor in inferred.output}
    for node in inferred.node:
        found += [f"{node.op_type}: {reason}" for reason in _reasons(node, types, constants, inputs, outputs)]
    return sorted(set(found))


def _reasons(
    node: NodeProto, types: dict[str, int], constants: dict[str, np.ndarray], inputs: set[str], outputs: set[str]
) -> Iterator[str]:
    if node.domain != "" or node.op_type not in OPERATORS:
        yield f"no such operator in the domain {node.domain!r}"
    kinds = {types.get(name) for name in (*node.input, *node.output)}
    if TensorProto.DOUBLE in kinds:
        yield "float64"
    if TensorProto.BFLOAT16 in kinds and node.op_type in NOT_IN_BFLOAT16:
        yield "bfloat16"
    for name in (*node.input, *node.output):
        if types.get(name) == TensorProto.UINT8 and (node.op_type != "Cast" or name not in inputs | outputs):
            yield f"uint8 in between, {name}"
    if node.op_type == "Cast" and TensorProto.UINT8 in kinds and not kinds & {TensorProto.FLOAT, TensorProto.FLOAT16}:
        yield "uint8 from or to whole numbers"
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Resize":
        if attributes.get("mode", b"nearest") not in (b"nearest", b"linear") or attributes.get("antialias", 0):
            yield f"mode {attributes.get('mode')}, antialias {attributes.get('antialias', 0)}"
        if attributes.get("coordinate_transformation_mode", b"half_pixel").decode() not in RESIZE_COORDINATES:
            yield f"coordinates {attributes['coordinate_transformation_mode']}"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
        point = constants.get(node.input[2])
        if point is None or np.any(point.astype(np.float32)):
            yield "its zero point is not zero"
        if types.get(node.input[2]) not in (TensorProto.INT8, TensorProto.FLOAT8E4M3FN):
            yield "8 bits that are not int8 or E4M3"
    if node.op_type == "ScatterND" and attributes.get("reduction", b"none") != b"none":
        yield "reduction"
    position = 1 if node.op_type.startswith("Reduce") else CONSTANT_INPUTS.get(node.op_type)
    if position is not None and len(node.input) > position and node.input[position] not in {"", *constants}:
        yield f"input {position} is not constant"
