"""Folds what is constant in a graph: computed once here instead of at every frame.

With a style baked in, the affine parameters of AdaIN, modulations and demodulated weights are constants; with a label
map, so are SPADE's gamma and beta. A constant that scales the channels before or after a convolution goes into the
convolution's weight, and one that scales and shifts after instance norm into its own scale and shift.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

MULTIPLY = (torch.ops.aten.mul.Tensor,)
ADD = (torch.ops.aten.add.Tensor,)
CONVOLUTIONS = (torch.ops.aten.conv2d.default, torch.ops.aten.conv2d.padding)
TRANSPOSED = (torch.ops.aten.conv_transpose2d.input,)
NORM = (torch.ops.aten.instance_norm.default,)
# what draws, or writes into its input, is no constant
IMPURE = ("rand", "dropout", "_.", "empty")


def fold(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Folds constants in an exported module, in place, and gives it."""
    for node in list(graph_module.graph.nodes):
        if node.op == "call_module" and not node.users:  # checks of the inputs' sizes, which the export repeats
            graph_module.graph.erase_node(node)
    _fold_constants(graph_module)
    _fold_scales(graph_module)
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    return graph_module


def _fold_constants(module: fx.GraphModule) -> None:
    """Replaces every node whose arguments are all constants by its value."""
    values: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            values[node] = _attribute(module, str(node.target))
        elif node.op == "call_function" and _is_pure(node) and all(given in values for given in node.all_input_nodes):
            arguments = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            with torch.no_grad():
                values[node] = node.target(*arguments[0], **arguments[1])  # type: ignore[operator]
    for node in list(values):
        used_by_others = any(user not in values for user in node.users)
        if node.op == "call_function" and used_by_others and isinstance(values[node], Tensor):
            _replace(module, node, values[node])


def _is_pure(node: fx.Node) -> bool:
    name = str(node.target)
    return bool(node.all_input_nodes or node.target is operator.getitem) and not any(word in name for word in IMPURE)


def _fold_scales(module: fx.GraphModule) -> None:
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in CONVOLUTIONS or node.target in TRANSPOSED:
            _scale_of_input(module, node)
        elif node.target in MULTIPLY or node.target in ADD:
            _affine_after(module, node)


def _scale_of_input(module: fx.GraphModule, convolution: fx.Node) -> None:
    """`conv(x * s, w)` is `conv(x, w * s)`."""
    product, weight = convolution.args[0], _constant(module, convolution.args[1])
    if not isinstance(product, fx.Node) or product.target not in MULTIPLY or len(product.users) > 1 or weight is None:
        return
    found = _operand(module, product, channels=None)
    groups = convolution.args[6] if len(convolution.args) > 6 else convolution.kwargs.get("groups", 1)
    if found is None or groups != 1:
        return
    x, scale = found
    shape = (1, -1, 1, 1) if convolution.target in CONVOLUTIONS else (-1, 1, 1, 1)
    if scale.numel() not in (1, weight.shape[1 if convolution.target in CONVOLUTIONS else 0]):
        return
    convolution.update_arg(0, x)
    convolution.update_arg(1, _constant_node(module, convolution, weight * scale.reshape(shape)))


def _affine_after(module: fx.GraphModule, node: fx.Node) -> None:
    """Moves a scale or a shift of the channels into the convolution or instance norm before it."""
    for before in node.all_input_nodes:
        if before.op != "call_function" or len(before.users) > 1:
            continue
        if before.target not in (*CONVOLUTIONS, *TRANSPOSED, *NORM):
            continue
        given = [*before.args[1:3], None, None][:2]
        weight, bias = (_constant(module, argument) for argument in given)
        if any(argument is not None and value is None for argument, value in zip(given, (weight, bias), strict=True)):
            continue
        channels = _channels(before, weight)
        found = None if channels is None else _operand(module, node, channels=channels)
        if found is None or found[0] is not before or channels is None:
            continue
        constant = found[1].reshape(-1).expand(channels)
        if node.target in MULTIPLY:
            shape = (-1,) if before.target in NORM else (1, -1, 1, 1) if before.target in TRANSPOSED else (-1, 1, 1, 1)
            weight = constant if weight is None else weight * constant.reshape(shape)
            bias = None if bias is None else bias * constant
        else:
            bias = constant if bias is None else bias + constant
            if before.target in NORM and weight is None:
                weight = torch.ones_like(constant)
        folded = (None if value is None else _constant_node(module, before, value) for value in (weight, bias))
        before.args = (before.args[0], *folded, *before.args[3:])
        node.replace_all_uses_with(before)
        module.graph.erase_node(node)
        return


def _channels(node: fx.Node, weight: Tensor | None) -> int | None:
    if node.target in TRANSPOSED:
        groups = node.args[6] if len(node.args) > 6 else 1
        return None if weight is None or groups != 1 else weight.shape[1]
    if node.target in CONVOLUTIONS:
        return None if weight is None else weight.shape[0]
    value = node.meta.get("val")
    return int(value.shape[1]) if value is not None else None


def _operand(module: fx.GraphModule, node: fx.Node, *, channels: int | None) -> tuple[fx.Node, Tensor] | None:
    """Splits a product or sum into a tensor and a constant with one value a channel."""
    for x, other in (node.args[:2], node.args[1::-1]):
        constant = torch.tensor(float(other)) if isinstance(other, int | float) else _constant(module, other)
        if not isinstance(x, fx.Node) or constant is None or _constant(module, x) is not None:
            continue
        if len(node.args) > 2 or node.kwargs:
            return None
        per_channel = constant.ndim == 4 and constant.shape[0] == constant.shape[2] == constant.shape[3] == 1
        per_channel = per_channel or (constant.ndim == 3 and constant.shape[1:] == (1, 1))
        if ((per_channel or constant.numel() == 1) and channels in (None, constant.numel())) or constant.numel() == 1:
            return x, constant.reshape(-1)
    return None


def _constant(module: fx.GraphModule, argument: Any) -> Tensor | None:
    if isinstance(argument, fx.Node) and argument.op == "get_attr":
        value = _attribute(module, str(argument.target))
        return value if isinstance(value, Tensor) else None
    return None


def _attribute(module: nn.Module, target: str) -> Any:
    return operator.attrgetter(target)(module)


def _constant_node(module: fx.GraphModule, before: fx.Node, value: Tensor) -> fx.Node:
    index = sum(1 for name in module._buffers if name.startswith("folded_"))
    name = f"folded_{index}"
    module.register_buffer(name, value.detach().contiguous())
    with module.graph.inserting_before(before):
        return module.graph.get_attr(name)


def _replace(module: fx.GraphModule, node: fx.Node, value: Tensor) -> None:
    node.replace_all_uses_with(_constant_node(module, node, value))
