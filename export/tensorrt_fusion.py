"""Puts plugins in the places of an ONNX graph's fused nodes, for TensorRT."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from i2i_rt.export.fused_nodes import DOMAIN
from i2i_rt.export.tensorrt_plugins import PLUGINS

TWICE = [1, 1, 2, 2]


def with_plugins(model: ModelProto) -> frozenset[str]:
    """Changes a graph, and names the plugins that it has now.

    `norm_act` becomes two nodes, because a plugin is one kernel; the second one takes the enlargement and the reflected
    edges along that follow it. Nodes that no plugin computes stay as they are.
    """
    graph = model.graph
    constants = constants_of(graph)
    consumers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    outputs = {tensor.name for tensor in graph.output}
    nodes: list[NodeProto] = []
    absorbed: set[str] = set()  # outputs of nodes that a plugin computes along
    for node in graph.node:
        if node.output[0] in absorbed:
            continue
        # "channels" and "row" are for the bodies; a node without an activation has no slope
        known = {attribute.name: attribute.f for attribute in node.attribute if attribute.name in ("epsilon", "slope")}
        if node.domain == DOMAIN and node.op_type.startswith("SpadeTable"):
            nodes.append(_plugin("SpadeTableApply", node.input, node.output[0], **{"slope": 1.0, **known}))
            continue
        if not _is_norm(node, constants):
            nodes.append(node)
            continue
        attributes: dict[str, Any] = {"slope": 1.0, **known, "upsample": 0, "pad": 0}
        result = node.output[0]
        while result not in outputs and len(consumers.get(result, ())) == 1:
            (following,) = consumers[result]
            change = _taken_along(following, attributes, constants)
            if change is None:
                break
            attributes |= change
            result = following.output[0]
            absorbed.add(result)
        nodes += _norm(node, result, attributes)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.value_info[:]
    names = {plugin.name for plugin in PLUGINS}
    return frozenset(node.op_type for node in graph.node if node.domain == DOMAIN and node.op_type in names)


def _is_norm(node: NodeProto, constants: Mapping[str, np.ndarray]) -> bool:
    """Says whether a node is a norm that the plugins compute.

    They go by one distance between the rows of scales and those of shifts, so a constant row for all images beside
    rows of each is left to the node's body.
    """
    if node.domain != DOMAIN or not node.op_type.removeprefix("Adaptive").startswith("Norm"):
        return False
    return all(name not in constants or constants[name].ndim == 1 for name in node.input[1:3])


def _norm(node: NodeProto, result: str, attributes: Mapping[str, Any]) -> list[NodeProto]:
    x, *others = node.input
    partial = f"{result}.partial"
    apply = "NormApplyAdd" if len(node.input) > 3 else "NormApply"
    return [_plugin("NormStats", [x], partial), _plugin(apply, [x, partial, *others], result, **attributes)]


def _plugin(name: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs, [output], name=output, domain=DOMAIN, **attributes)


def _taken_along(
    node: NodeProto, attributes: Mapping[str, Any], constants: Mapping[str, np.ndarray]
) -> dict[str, int] | None:
    """Gives what a norm's attributes become where it does the work of the node behind it; None where it does not."""
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if attributes["pad"]:
        return None
    if node.op_type == "Resize" and not attributes["upsample"]:
        nearest = options.get("mode") == b"nearest" and options.get("nearest_mode") == b"floor"
        scales = constants.get(node.input[2]) if len(node.input) > 2 else None
        whole = options.get("coordinate_transformation_mode") == b"asymmetric"
        return {"upsample": 1} if nearest and whole and scales is not None and scales.tolist() == TWICE else None
    if node.op_type == "Pad" and options.get("mode") == b"reflect" and node.input[1] in constants:
        pad = int(constants[node.input[1]][-1])
        return {"pad": pad} if constants[node.input[1]].tolist() == [0, 0, pad, pad] * 2 and pad > 0 else None
    return None


def constants_of(graph: GraphProto) -> dict[str, np.ndarray]:
    """Gives the constant tensors of a graph."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            (value,) = (helper.get_attribute_value(attribute) for attribute in node.attribute)
            is_tensor = node.attribute[0].name == "value"
            found[node.output[0]] = numpy_helper.to_array(value) if is_tensor else np.asarray(value)
    return found
