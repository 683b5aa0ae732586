"""Runs a bundle's own network in PyTorch: eager, or through `torch.compile`."""

import os
import shutil
from collections.abc import Mapping

import numpy as np
import torch

from i2i_rt.bundle import Bundle
from i2i_rt.runtime.backends import Choice
from i2i_rt.runtime.session import Session
from i2i_rt.stages.table import load_stages

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def problem(backend: str, precision: str | None) -> str | None:
    """Says why PyTorch cannot be used here; only compiling can lack something, the C++ compiler that it calls."""
    compilers = (os.environ.get("CXX", "g++"), "clang++", "cl")
    if backend == "torch-compile" and not torch.cuda.is_available() and not any(map(shutil.which, compilers)):
        return "torch.compile needs a C++ compiler on the CPU: install g++"
    return None


def open_session(bundle: Bundle, choice: Choice, threads: int | None) -> Session:
    return TorchSession(bundle, choice, threads)


class TorchSession(Session):
    """The reference: what every artifact is compared with, in float32."""

    def __init__(self, bundle: Bundle, choice: Choice, threads: int | None) -> None:
        self.backend, self.precision = choice.backend.name, choice.precision
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.device = torch.cuda.get_device_name() if self._device.type == "cuda" else "cpu"
        if threads is not None:
            torch.set_num_threads(threads)
        if choice.precision == "fp32":
            # cuDNN would otherwise round to TF32's ten bits, and this is what everything is compared with
            torch.backends.cudnn.allow_tf32 = False
        stages = load_stages(bundle)
        self.stages = {name: stage.spec for name, stage in stages.items()}
        self._modules = {
            name: stage.module.to(self._device, DTYPES[choice.precision]) for name, stage in stages.items()
        }
        if choice.backend.name == "torch-compile":
            # one graph for all sizes would cost speed: a clip has one size; beyond the limit it would run eagerly
            torch._dynamo.config.recompile_limit = 64
            self._modules = {name: torch.compile(module, dynamic=False) for name, module in self._modules.items()}  # type: ignore[misc]

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        spec = self.stages[stage]
        with torch.inference_mode():
            tensors = [torch.from_numpy(np.ascontiguousarray(inputs[t.name])).to(self._device) for t in spec.inputs]
            results = self._modules[stage](*tensors)
        results = results if isinstance(results, tuple) else (results,)
        return {
            tensor.name: result.contiguous().cpu().numpy() for tensor, result in zip(spec.outputs, results, strict=True)
        }
