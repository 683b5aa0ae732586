"""Fused operators in ONNX: one node of the domain `i2i_rt` each, with a function body of standard operators.

So one file serves everybody. ONNX Runtime runs the body, or a kernel that is registered for the node; TensorRT from
10.10 on takes a plugin of the node's name, and the body without one; for OpenVINO, which reads no functions, `inlined`
gives a copy in which the bodies stand in the nodes' places.

PyTorch's exporter inlines every function of a model when it converts its opset. So the nodes pass through it opaque,
described by a schema alone, and the bodies are appended afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
import onnx_ir
import onnxscript
import torch
from onnx.defs import OpSchema
from onnxscript import opset20 as op

from i2i_rt import kernels as _operators  # noqa: F401 - defines torch.ops.i2i_rt

DOMAIN = "i2i_rt"
OPSET = onnxscript.values.Opset(DOMAIN, 1)
FLOATS = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
script = onnxscript.script(OPSET, default_opset=op)
# TensorRT's parser reads these of any node that may be a plugin
PLUGIN_ATTRIBUTES = {"plugin_namespace": OpSchema.AttrType.STRING, "plugin_version": OpSchema.AttrType.STRING}


@script  # type: ignore[untyped-decorator]
def FrameIn(frames, to: int):  # type: ignore[no-untyped-def]
    """Gives frames `[N, H, W, 3]` uint8 as images `[N, 3, H, W]` in [-1, 1] of the type `to`."""
    image = op.Cast(op.Transpose(frames, perm=[0, 3, 1, 2]), to=1)
    return op.Cast(image / op.Constant(value_float=127.5) - op.Constant(value_float=1.0), to=to)


@script  # type: ignore[untyped-decorator]
def FrameOut(image):  # type: ignore[no-untyped-def]
    """Gives images `[N, 3, H, W]` in [-1, 1] as frames `[N, H, W, 3]` uint8, rounded to the nearest level."""
    one = op.Constant(value_float=1.0)
    level = (op.Clip(op.Cast(image, to=1), op.Constant(value_float=-1.0), one) + one) * op.Constant(value_float=127.5)
    return op.Transpose(op.Cast(op.Round(level), to=2), perm=[0, 2, 3, 1])


@dataclass(frozen=True)
class FusedNode:
    """A node and its body.

    Attributes:
        body: the function; its name is the node's.
        types: the ONNX types of its inputs, then of its output; "T" stands for any float type, the same everywhere.
        attributes: of the node, with their kind.
    """

    body: Any
    types: tuple[str, ...]
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.body.name)

    def schema(self) -> OpSchema:
        """Describes the node to ONNX's checker and to PyTorch's exporter."""
        *inputs, output = self.types
        names = self.body.to_function_proto().input
        return OpSchema(
            self.name,
            DOMAIN,
            1,
            inputs=[OpSchema.FormalParameter(name, kind) for name, kind in zip(names, inputs, strict=True)],
            outputs=[OpSchema.FormalParameter("result", output)],
            type_constraints=[("T", FLOATS, "")],
            attributes=[
                *(OpSchema.Attribute(name, kind, "") for name, kind in self.attributes.items()),
                *(OpSchema.Attribute(name, kind, "", required=False) for name, kind in PLUGIN_ATTRIBUTES.items()),
            ],
        )


NODES = (
    FusedNode(FrameIn, ("tensor(uint8)", "T"), {"to": OpSchema.AttrType.INT}),
    FusedNode(FrameOut, ("T", "tensor(uint8)"), {}),
)

# operator of torch.ops.i2i_rt -> what writes its node
TRANSLATIONS: dict[str, Callable[..., Any]] = {
    "frame_in": lambda frames, dtype: OPSET.FrameIn(frames, to=dtype),
    "frame_out": lambda image: OPSET.FrameOut(image),
}


@cache
def _register_schemas() -> None:
    """Makes the nodes known to ONNX, once a process."""
    for node in NODES:
        onnx.defs.register_schema(node.schema())


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
    for node in NODES:
        if node.name in used:
            body = node.body.to_function_proto()
            for entry in body.opset_import:  # the checker wants the version of the model
                entry.version = model.opset_imports[entry.domain]
            model.functions[DOMAIN, node.name, ""] = onnx_ir.serde.deserialize_function(body)
    if used:
        model.opset_imports[DOMAIN] = 1


def inlined(file: Path) -> onnx.ModelProto:
    """Reads a model with the bodies in their nodes' places: standard operators alone."""
    return onnx.inliner.inline_local_functions(onnx.load(file))
