"""Registers the plugins with TensorRT: what is said here is checked by its own validators in the tests."""

from collections.abc import Callable
from functools import cache
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any

from i2i_rt.errors import UnsupportedError
from i2i_rt.export.tensorrt_plugins import LINEAR, PLUGINS, Plugin, in_order
from i2i_rt.kernels.aot import compile_ahead

if TYPE_CHECKING:
    import tensorrt as trt
    import tensorrt.plugin as trtp

NAMESPACE = "i2i_rt"
OLDEST = (10, 10)  # reads a node's namespace from its domain, and plugins of Python ahead of time from ONNX
TACTICS = [1]  # the only one; without any, TensorRT would not name one to the kernel


def register_all(capability: int, *, lazily: bool = False) -> None:
    """Registers every plugin in this process; a second time it does nothing.

    Args:
        capability: of the GPU, 90 for 9.0: kernels are compiled for it, and for no other.
        lazily: leaves TensorRT's own registry alone, which stand-ins for its libraries do not have.

    Raises:
        UnsupportedError: where TensorRT is too old.
    """
    import tensorrt as trt

    if tuple(map(int, trt.__version__.split(".")[:2])) < OLDEST:
        raise UnsupportedError(
            f"--plugins needs TensorRT {OLDEST[0]}.{OLDEST[1]} or later; here is {trt.__version__}: leave it out"
        )
    _register(capability, lazily)


@cache
def _register(capability: int, lazily: bool) -> None:
    for plugin in PLUGINS:
        _register_one(plugin, capability, lazily)


def _register_one(plugin: Plugin, capability: int, lazily: bool) -> None:
    """Hands one plugin over as three functions, whose signatures TensorRT reads."""
    import tensorrt.plugin as trtp

    def describe(*inputs: "trtp.TensorDesc", **attributes: Any) -> "trtp.TensorDesc":
        shape = plugin.shape([list(desc.shape_expr) for desc in inputs], trtp, **attributes)
        return trtp.from_shape_expr(tuple(shape), _types().get(plugin.output.kind, inputs[0].dtype))

    def tune(*arguments: Any) -> "list[trtp.AutoTuneCombination]":
        x: trtp.TensorDesc = arguments[0]
        element = _elements()[x.dtype]
        return [
            trtp.AutoTuneCombination(
                ", ".join(element.upper() if port.kind == "T" else port.kind for port in ports),
                ", ".join(layout if port.image else LINEAR for port in ports),
                TACTICS,
            )
            for layout in plugin.layouts(element, x.shape[1])
        ]

    def implement(*arguments: Any) -> "tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]":
        inputs, values = arguments[: len(plugin.inputs)], arguments[len(plugin.inputs) : -2]
        attributes = dict(zip(plugin.attributes, values, strict=True))
        shapes = [list(desc.shape_expr) for desc in inputs]
        element, layout = _elements()[inputs[0].dtype], inputs[0].format.name
        launch = plugin.launch(element, layout, shapes, trtp, **attributes)
        compiled = compile_ahead(launch.build, capability, ptx_version=ptx_version(capability))
        sizes = launch.ordered_sizes()
        parameters: trtp.KernelLaunchParams = trtp.KernelLaunchParams()
        parameters.grid_x, parameters.grid_y, parameters.grid_z = launch.grid
        parameters.block_x = compiled.warps * 32
        parameters.shared_mem = compiled.shared_bytes
        extra: trtp.SymIntExprs = trtp.SymIntExprs(len(sizes))
        for index, size in enumerate(sizes.values()):
            extra[index] = trtp.SymInt32(size)
        names = [name for name in launch.build.kernel.arg_names if name in launch.build.signature]
        wanted = [*(port.name for port in plugin.inputs), *sizes, plugin.output.name]
        return compiled.entry, in_order(compiled.ptx, compiled.entry, names, wanted), parameters, extra

    ports = (*plugin.inputs, plugin.output)
    given = [(port.name, trtp.TensorDesc) for port in plugin.inputs] + list(plugin.attributes.items())
    outputs = ("outputs", tuple[trtp.TensorDesc])
    compiled_kernel = tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]
    name = f"{NAMESPACE}::{plugin.name}"
    trtp.register(name, lazy_register=lazily)(_signed(describe, given, trtp.TensorDesc))
    trtp.autotune(name)(_signed(tune, [*given, outputs], list[trtp.AutoTuneCombination]))
    trtp.aot_impl(name)(_signed(implement, [*given, outputs, ("tactic", int)], compiled_kernel))


def _signed(function: Callable[..., Any], parameters: list[tuple[str, Any]], result: Any) -> Callable[..., Any]:
    """Gives a function the signature that it shows to others."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    shown = [Parameter(name, kind, annotation=annotation) for name, annotation in parameters]
    function.__signature__ = Signature(shown, return_annotation=result)  # type: ignore[attr-defined]
    return function


def _elements() -> "dict[trt.DataType, str]":
    import tensorrt as trt

    return {trt.DataType.FLOAT: "fp32", trt.DataType.HALF: "fp16", trt.DataType.BF16: "bf16"}


def _types() -> "dict[str, trt.DataType]":
    import tensorrt as trt

    return {"FP32": trt.DataType.FLOAT, "INT32": trt.DataType.INT32}


def ptx_version(capability: int) -> int:
    """Gives the oldest version of PTX that has an architecture: drivers refuse those newer than themselves."""
    return 86 if capability <= 100 else 87
