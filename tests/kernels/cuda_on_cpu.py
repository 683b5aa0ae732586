"""Runs kernels of CUDA C++ on a CPU, in float32, so that what they compute is tested without a GPU."""

import ctypes
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from i2i_rt.kernels import cupy_module

HEADER = Path(__file__).with_suffix(".h")


def on_cpu(file: str, entry: str, threads: int, cluster: int, folder: Path) -> Callable[..., None]:
    """Compiles a kernel of `kernels/cuda/` by g++; gives a function of its grid `(columns, rows)` and its arguments.

    Args:
        file: in `kernels/cuda/`; its constant `THREADS` becomes `threads`.
        entry: the kernel with its template arguments.
        threads: of a block, few enough that each can be one of the CPU's.
        cluster: blocks of a cluster.
        folder: for what is compiled.
    """
    # instructions of a GPU: conversions of half precision, which is not used, and what the header has instead
    code = re.sub(r"#if __CUDA_ARCH__ >= 900.*?#endif\n", "", cupy_module.source(file), flags=re.DOTALL)
    code = re.sub(r"__device__ __forceinline__ \w+ cluster_\w+\([^)]*\) \{\n\}\n", "", code)
    code = re.sub(r"asm(?: volatile)?\(.*?\);", "", code, flags=re.DOTALL)
    code = re.sub(r"__shared__ ([^;]+) (\w+);", r"auto &\2 = shared_of_block<\1>();", code)
    code = re.sub(r"constexpr int THREADS = \d+;", f"constexpr int THREADS = {threads};", code)
    code = code.replace("#pragma once", "")
    unit, library = folder / "kernel.cpp", folder / f"kernel{hash((file, entry, threads)):x}.so"
    unit.write_text(
        f'#include "{HEADER}"\n{code}\n'
        "template <typename... Types> auto launcher(void (*)(Types...)) {\n"
        "  return +[](int columns, int rows, Types... arguments) {\n"
        f"    run(columns, rows, {cluster}, {threads}, [&] {{ {entry}(arguments...); }});\n"
        "  };\n"
        "}\n"
        f'extern "C" const auto launch = launcher({entry});\n'
    )
    command = ["g++", "-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-pthread", str(unit), "-o", str(library)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    pointer = ctypes.c_void_p.in_dll(ctypes.CDLL(str(library)), "launch").value

    def launch(grid: tuple[int, int], *arguments: Tensor | float | None) -> None:
        values = [_value(argument) for argument in (*grid, *arguments)]
        ctypes.CFUNCTYPE(None, *map(type, values))(pointer)(*values)

    return launch


def _value(argument: Tensor | float | None) -> Any:
    """Passes numbers and pointers as `cupy_module.launch` does."""
    if argument is None or isinstance(argument, Tensor):
        return ctypes.c_void_p(None if argument is None else argument.data_ptr())
    return ctypes.c_int(argument) if isinstance(argument, int) else ctypes.c_float(argument)
