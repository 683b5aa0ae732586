"""Runs a bundle's own network in PyTorch: eager, or through `torch.compile`."""

import shutil
from collections.abc import Mapping

import numpy as np
import torch

from i2i_rt.bundle import Bundle
from i2i_rt.runtime.backends import Choice
from i2i_rt.runtime.session import Session
from i2i_rt.runtime.torch_device import COMPILERS, device_here, device_name, placed, prepare, runner, switched
from i2i_rt.stages.table import load_stages


def problem(backend: str, precision: str | None) -> str | None:
    """Says why PyTorch cannot be used here; only compiling can lack something, the C++ compiler that it calls."""
    if backend == "torch-compile" and device_here().type == "cpu" and not any(map(shutil.which, COMPILERS)):
        return "torch.compile needs a C++ compiler on the CPU: install g++"
    return None


def open_session(bundle: Bundle, choice: Choice, threads: int | None) -> Session:
    return TorchSession(bundle, choice, threads)


class TorchSession(Session):
    """The reference: what every artifact is compared with, in float32."""

    def __init__(self, bundle: Bundle, choice: Choice, threads: int | None) -> None:
        self.backend, self.precision, self.device = choice.backend.name, choice.precision, device_name()
        prepare(choice.precision, threads)
        stages = load_stages(bundle)
        self.stages = {name: stage.spec for name, stage in stages.items()}
        modules = {name: placed(stage.module, choice.precision) for name, stage in stages.items()}
        if choice.backend.name == "torch-compile":
            # one graph for all sizes would cost speed: a clip has one size; beyond the limit it would run eagerly
            torch._dynamo.config.recompile_limit = 64
            modules = {name: torch.compile(module, dynamic=False) for name, module in modules.items()}  # type: ignore[misc]
        self._runners = {name: runner(switched(module, choice.fused)) for name, module in modules.items()}

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        spec = self.stages[stage]
        results = self._runners[stage]([inputs[tensor.name] for tensor in spec.inputs])
        return {tensor.name: result for tensor, result in zip(spec.outputs, results, strict=True)}
