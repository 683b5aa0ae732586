"""Runs the packages of AOTInductor: PyTorch's compiled code without its compiler, and without the networks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from i2i_rt.bundle import Artifact, Bundle
from i2i_rt.errors import BundleError, UnsupportedError
from i2i_rt.runtime import machine
from i2i_rt.runtime.artifact_key import ArtifactKey
from i2i_rt.runtime.backends import Choice, Fused, is_usable, required_artifact
from i2i_rt.runtime.session import Session

if TYPE_CHECKING:
    from i2i_rt.runtime.torch_device import Runner

FUSED = "fused kernels"  # of a key's options


def problem(backend: str, precision: str | None) -> str | None:
    """Says why packages in a precision cannot be used here; None where they can."""
    from i2i_rt.runtime.torch_device import device_here

    if precision == "fp16" and device_here().type == "cpu":
        return "float16 packages are for GPUs; on a CPU use bf16"
    return None


def key_here(stage: str, precision: str, weights: str, fused: Fused) -> ArtifactKey:
    """Gives the key of a package that is compiled here.

    The compiler uses every instruction that the processor has, so a package is for one kind of processor.
    """
    import torch

    from i2i_rt.runtime.torch_device import device_here, device_name

    if device_here().type == "cuda":
        name, capability = device_name(), ".".join(map(str, torch.cuda.get_device_capability()))
    else:
        name, capability = machine.cpu_name(), " ".join(machine.cpu_features())
    version = torch.__version__.partition("+")[0]
    options = {} if device_here().type == "cpu" else {FUSED: fused}
    return ArtifactKey(stage, precision, weights, name, capability, "PyTorch", version, options=options)


def artifact_problem(bundle: Bundle, artifact: Artifact) -> str | None:
    """Says why a package cannot be used here although its weights are the bundle's; None where it can."""
    key = ArtifactKey.read(bundle.path / artifact.file)
    if key is None:
        return "its key, the .json file beside it, is missing"
    fused: Fused = "off" if key.options.get(FUSED) == "off" else "auto"
    return key.difference(key_here(artifact.stage, artifact.precision, artifact.weights_sha256, fused))


def open_session(bundle: Bundle, choice: Choice, threads: int | None) -> Session:
    return AotInductorSession(bundle, choice, threads)


class AotInductorSession(Session):
    """Compiled packages, one a stage, loaded when first used."""

    def __init__(self, bundle: Bundle, choice: Choice, threads: int | None) -> None:
        from i2i_rt.runtime.torch_device import device_name, prepare

        self.backend, self.precision, self.device = choice.backend.name, choice.precision, device_name()
        self.stages = bundle.stages
        self._bundle, self._choice = bundle, choice
        prepare(choice.precision, threads)
        self._runners: dict[str, Runner] = {bundle.main_stage: self._load(bundle.main_stage)}

    def _load(self, stage: str) -> "Runner":
        import torch

        from i2i_rt.runtime.torch_device import runner

        artifact = required_artifact(self._bundle, self._choice, stage)
        reason = artifact_problem(self._bundle, artifact)
        key, off = ArtifactKey.read(self._bundle.path / artifact.file), ""
        if reason is None and self._choice.fused == "off" and key is not None and key.options.get(FUSED) == "auto":
            reason, off = "fused kernels are compiled into it", " --fused off"
        if reason is not None:
            raise UnsupportedError(
                f"{artifact.file} cannot be used here: {reason}; run 'i2i-rt export {self._bundle.path} "
                f"--format aot-inductor --precision {artifact.precision}{off}'"
            )
        try:
            # one run at a time is what a session promises, and recording a CUDA graph needs
            package = torch._inductor.aoti_load_package(
                str(self._bundle.path / artifact.file), run_single_threaded=True
            )
        except RuntimeError as error:
            raise BundleError(f"{artifact.file} does not load in AOTInductor: {error}") from error
        return runner(package)

    def can_run(self, stage: str) -> bool:
        return is_usable(self._bundle, self._choice, stage)

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if stage not in self._runners:
            self._runners[stage] = self._load(stage)
        spec = self.stages[stage]
        results = self._runners[stage]([inputs[tensor.name] for tensor in spec.inputs])
        return {tensor.name: result for tensor, result in zip(spec.outputs, results, strict=True)}
