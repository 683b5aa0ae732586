"""Runs the OpenVINO artifact on the CPU: in float32, in 8 bits, or in bfloat16 where the processor has it."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.errors import BundleError
from i2i_rt.runtime.backends import Choice, required_artifact
from i2i_rt.runtime.session import Session


@functools.cache
def core() -> Any:
    """Gives OpenVINO's core, one for the whole process.

    A core's CPU plugin gives the thread a stack for signals, and takes its memory away with the core but leaves the
    kernel its address (OpenVINO 2026.4): the next signal, Ctrl-C say, would then end the process with SIGSEGV.
    """
    import openvino

    return openvino.Core()


def problem(backend: str, precision: str | None) -> str | None:
    """Says why a precision cannot be used here; None where it can."""
    if precision == "bf16" and "BF16" not in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "this processor does not compute in bfloat16; use --precision fp32"
    return None


def hint(precision: str) -> str:
    """Gives what floating-point layers compute in: around layers in 8 bits, bfloat16 where the processor has it."""
    if precision == "int8":
        precision = "fp32" if problem("openvino", "bf16") else "bf16"
    return {"fp32": "f32", "bf16": "bf16"}[precision]


def load(file: Path, precision: str, threads: int | None = None) -> Any:
    """Compiles a graph and gives a request for it.

    Raises:
        RuntimeError: where it does not load.
    """
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint(precision)}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    return core().compile_model(core().read_model(file), "CPU", settings).create_infer_request()


def open_session(bundle: Bundle, choice: Choice, threads: int | None) -> Session:
    return OpenVinoSession(bundle, choice, threads)


class OpenVinoSession(Session):
    """OpenVINO models, one a stage, each compiled for the shortest time of a single request."""

    def __init__(self, bundle: Bundle, choice: Choice, threads: int | None) -> None:
        self.backend, self.precision, self.device = choice.backend.name, choice.precision, "cpu"
        self.stages = bundle.stages
        self._bundle, self._choice = bundle, choice
        self._threads = threads
        self._requests = {bundle.main_stage: self._load(bundle.main_stage)}

    def _load(self, stage: str) -> Any:
        file = required_artifact(self._bundle, self._choice, stage).file
        try:
            return load(self._bundle.path / file, self.precision, self._threads)
        except RuntimeError as error:
            raise BundleError(f"{file} does not load in OpenVINO: {error}") from error

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if stage not in self._requests:
            self._requests[stage] = self._load(stage)
        results = self._requests[stage].infer(dict(inputs), share_inputs=True)
        # the request writes over its own memory in the next run
        return {tensor.name: np.array(results[tensor.name]) for tensor in self.stages[stage].outputs}
