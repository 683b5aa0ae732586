"""Stage to a compiled package of AOTInductor: `.pt2`, for the device that is here, run from Python or from C++.

The package holds machine code, so it belongs to one kind of device and one version of PyTorch; the key beside it says
which. Fused Triton kernels are compiled into a package for a GPU; on a CPU their plain PyTorch references are.
"""

import copy
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from i2i_rt.errors import UnsupportedError
from i2i_rt.export import trace
from i2i_rt.export.fold import fold
from i2i_rt.runtime import backends
from i2i_rt.runtime.aot_inductor import key_here
from i2i_rt.runtime.torch_device import COMPILERS, device_here, kernels_used, placed
from i2i_rt.spec import StageSpec
from i2i_rt.stages.baked import Constant
from i2i_rt.stages.base import Stage

# Inductor chooses kernels for the sizes of the trace and lets them run at others: frames of the usual size, then, and
# two of them, because it takes a single one for a constant
USUAL = {"N": 2, "H": 256, "W": 320}


def build(
    stage: Stage, file: Path, *, precision: str, metadata: Mapping[str, str], fused: backends.Fused = "auto"
) -> None:
    """Compiles a stage and writes `file` (`.pt2`), with its key (`.json`) beside it.

    Args:
        stage: what to compile, in float32.
        file: the package.
        precision: "fp32", "bf16" or, for a GPU, "fp16"; statistics of norms are taken in float32.
        metadata: written into the package.
        fused: whether the fused kernels that pass their tests here are compiled in; there are none for a CPU.

    Raises:
        UnsupportedError: where there is no compiler.
    """
    if not any(map(shutil.which, COMPILERS)):
        raise UnsupportedError("--format aot-inductor needs a C++ compiler: install g++")
    module = placed(copy.deepcopy(stage.module), precision)
    examples = tuple(tensor.to(device_here()) for tensor in trace.examples(stage.spec, _lengths(stage.spec)))
    shapes = trace.dynamic_shapes(stage.spec)
    # the compiler warns of the toolkits that it finds and of its own internals, which nobody who exports can change
    with torch.no_grad(), kernels_used(fused), warnings.catch_warnings(), trace.quiet("torch"):
        warnings.simplefilter("ignore")
        program = trace.exported(module, examples, shapes)
        if isinstance(module, Constant):
            program = trace.exported(fold(program.module()), examples, shapes)
        options = {"aot_inductor.metadata": dict(metadata)}
        torch._inductor.aoti_compile_and_package(program, package_path=str(file), inductor_configs=options)
    key_here(stage.spec.name, precision, metadata["i2i_rt.weights_sha256"], fused).write(file)


def _lengths(spec: StageSpec) -> dict[str, int]:
    """Gives the usual lengths of the axes of frames, as the stage takes them."""
    axes = {axis.name: axis for tensor in spec.inputs for axis in tensor.axes}
    return {name: axes[name].fit(length) for name, length in USUAL.items() if name in axes}
