"""Hands the plugins to TensorRT's bindings, has its validators look at them, and calls them as a build would.

    python -m tests.tensorrt_bindings.plugins FOLDER CAPABILITY ELEMENT...

FOLDER holds the unpacked bindings. Prints a line of JSON for each plugin, ELEMENT ("FLOAT", "HALF", "BF16") and layout.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.tensorrt_bindings.bindings import load

# shapes of the inputs, and attributes of the node
CASES: dict[str, tuple[list[list[int]], dict[str, Any]]] = {
    "NormStats": ([[2, 64, 96, 112]], {}),
    "NormApply": (
        [[2, 64, 96, 112], [2, 40, 2, 64], [2, 64], [2, 64]],
        {"epsilon": 1e-5, "slope": 0.2, "upsample": 1, "pad": 0},
    ),
    "NormApplyAdd": (
        [[2, 64, 96, 112], [2, 40, 2, 64], [64], [64], [2, 64, 96, 112]],
        {"epsilon": 1e-5, "slope": 1.0, "upsample": 0, "pad": 1},
    ),
    "SpadeTableApply": ([[2, 64, 96, 112], [2, 96, 112], [500, 128]], {"slope": 0.2}),
}


class Length:
    """A length that TensorRT's classes take for an expression of their own, and that can be read again."""

    def __init__(self, value: int) -> None:
        self.value = value

    def is_constant(self) -> bool:
        return False  # as a length that a profile leaves open

    def get_constant_value(self) -> int:
        raise RuntimeError("it is not constant")


class Lengths:
    """Stands in for the builder of expressions."""

    def __init__(self, tensorrt: ModuleType) -> None:
        operation = tensorrt.DimensionOperation
        self.operations = {
            operation.SUM: lambda a, b: a + b,
            operation.PROD: lambda a, b: a * b,
            operation.FLOOR_DIV: lambda a, b: a // b,
            operation.CEIL_DIV: lambda a, b: -(-a // b),
            operation.MIN: min,
            operation.MAX: max,
        }

    def constant(self, value: int) -> Length:
        return Length(value)

    def operation(self, kind: Any, first: Length, second: Length) -> Length:
        return Length(self.operations[kind](first.value, second.value))


def tried(tensorrt: ModuleType, capability: int, elements: list[str]) -> Iterator[dict[str, Any]]:
    """Registers the plugins, and calls each in every combination that it offers."""
    from i2i_rt.export import tensorrt_registry

    trtp = tensorrt.plugin
    library, tensor = (sys.modules[f"tensorrt_bindings.plugin.{name}"] for name in ("_lib", "_tensor"))
    tensorrt.IDimensionExpr = Length  # type: ignore[attr-defined]
    tensor.SymIntExpr._exprBuilder = Lengths(tensorrt)
    tensorrt_registry.register_all(capability, lazily=True)

    def desc(shape: list[int], dtype: Any, layout: Any) -> Any:
        made = trtp.TensorDesc()
        made.dtype, made.shape, made.format = dtype, trtp.Shape(tuple(shape)), layout
        made.shape_expr = trtp.ShapeExprs(len(shape))
        for axis, length in enumerate(shape):
            made.shape_expr[axis] = trtp.ShapeExpr(length)
        return made

    for name, (shapes, attributes) in CASES.items():
        definition = library.QDP_REGISTRY[f"i2i_rt::{name}"]
        for element in (getattr(tensorrt.DataType, name) for name in elements):
            linear = tensorrt.TensorFormat.LINEAR
            inputs = [desc(shape, element, linear) for shape in shapes]
            output = definition.register_func(*inputs, **attributes)
            offered = definition.autotune_func(*inputs, *attributes.values(), [output])
            for found in (one for combination in offered for one in combination._get_combinations()):
                given = [
                    desc(shape, kind, layout)
                    for shape, kind, layout in zip(shapes, found.types, found.layouts, strict=False)
                ]
                (tactic,) = found.tactics
                entry, ptx, launch, extra = definition.aot_impl_func(*given, *attributes.values(), [output], tactic)
                yield {
                    "plugin": name,
                    "element": element.name,
                    "types": [kind.name for kind in found.types],
                    "layouts": [layout.name for layout in found.layouts],
                    "shape": [length._expr.value for length in output.shape_expr],
                    "dtype": output.dtype.name,
                    "grid": [getattr(launch, f"grid_{axis}")._expr.value for axis in "xyz"],
                    "block": launch.block_x._expr.value,
                    "sizes": [size._expr.value for size in extra],
                    "parameters": parameters(ptx, entry),
                    "version": re.findall(r"\.version ([\d.]+)", ptx),
                    "spilled": spilled(ptx, capability),
                }


def parameters(ptx: str, entry: str) -> list[str]:
    """Gives the types of a kernel's parameters, such as "u64" of a pointer."""
    declared = ptx.split(f".entry {entry}(", 1)[1].split(")", 1)[0]
    return [text.split()[1].lstrip(".") for text in declared.split(",")]


def spilled(ptx: str, capability: int) -> int:
    """Gives the bytes of local memory that NVIDIA's assembler needs; it raises where it does not take the PTX."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin" / ("ptxas-blackwell" if capability >= 100 else "ptxas")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        suffix = "a" if capability >= 90 else ""
        command = [tool, "-v", f"-arch=sm_{capability}{suffix}", source, "-o", Path(folder) / "kernel.cubin"]
        said = subprocess.run(command, capture_output=True, check=True, text=True).stderr
    return sum(map(int, re.findall(r"(\d+) bytes stack frame", said)))


if __name__ == "__main__":
    for row in tried(load(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3:]):
        print(json.dumps(row), flush=True)
