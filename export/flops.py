"""What one run of an ONNX graph costs: the multiply-accumulates of its convolutions and matrix products."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import onnx
from onnxscript import optimizer

from i2i_rt.errors import I2IError


def count(onnx_file: str | Path, shapes: Mapping[str, Sequence[int]]) -> int:
    """Counts the multiply-accumulates of Conv, ConvTranspose, Gemm and MatMul.

    Everything else, norms and resizing among it, reads and writes memory rather than multiplies.

    Args:
        onnx_file: the graph.
        shapes: of every input, by name.

    Raises:
        I2IError: where an input has no shape here, or the shape of a product does not follow from them.
    """
    model = onnx.load(onnx_file)
    for tensor in model.graph.input:
        dims = tensor.type.tensor_type.shape.dim
        if len(shapes.get(tensor.name, ())) != len(dims):
            raise I2IError(f"{onnx_file} takes {tensor.name!r} with {len(dims)} axes; give a length for each")
        for dim, length in zip(dims, shapes[tensor.name], strict=True):
            dim.dim_value = length
    for tensor in model.graph.output:
        tensor.type.tensor_type.ClearField("shape")  # the dynamic one would contradict
    del model.graph.value_info[:]  # so would those in between
    # sizes that the graph computes are constants now; inference sees them only after they were folded
    folded: onnx.ModelProto = optimizer.optimize(model, onnx_shape_inference=True)
    inferred = onnx.shape_inference.infer_shapes(folded, strict_mode=True, data_prop=True).graph
    known = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for tensor in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = tensor.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            known[tensor.name] = tuple(dim.dim_value for dim in dims)
    return sum(_multiplications(node, known, str(onnx_file)) for node in inferred.node)


def _multiplications(node: onnx.NodeProto, known: Mapping[str, Sequence[int]], file: str) -> int:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    for name in (*node.input[:2], node.output[0]):
        if name not in known:
            raise I2IError(f"the shape of {name!r} in {file} does not follow from the inputs' shapes")
    first, second, result = (known[name] for name in (*node.input[:2], node.output[0]))
    if node.op_type == "Conv":  # [out, in / groups, kernel…]: every output value sums over one kernel
        return prod(result) * prod(second[1:])
    if node.op_type == "ConvTranspose":  # [in, out / groups, kernel…]: every input value is spread over one kernel
        return prod(first) * prod(second[1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return prod(result) * (first[0] if transposed else first[-1])
