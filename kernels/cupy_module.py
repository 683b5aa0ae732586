"""CUDA C++ kernels of `kernels/cuda/`: compiled by NVRTC through CuPy at their first launch, on PyTorch's stream.

They are second implementations of some operators, for PyTorch without a traced graph (CUDA graphs included), where
Triton cannot express what makes them faster, such as clusters of blocks that share their memory. Each has a name and a
test of its own for `fused.eager`, such as "norm_act.cuda". CuPy keeps on disk what it has compiled. `compile_ahead`
compiles without a GPU, for the tests.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_rt.kernels.aot import resources

FOLDER = Path(__file__).parent / "cuda"
OPTIONS = ("-std=c++17",)
ALWAYS_SHARED = 48 * 1024  # bytes of shared memory that a block may have unasked
NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}  # of dtypes in templates


def source(file: str) -> str:
    """Gives a file of `kernels/cuda/` with what it includes from there in its place.

    CuPy recognises what it has compiled by the text, without the text of headers.
    """
    return re.sub(r'#include "(\w+\.cuh)"', lambda match: source(match[1]), (FOLDER / file).read_text())


def launch(
    file: str,
    entry: str,
    grid: Sequence[int],
    threads: int,
    *arguments: Tensor | float | None,
    shared_bytes: int = 0,
) -> None:
    """Launches a kernel on PyTorch's current stream of the device where its tensors lie.

    Args:
        file: in `kernels/cuda/`.
        entry: the kernel's name with its template arguments, such as "norm_cluster<bf16, 8>".
        grid: how many blocks, along up to three axes.
        threads: of a block.
        arguments: tensors are passed as pointers, None as a null pointer, ints as int32, floats as float32.
        shared_bytes: of dynamic shared memory a block.
    """
    import cupy

    device = next(value.device for value in arguments if isinstance(value, Tensor))
    stream = torch.cuda.current_stream(device).cuda_stream
    with cupy.cuda.Device(device.index), cupy.cuda.ExternalStream(stream):
        function = _function(file, entry, device.index)
        if shared_bytes > ALWAYS_SHARED:
            function.max_dynamic_shared_size_bytes = shared_bytes
        function(tuple(grid), (threads,), tuple(map(_argument, arguments)), shared_mem=shared_bytes)


@cache
def _function(file: str, entry: str, _index: int) -> Any:
    """Compiles a kernel for the current device, whose index tells its functions from those of other devices."""
    import cupy

    return cupy.RawModule(code=source(file), options=OPTIONS, name_expressions=(entry,)).get_function(entry)


def _argument(value: Tensor | float | None) -> Any:
    import numpy as np

    if value is None:
        return np.uint64(0)
    if isinstance(value, Tensor):
        return np.uint64(value.data_ptr())
    return np.int32(value) if isinstance(value, int) else np.float32(value)


def compile_ahead(file: str, entry: str, capability: int) -> dict[str, Any]:
    """Compiles a kernel for the architecture sm_`capability`, without a GPU.

    Returns:
        Its registers a thread, bytes of local memory ("stack_bytes", more than 0 means spilled registers), and how
        often those of `aot.INSTRUCTIONS` occur.

    Raises:
        RuntimeError: with the compiler's log where it fails.
    """
    from cuda.bindings import nvrtc  # comes with PyTorch for CUDA; CuPy's own wrapper asks for a driver

    _, program = nvrtc.nvrtcCreateProgram(source(file).encode(), file.encode(), 0, [], [])
    try:
        nvrtc.nvrtcAddNameExpression(program, entry.encode())
        options = [option.encode() for option in (f"-arch=sm_{capability}", *OPTIONS)]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = _output(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
            raise RuntimeError(f"{file} does not compile:\n{log.decode()}")
        cubin = _output(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    registers, stack, instructions = resources(cubin)
    return {
        "name": entry,
        "capability": capability,
        "registers": registers,
        "stack_bytes": stack,
        "instructions": instructions,
    }


def _output(size: Callable[[Any], tuple[Any, int]], write: Callable[[Any, bytes], Any], program: Any) -> bytes:
    """Gives what NVRTC writes into memory of a size that it says."""
    text = b" " * size(program)[1]
    write(program, text)
    return text
