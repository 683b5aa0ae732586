"""Runs the OpenVINO artifact on the CPU: in float32, in 8 bits, or in bfloat16 where the processor has it."""

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.errors import BundleError
from i2i_rt.runtime.backends import Choice, first_stages, is_usable, required_artifact
from i2i_rt.runtime.session import Session
from i2i_rt.spec import StageSpec, TensorSpec

# OpenVINO reports over the network that it is imported and what it converts, unless this module is missing
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # that is how a module is made missing

Shapes = tuple[tuple[str, tuple[int, ...]], ...]  # the shapes of inputs by name; -1 for an axis of any length
KEPT_SIZES = 2  # each has its own copy of the weights, rearranged


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


def load(file: Path, precision: str, threads: int | None = None, shapes: Shapes = ()) -> Any:
    """Compiles a graph, for the shapes of its inputs where they are given, and gives a request for it.

    Raises:
        RuntimeError: where it does not load.
    """
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint(precision)}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    model = core().read_model(file)
    if shapes:
        model.reshape(dict(shapes))
    return core().compile_model(model, "CPU", settings).create_infer_request()


def open_session(bundle: Bundle, choice: Choice, threads: int | None) -> Session:
    return OpenVinoSession(bundle, choice, threads)


class OpenVinoSession(Session):
    """OpenVINO models, one a stage, each compiled for the shortest time of a single request."""

    def __init__(self, bundle: Bundle, choice: Choice, threads: int | None) -> None:
        self.backend, self.precision, self.device = choice.backend.name, choice.precision, "cpu"
        self.stages = bundle.stages
        self._bundle, self._choice = bundle, choice
        self._threads = threads
        # by stage, and by size where the graph is compiled for one
        self._requests: dict[tuple[str, Shapes], Any] = {}
        for stage in first_stages(bundle, choice):
            if not _is_for_one_size(self.stages[stage]):
                self._requests[stage, ()] = self._load(stage, ())

    def _load(self, stage: str, shapes: Shapes) -> Any:
        file = required_artifact(self._bundle, self._choice, stage).file
        try:
            return load(self._bundle.path / file, self.precision, self._threads, shapes)
        except RuntimeError as error:
            raise BundleError(f"{file} does not load in OpenVINO: {error}") from error

    def can_run(self, stage: str) -> bool:
        return is_usable(self._bundle, self._choice, stage)

    def _request(self, stage: str, inputs: Mapping[str, np.ndarray]) -> Any:
        """Gives what runs a stage, compiled when it is first wanted; of those for one size the last ones are kept."""
        shapes: Shapes = ()
        if _is_for_one_size(self.stages[stage]):
            shapes = tuple(
                (tensor.name, _shape(tensor, inputs[tensor.name].shape)) for tensor in self.stages[stage].inputs
            )
        request = self._requests.pop((stage, shapes), None) or self._load(stage, shapes)
        self._requests[stage, shapes] = request  # the one that was used last comes last
        of_one_size = [key for key in self._requests if key[1]]
        if len(of_one_size) > KEPT_SIZES:
            del self._requests[of_one_size[0]]
        return request

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self._request(stage, inputs).infer(dict(inputs), share_inputs=True)
        # the request writes over its own memory in the next run
        return {tensor.name: np.array(results[tensor.name]) for tensor in self.stages[stage].outputs}


def _is_for_one_size(spec: StageSpec) -> bool:
    """Says whether a stage is compiled for each height and width anew.

    `render` goes between maps of features, channels first, and rows of tables, channels last. OpenVINO's convolutions
    keep channels last in memory, so those transposes move nothing; but it finds that out for known sizes only, and
    they cost as much as half the convolutions (OpenVINO 2026.4).
    """
    return any(axis.divisor > 1 for tensor in spec.inputs for axis in tensor.axes)


def _shape(tensor: TensorSpec, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Gives the shape that a graph for one size has: tables still have any number of rows."""
    return tuple(
        length if axis.name in ("N", "H", "W") else axis.size or -1
        for axis, length in zip(tensor.axes, lengths, strict=True)
    )
