"""Triton kernels compiled ahead of time, without a GPU: what TensorRT plugins are made of, and what tests look into.

Each operator's module lists in `BUILDS` how its kernels are compiled for the official networks;
`python -m i2i_rt.kernels` compiles all of them.
"""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAPABILITIES = (80, 90, 100)  # A100, H100, B200
INSTRUCTIONS = ("LDG.E.128", "LDG.E.64", "LDG.E.U16", "STG.E.128", "STG.E.64", "HGMMA", "HMMA", "LDL", "STL")


@dataclass(frozen=True)
class Build:
    """One way to compile a kernel.

    Attributes:
        name: tells it from the kernel's other builds, such as "apply bf16 nhwc".
        kernel: a function under `triton.jit`.
        signature: the types of its arguments that are not constants, such as "*bf16" or "i32".
        constants: its `tl.constexpr` arguments.
        aligned: arguments that are multiples of 16 (pointers: of 16 bytes); without them loads are narrow.
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    aligned: tuple[str, ...] = ()
    warps: int = 4
    stages: int = 3


@dataclass(frozen=True)
class Compiled:
    """A kernel for one architecture.

    Attributes:
        entry: the kernel's name in the PTX.
        ptx: its text; the entry's parameters are those of the build's signature alone.
        shared_bytes: of shared memory that a launch has to ask for.
        stack_bytes: of local memory: more than 0 means spilled registers.
        instructions: how often those of `INSTRUCTIONS` occur, without those that do not.
    """

    name: str
    capability: int
    entry: str
    ptx: str
    cubin: bytes
    warps: int
    shared_bytes: int
    registers: int
    stack_bytes: int
    instructions: Mapping[str, int]


def compile_ahead(build: Build, capability: int, *, ptx_version: int | None = None) -> Compiled:
    """Compiles a kernel for the architecture sm_`capability`.

    Args:
        build: what to compile.
        capability: 80, 90 or 100, for example.
        ptx_version: 86 means PTX 8.6; drivers refuse a newer one than theirs. None: Triton's newest.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = build.kernel.arg_names
    source = ASTSource(
        fn=build.kernel,
        signature={**build.signature, **dict.fromkeys(build.constants, "constexpr")},
        constexprs=dict(build.constants),
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in build.aligned},
    )
    # named, because the default of floating-point contraction is about to change
    options = {"num_warps": build.warps, "num_stages": build.stages, "enable_fp_fusion": True}
    if ptx_version is not None:
        options["ptx_version"] = ptx_version
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    metadata = made.metadata
    cubin = made.asm["cubin"]
    registers, stack, instructions = resources(cubin)
    return Compiled(
        build.name,
        capability,
        metadata.name,
        without_scratch(made.asm["ptx"], metadata.name, len(build.signature)),
        cubin,
        metadata.num_warps,
        metadata.shared,
        registers,
        stack,
        instructions,
    )


def without_scratch(ptx: str, entry: str, visible: int) -> str:
    """Removes the scratch pointers that Triton appends to a kernel's parameters.

    Raises:
        ValueError: where the kernel uses one of them, and so cannot be launched with its own arguments alone.
    """
    head, rest = ptx.split(f".entry {entry}(", 1)
    parameters, body = rest.split(")", 1)
    kept = [parameter.strip() for parameter in parameters.split(",")]
    for index in range(visible, len(kept)):
        if re.search(rf"\b{entry}_param_{index}\b", body):
            raise ValueError(f"{entry} uses its hidden parameter {index}: it needs scratch memory")
    return f"{head}.entry {entry}(\n\t" + ",\n\t".join(kept[:visible]) + f"\n){body}"


def resources(cubin: bytes) -> tuple[int, int, dict[str, int]]:
    """Gives registers a thread, bytes of local memory, and counts of instructions."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, code = (
            subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True).stdout
            for option in ("--dump-resource-usage", "--dump-sass")
        )
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    if found is None:
        raise RuntimeError(f"cuobjdump says nothing of registers: {usage.strip()}")
    counts = {name: len(re.findall(re.escape(name), code)) for name in INSTRUCTIONS}
    return int(found[1]), int(found[2]) + int(found[3]), {name: count for name, count in counts.items() if count}
