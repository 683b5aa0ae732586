"""Graphs in the form that TensorRT takes: the same pictures, with uint8 at the ends alone."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from i2i_rt.export.tensorrt_graph import prepare
from tests.tensorrt_bindings.parser import refused


def model(
    nodes: list[onnx.NodeProto], inputs: dict[str, int], outputs: dict[str, int], **constants: np.ndarray
) -> onnx.ModelProto:
    ends = [
        [helper.make_tensor_value_info(name, kind, ["N", "H", "W"]) for name, kind in tensors.items()]
        for tensors in (inputs, outputs)
    ]
    graph = helper.make_graph(
        nodes, "graph", *ends, initializer=[numpy_helper.from_array(array, name) for name, array in constants.items()]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(graph: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, inputs)
    return results


def labels_model() -> onnx.ModelProto:
    """Turns, slices, compares and casts label maps, as SPADE does."""
    return model(
        [
            helper.make_node("Transpose", ["labels"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("Equal", ["turned", "unknown"], ["is_unknown"]),
            helper.make_node("Cast", ["turned"], ["whole"], to=TensorProto.INT32),
            helper.make_node("Where", ["is_unknown", "last", "whole"], ["classes"]),
            helper.make_node("Cast", ["classes"], ["result"], to=TensorProto.UINT8),
        ],
        {"labels": TensorProto.UINT8},
        {"result": TensorProto.UINT8},
        unknown=np.array(255, np.uint8),
        last=np.array(7, np.int32),
    )


def test_bytes_stand_at_the_ends_and_the_result_stays() -> None:
    labels = np.arange(2 * 8 * 16, dtype=np.uint8).reshape(2, 8, 16)
    (expected,) = run(labels_model(), labels=labels)
    assert refused(labels_model())
    prepared = prepare(labels_model())
    assert not refused(prepared)
    onnx.checker.check_model(prepared, full_check=True)
    (actual,) = run(prepared, labels=labels)
    assert actual.dtype == np.uint8 and np.array_equal(actual, expected)


def test_input_that_is_an_output_too() -> None:
    graph = model([helper.make_node("Identity", ["a"], ["b"])], {"a": TensorProto.UINT8}, {"b": TensorProto.UINT8})
    values = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert np.array_equal(run(prepare(graph), a=values)[0], values)


def test_arithmetic_on_bytes_is_refused() -> None:
    """It would wrap around in uint8 and not in float32."""
    graph = model([helper.make_node("Add", ["a", "a"], ["b"])], {"a": TensorProto.UINT8}, {"b": TensorProto.UINT8})
    with pytest.raises(ValueError, match="Add calculates with uint8"):
        prepare(graph)


def test_bodies_of_fused_nodes_are_inlined_but_those_of_plugins() -> None:
    opset = [helper.make_opsetid("", 20)]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])] for name in "ac"]
    graph = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Inlined", ["a"], ["b"], domain="i2i_rt"),
                helper.make_node("Plugin", ["b"], ["c"], domain="i2i_rt"),
            ],
            "graph",
            *ends,
        ),
        opset_imports=[*opset, helper.make_opsetid("i2i_rt", 1)],
        functions=[
            helper.make_function("i2i_rt", name, ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], opset)
            for name in ("Inlined", "Plugin")
        ],
    )
    prepared = prepare(graph, plugins=frozenset({"Plugin"}))
    assert [node.op_type for node in prepared.graph.node] == ["Relu", "Plugin"]
