"""Fused operators in ONNX: one node of the domain `i2i_rt` each, with a function body of standard operators.

So one file serves everybody. ONNX Runtime runs the body, or a kernel that is registered for the node; TensorRT from
10.10 on takes a plugin of the node's name, and the body without one; for OpenVINO, which reads no functions, `inlined`
gives a copy in which the bodies stand in the nodes' places.

PyTorch's exporter inlines every function of a model when it converts its opset. So the nodes pass through it opaque,
described by a schema alone, and the bodies are appended afterwards.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.numpy_helper
import onnx.parser
import onnx_ir
import onnxscript
import torch
from onnx.defs import OpSchema
from onnxscript import opset20 as op

from i2i_rt import kernels as _operators  # noqa: F401 - defines torch.ops.i2i_rt

DOMAIN = "i2i_rt"
OPSET = onnxscript.values.Opset(DOMAIN, 1)
FLOATS = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
TYPES = {"frames": "tensor(uint8)", "index": "tensor(int32)"}  # of inputs and outputs; the others share one float type
INTS = OpSchema.AttrType.INTS
KINDS = {"to": OpSchema.AttrType.INT, "row": INTS, "channels": INTS}  # of attributes; the others are floats
# TensorRT's parser reads these of any node that may be a plugin
PLUGIN_ATTRIBUTES = {"plugin_namespace": OpSchema.AttrType.STRING, "plugin_version": OpSchema.AttrType.STRING}

FRAMES = (
    """FrameIn <to> (frames) => (image) {
        planes = Transpose <perm = [0, 3, 1, 2]> (frames)
        levels = Cast <to = 1> (planes)
        half = Constant <value_float = 127.5> ()
        one = Constant <value_float = 1.0> ()
        positive = Div (levels, half)
        exact = Sub (positive, one)
        image = Cast <to: int = @to> (exact)
    }""",
    """FrameOut (image) => (frames) {
        wide = Cast <to = 1> (image)
        low = Constant <value_float = -1.0> ()
        one = Constant <value_float = 1.0> ()
        half = Constant <value_float = 127.5> ()
        kept = Clip (wide, low, one)
        positive = Add (kept, one)
        levels = Mul (positive, half)
        rounded = Round (levels)
        planes = Cast <to = 2> (rounded)
        frames = Transpose <perm = [0, 2, 3, 1]> (planes)
    }""",
)


def _norm_bodies() -> list[str]:
    """Gives the bodies of instance norm with the activation and the sum that follow it, or without them.

    The names are made of "Norm", or "AdaptiveNorm" where scales and shifts are those of each image `[N, C]`, then
    "Relu" or, for a leaky one, "Act", and "Add" for a residual. Runtimes have a fast kernel for InstanceNormalization
    alone.
    """
    bodies = []
    for adaptive in (False, True):
        for act in ("", "Relu", "Act"):
            for add in (False, True):
                lines = ["wide = Cast <to = 1> (x)"]
                if adaptive:
                    lines += [
                        "shape = Constant <value_ints: ints = @channels> ()",
                        "one = Constant <value_float = 1.0> ()",
                        "zero = Constant <value_float = 0.0> ()",
                        "ones = Expand (one, shape)",
                        "zeros = Expand (zero, shape)",
                        "exact = InstanceNormalization <epsilon: float = @epsilon> (wide, ones, zeros)",
                        "normal = CastLike (exact, x)",
                        "plane = Constant <value_ints = [2, 3]> ()",
                        "scale = Unsqueeze (weight, plane)",
                        "shift = Unsqueeze (bias, plane)",
                        "scaled = Mul (normal, scale)",
                        "normed = Add (scaled, shift)",
                    ]
                else:
                    lines += [
                        "scale = Cast <to = 1> (weight)",
                        "shift = Cast <to = 1> (bias)",
                        "exact = InstanceNormalization <epsilon: float = @epsilon> (wide, scale, shift)",
                        "normed = CastLike (exact, x)",
                    ]
                last = "normed"
                if act:
                    operator = "Relu" if act == "Relu" else "LeakyRelu <alpha: float = @slope>"
                    lines.append(f"active = {operator} (normed)")
                    last = "active"
                lines.append(f"result = Add (residual, {last})" if add else f"result = Identity ({last})")
                name = f"{'Adaptive' if adaptive else ''}Norm{act}{'Add' if add else ''}"
                inputs, attributes = "x, weight, bias" + ", residual" * add, "epsilon" + ", slope" * bool(act)
                attributes += ", channels" * adaptive
                bodies.append(f"{name} <{attributes}> ({inputs}) => (result) {{ {chr(10).join(lines)} }}")
    return bodies


def _table_bodies() -> list[str]:
    """Gives the bodies of SPADE's scale and shift by rows of a table, with a leaky ReLU behind it or without one."""
    lines = """
        size = Constant <value_ints: ints = @row> ()
        rows = Reshape (table, size)
        one = Constant <value_int = 1> ()
        step = CastLike (one, index)
        scale_row = Add (index, index)
        shift_row = Add (scale_row, step)
        scale = Gather <axis = 0> (rows, scale_row)
        shift = Gather <axis = 0> (rows, shift_row)
        last = Transpose <perm = [0, 2, 3, 1]> (x)
        scaled = Mul (last, scale)
        moved = Add (scaled, shift)
    """
    inputs, back = "(x, index, table)", "result = Transpose <perm = [0, 3, 1, 2]>"
    active = "active = LeakyRelu <alpha: float = @slope> (moved)"
    return [
        f"SpadeTable <row> {inputs} => (result) {{ {lines} {back} (moved) }}",
        f"SpadeTableAct <row, slope> {inputs} => (result) {{ {lines} {active}\n{back} (active) }}",
    ]


