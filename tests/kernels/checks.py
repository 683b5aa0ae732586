"""What every kernel is tested with: the three-way rule, poisoned outputs, compiled code without spills.

Without a GPU the kernels run in Triton's interpreter. It truncates to bfloat16 instead of rounding, and computes
products of bfloat16 wrongly (Triton 3.6 to 3.9), so kernels with `tl.dot` are tested in float32 and float16 there.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_rt.kernels import cupy_module
from i2i_rt.kernels.fused import TOLERANCES, relative_error

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = tuple(TOLERANCES)


def assert_no_worse(actual: Tensor, plain: Tensor, exact: Tensor) -> None:
    """Asserts that a kernel is no further from the truth than twice what PyTorch is in the same dtype.

    Args:
        actual: what the kernel gives.
        plain: what plain PyTorch gives on the same inputs.
        exact: what plain PyTorch gives on them in float64.
    """
    assert actual.shape == exact.shape and actual.dtype == plain.dtype
    assert torch.isfinite(actual.double()).all(), "poison or a value out of range is in the output"
    rounding = torch.finfo(actual.dtype).eps if actual.dtype.is_floating_point else 0.0
    error, allowed = relative_error(actual, exact), 2 * relative_error(plain, exact) + rounding
    assert error <= allowed, f"relative error {error:.2e}; {allowed:.2e} is allowed"


@contextmanager
def poisoned() -> Iterator[None]:
    """Lets `torch.empty` give NaN, so that what a kernel does not write is seen."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def exactly(function: Callable[..., Tensor], *tensors: Tensor | None, **options: Any) -> Tensor:
    """Runs a reference in float64 on inputs that were rounded to the kernel's dtype."""
    return function(*(None if tensor is None else tensor.double() for tensor in tensors), **options)


def assert_described(operator: Any, arguments: tuple[Any, ...]) -> None:
    """Asserts that an operator's schema, fake function and gradient agree with what it does.

    On a CPU the operator is a reference that PyTorch cannot trace into, so what needs that is left to the GPU.
    """
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    torch.library.opcheck(
        operator, arguments, test_utils=[*checks, "test_aot_dispatch_dynamic"] if DEVICE == "cuda" else checks
    )


def compiled(operator: str) -> list[dict[str, Any]]:
    """Compiles an operator's kernels for all architectures; in a process of its own, which does not interpret."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "i2i_rt.kernels", operator, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def spilled_by_nvcc(file: str, entries: tuple[str, ...], capability: int, folder: Path) -> dict[str, int]:
    """Compiles kernels of `kernels/cuda/` by nvcc; gives the bytes of local memory of each, by its mangled name."""
    used = ", ".join(f"(void *){entry}" for entry in entries)
    unit = folder / f"{file}_{capability}.cu"
    unit.write_text(f"{cupy_module.source(file)}\nvoid *const used[] = {{{used}}};\n")
    command = ["nvcc", *cupy_module.OPTIONS, f"-arch=sm_{capability}", "-Xptxas", "-v", "-cubin", "-o", os.devnull]
    result = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    names = re.findall(r"Compiling entry function '(\w+)'", result.stderr)
    stacks = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores", result.stderr)
    assert len(names) == len(stacks) == len(entries), result.stderr
    return {name: int(stack) + int(spilled) for name, (stack, spilled) in zip(names, stacks, strict=True)}


def traced_launches(code: str) -> int:
    """Counts the launches in `traced`, a graph of `make_fx` that a piece of code makes before sizes are known.

    In a process of its own, since what runs in Triton's interpreter cannot be traced.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    counted = "print([str(node.target) for node in traced.graph.nodes].count('triton_kernel_wrapper_functional'))"
    program = "\n".join(["import torch", "from torch.fx.experimental.proxy_tensor import make_fx", code, counted])
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout)
