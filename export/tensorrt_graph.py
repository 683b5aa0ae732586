"""Brings an ONNX graph into the form that TensorRT's parser takes, with the same results.

TensorRT reads and writes uint8 at the ends of a network only, where a cast from or to floating point stands next to
them. So what the graph does with whole numbers of 8 bits in between, transposing and slicing them, it does in float32
here: every value from 0 to 255 is exact in it.
"""

from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.inliner import inline_selected_functions

# operators whose result has the type of their first input, and that move values without calculating with them
MOVING = frozenset(
    "Expand Flatten Gather Identity Pad Reshape Slice Squeeze Tile Transpose Unsqueeze".split()  # noqa: SIM905
)
TELLING = frozenset(("Cast", "Equal", "Shape", "Size"))  # operators that take uint8 and give something else


def prepare(model: ModelProto, *, plugins: frozenset[str] = frozenset()) -> ModelProto:
    """Gives a graph for TensorRT; the one given is changed too.

    Args:
        model: as `i2i_rt.export.onnx` writes it.
        plugins: names of the fused operators that a plugin computes; the bodies of all others are inlined.

    Raises:
        ValueError: where the graph calculates with uint8 in between.
    """
    inlined = [(body.domain, body.name) for body in model.functions if body.name not in plugins]
    if inlined:
        model = inline_selected_functions(model, inlined)
    _confine_bytes(model)
    return model


def _confine_bytes(model: ModelProto) -> None:
    """Casts uint8 inputs to float32 at once, and to uint8 outputs at the very end."""
    graph = model.graph
    whole: set[str] = set()  # names of what was uint8 and is float32 now
    renamed: dict[str, str] = {}
    before, after = [], []
    for tensor in graph.input:
        if tensor.type.tensor_type.elem_type == TensorProto.UINT8:
            renamed[tensor.name] = f"{tensor.name}.float"
            before.append(_cast(tensor.name, renamed[tensor.name], TensorProto.FLOAT))
    whole |= set(renamed.values())
    for tensor in graph.output:
        if tensor.type.tensor_type.elem_type == TensorProto.UINT8:
            renamed[tensor.name] = f"{tensor.name}.float"
            after.append(_cast(renamed[tensor.name], tensor.name, TensorProto.UINT8))
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.UINT8:
            values = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            whole.add(tensor.name)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        if node.op_type == "Cast" and _target(node).i == TensorProto.UINT8:
            _target(node).i = TensorProto.FLOAT
            whole.add(node.output[0])
        elif whole & set(node.input):
            if node.op_type in MOVING:
                whole.add(node.output[0])
            elif node.op_type not in TELLING:
                raise ValueError(f"{node.op_type} calculates with uint8, which TensorRT has at its ends only")
    nodes = [*before, *(NodeProto.FromString(node.SerializeToString()) for node in graph.node), *after]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # types in between have changed; TensorRT finds them itself


def _cast(source: str, target: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=kind)


def _target(node: NodeProto) -> AttributeProto:
    return next(attribute for attribute in node.attribute if attribute.name == "to")