BODIES = {
    function.name: function
    for function in (
        onnx.parser.parse_function(f'<opset_import: ["": 20], domain: "{DOMAIN}"> {body}')
        for body in (*FRAMES, *_norm_bodies(), *_table_bodies())
    )
}


def _norm_act(
    x: Any,
    weight: Any,
    bias: Any,
    residual: Any,
    mask: Any,
    eps: float,
    slope: float,
    one_plus: bool,
    by_variance: bool,
    upsample: bool,
    pad: int,
) -> Any:
    """Writes the nodes of `norm_act`; what lies in front of the norm and behind the sum are nodes of their own."""
    adaptive = any(part is not None and len(part.shape) == 2 for part in (weight, bias))
    weight, bias = _like(x, weight, 1.0, adaptive), _like(x, bias, 0.0, adaptive)
    if one_plus:
        weight = op.Add(weight, _like(x, None, 1.0, adaptive))
    dtype, channels = x.dtype, x.shape[1]
    if mask is not None:
        x = op.Mul(x, mask)
    if by_variance:
        y = op.Cast(_norm_by_variance(x, weight, bias, eps), to=dtype)
        y = y if slope == 1 else op.LeakyRelu(y, alpha=slope)
        y = y if residual is None else op.Add(residual, y)
    else:
        act = "" if slope == 1 else "Act" if slope else "Relu"
        name = f"{'Adaptive' if adaptive else ''}Norm{act}{'' if residual is None else 'Add'}"
        inputs = (x, weight, bias) if residual is None else (x, weight, bias, residual)
        attributes = ({} if slope == 1 else {"slope": slope}) | ({"channels": [channels]} if adaptive else {})
        y = getattr(OPSET, name)(*inputs, epsilon=eps, **attributes)
    if upsample:
        y = op.Resize(
            y,
            None,
            op.Constant(value_floats=[1.0, 1.0, 2.0, 2.0]),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    return op.Pad(y, op.Constant(value_ints=[0, 0, pad, pad] * 2), mode="reflect") if pad else y


def _like(x: Any, part: Any, otherwise: float, adaptive: bool) -> Any:
    """Gives scales or shifts in the type of `x`, `[N, C]` where they are each image's own and `[C]` where not."""
    if part is None:
        values = np.full((1, x.shape[1]) if adaptive else (x.shape[1],), otherwise, x.dtype.numpy())
        return op.Constant(value=onnx_ir.tensor(values))
    return part if part.dtype == x.dtype else op.Cast(part, to=x.dtype)


def _norm_by_variance(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    wide = op.Cast(x, to=1)
    plane = op.Constant(value_ints=[2, 3])
    difference = wide - op.ReduceMean(wide, plane)
    variance = op.ReduceMean(difference * difference, plane)
    scale, shift = (op.Unsqueeze(op.Cast(part, to=1), op.Constant(value_ints=[-2, -1])) for part in (weight, bias))
    return scale * difference / op.Max(variance, op.Constant(value_float=eps)) + shift


def _spade_table(x: Any, index: Any, table: Any, slope: float) -> Any:
    row = [-1, x.shape[1]]  # known here; to ask for it in the body would make ONNX Runtime reorder x
    if slope == 1:
        return OPSET.SpadeTable(x, index, table, row=row)
    return OPSET.SpadeTableAct(x, index, table, row=row, slope=slope)


# operator of torch.ops.i2i_rt -> what writes its node
TRANSLATIONS: dict[str, Callable[..., Any]] = {
    "frame_in": lambda frames, dtype: OPSET.FrameIn(frames, to=dtype),
    "frame_out": lambda image: OPSET.FrameOut(image),
    "norm_act": _norm_act,
    "spade_table_apply": _spade_table,
}


def _schema(body: onnx.FunctionProto) -> OpSchema:
    """Describes a node to ONNX's checker and to PyTorch's exporter."""
    inputs, outputs = (
        [OpSchema.FormalParameter(name, TYPES.get(name, "T")) for name in names] for names in (body.input, body.output)
    )
    attributes = [OpSchema.Attribute(name, KINDS.get(name, OpSchema.AttrType.FLOAT), "") for name in body.attribute]
    optional = [OpSchema.Attribute(name, kind, "", required=False) for name, kind in PLUGIN_ATTRIBUTES.items()]
    return OpSchema(
        body.name,
        DOMAIN,
        1,
        inputs=inputs,
        outputs=outputs,
        type_constraints=[("T", FLOATS, "")],
        attributes=[*attributes, *optional],
    )


@cache
def _register_schemas() -> None:
    """Makes the nodes known to ONNX, once a process."""
    for body in BODIES.values():
        onnx.defs.register_schema(_schema(body))


def translations() -> dict[Any, Callable[..., Any]]:
    """Gives what `torch.onnx.export` needs to keep the operators as nodes."""
    _register_schemas()
    return {getattr(torch.ops.i2i_rt, name).default: write for name, write in TRANSLATIONS.items()}


def append_bodies(model: Any) -> None:
    """Adds the bodies of the fused nodes that a model (of `onnx_ir`) has."""
    used = set()
    for node in model.graph.all_nodes():
        if node.domain == DOMAIN:
            used.add(node.op_type)
            if "to" in node.attributes:  # no input says this type, so the exporter does not know it
                node.outputs[0].dtype = onnx_ir.DataType(node.attributes["to"].value)
    for name in sorted(used):
        body = onnx.FunctionProto.FromString(BODIES[name].SerializeToString())
        for entry in body.opset_import:  # the checker wants the version of the model
            entry.version = model.opset_imports[entry.domain]
        model.functions[DOMAIN, name, ""] = onnx_ir.serde.deserialize_function(body)
    if used:
        model.opset_imports[DOMAIN] = 1


def inlined(file: Path) -> onnx.ModelProto:
    """Reads a model with the bodies in their nodes' places: standard operators alone."""
    return onnx.inliner.inline_local_functions(onnx.load(file))
