"""Runs the ONNX artifact in ONNX Runtime: on the CPU, on CUDA, or through its TensorRT provider."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.errors import BundleError, UnsupportedError
from i2i_rt.runtime.backends import Choice, first_stages, is_usable, required_artifact
from i2i_rt.runtime.session import Session

PROVIDERS = {
    "onnxruntime": "CPUExecutionProvider",
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}


def problem(backend: str, precision: str | None) -> str | None:
    """Says why a provider cannot be used here; None where it can."""
    import onnxruntime

    provider = PROVIDERS[backend]
    if provider in onnxruntime.get_available_providers():
        return None
    return f"onnxruntime has no {provider} here: pip install 'i2i-rt[gpu]' on a machine with an NVIDIA GPU"


def open_session(bundle: Bundle, choice: Choice, threads: int | None) -> Session:
    return OnnxRuntimeSession(bundle, choice, threads)


class OnnxRuntimeSession(Session):
    """ONNX graphs in ONNX Runtime, one a stage, loaded when first used."""

    def __init__(self, bundle: Bundle, choice: Choice, threads: int | None) -> None:
        import onnxruntime

        self.backend, self.precision = choice.backend.name, choice.precision
        self.device = "cpu" if self.backend == "onnxruntime" else "cuda"
        self.stages = bundle.stages
        self._bundle, self._choice = bundle, choice
        self._options = onnxruntime.SessionOptions()
        self._options.log_severity_level = 3
        if threads is not None:
            self._options.intra_op_num_threads = threads
        self._graphs = {stage: self._load(stage) for stage in first_stages(bundle, choice)}

    def _load(self, stage: str) -> Any:
        import onnxruntime

        file = required_artifact(self._bundle, self._choice, stage).file
        provider = PROVIDERS[self.backend]
        try:
            graph = onnxruntime.InferenceSession(self._bundle.path / file, self._options, providers=[provider])
        except Exception as error:  # its exceptions share no public base class
            raise BundleError(f"{file} does not load in {self.backend}: {error}") from error
        # where a provider fails to start, onnxruntime goes on with the CPU and says so in its log only
        if provider not in graph.get_providers():
            raise UnsupportedError(f"onnxruntime could not start {provider}; see 'i2i-rt doctor'")
        return graph

    def can_run(self, stage: str) -> bool:
        return is_usable(self._bundle, self._choice, stage)

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if stage not in self._graphs:
            self._graphs[stage] = self._load(stage)
        names = [tensor.name for tensor in self.stages[stage].outputs]
        return dict(zip(names, self._graphs[stage].run(names, dict(inputs)), strict=True))
