"""The ways in which the server itself runs a bundle's graphs, and the choice of one."""

from dataclasses import dataclass

from i2i_rt.bundle import Artifact, Bundle
from i2i_rt.errors import UnsupportedError, closest
from i2i_rt.runtime.artifact_key import ArtifactKey
from i2i_rt.runtime.backends import BACKENDS
from i2i_rt.serving.deploy.settings import Device

DEVICES = {"gpu": "cuda", "cpu": "cpu"}  # as `i2i_rt.runtime.backends` calls them
PYTHON = "python"  # none of them: sessions of i2i_rt in the processes of Python models


@dataclass(frozen=True)
class Native:
    """One way. A row says all that the choice needs.

    Attributes:
        name: as the option `--backend` has it.
        device: that it is for.
        format: of the artifacts that it runs.
        precisions: of artifacts that it runs.
        start_s: that loading one model may take.
    """

    name: str
    device: Device
    format: str
    precisions: tuple[str, ...]
    start_s: int = 60


# best first, for each device
NATIVES = {
    native.name: native
    for native in (
        Native("tensorrt", "gpu", "tensorrt", ("fp32", "fp16", "bf16", "int8", "fp8")),
        Native("onnxruntime-cuda", "gpu", "onnx", ("fp32", "fp16")),
        # it builds an engine for each model before it is ready
        Native("onnxruntime-tensorrt", "gpu", "onnx", ("fp32", "fp16"), start_s=900),
        Native("aot-inductor", "gpu", "aot-inductor", ("fp32", "fp16", "bf16")),
        Native("onnxruntime-openvino", "cpu", "onnx", ("fp32", "int8")),
        Native("onnxruntime", "cpu", "onnx", ("fp32", "int8")),
    )
}
NATIVE_STAGES = ("translate", "translate_stabilized", "style_from_image", "style_from_noise")


def stages_of(bundle: Bundle) -> list[str]:
    """Gives the stages that are served: those that translate, and those that make styles; of others the main one."""
    found = [name for name in NATIVE_STAGES if name in bundle.stages]
    return found if "translate" in found else [bundle.main_stage]


def choose(bundle: Bundle, device: Device, backend: str, precision: str) -> tuple[Native, str] | None:
    """Chooses how the server runs a bundle, and in which precision; None: by Python models.

    `backend` "auto" takes on a GPU the engine where there is one, else the ONNX graph; on a CPU Python models, whose
    OpenVINO sessions are the fastest there.

    Raises:
        UnsupportedError: where the backend is unknown or of another device, or the bundle has no artifact for it.
    """
    if device == "cpu" and backend in ("auto", PYTHON):
        return None
    if backend == PYTHON:
        raise UnsupportedError("--backend python makes models that compute on a CPU; add --device cpu")
    if backend == "auto":
        rows = [row for row in NATIVES.values() if row.device == device]
    elif backend in NATIVES:
        rows = [NATIVES[backend]]
        if rows[0].device != device:
            here = [row.name for row in NATIVES.values() if row.device == device]
            raise UnsupportedError(f"--backend {backend} is not for a {device}; use {', '.join([*here, PYTHON])}")
    else:
        raise UnsupportedError(f"no backend is called {backend!r}; {closest(backend, [*NATIVES, PYTHON, 'auto'])}")
    for row in rows:
        found = _precision(bundle, row, precision)
        if found is not None:
            return row, found
    wanted = "" if precision == "auto" else f" in {precision}"
    raise UnsupportedError(
        f"{bundle.path} has no {' or '.join(dict.fromkeys(row.format for row in rows))} artifact{wanted} that passed "
        f"its gate; run 'i2i-rt export {bundle.path} --format {rows[0].format}'"
    )


def artifact_of(bundle: Bundle, native: Native, precision: str, stage: str) -> Artifact:
    """Gives the artifact of a stage.

    Raises:
        UnsupportedError: where it was not exported, or from other weights.
    """
    for artifact in bundle.artifacts():
        if (artifact.format, artifact.precision, artifact.stage) == (native.format, precision, stage):
            if artifact.weights_sha256 != bundle.weights_sha256():
                break
            return artifact
    raise UnsupportedError(
        f"{bundle.path} has no {native.format} artifact of {stage!r} in {precision} from its weights; "
        f"run 'i2i-rt export {bundle.path} --format {native.format} --precision {precision}'"
    )


def place(bundle: Bundle, native: Native, precision: str) -> str:
    """Says what a compiled artifact is bound to, and has to meet again where it is served; nothing of other ones."""
    key = ArtifactKey.read(bundle.path / artifact_of(bundle, native, precision, bundle.main_stage).file)
    return "" if key is None else f", for {key.device} with {key.library} {key.library_version} alone"


def is_verified(bundle: Bundle, artifact: Artifact) -> bool | None:
    """Says whether an artifact passed its gate in every backend that it was compared in; None where in none."""
    passed = [record["passed"] for record in bundle.verification() if record["artifact_sha256"] == artifact.sha256]
    return all(passed) if passed else None


def _precision(bundle: Bundle, native: Native, wanted: str) -> str | None:
    """Gives the precision of the main stage's artifact: the fastest that passed, else float32, else any."""
    weights = bundle.weights_sha256()
    known = [
        artifact
        for artifact in bundle.artifacts()
        if artifact.format == native.format
        and artifact.stage == bundle.main_stage
        and artifact.precision in (native.precisions if wanted == "auto" else {wanted} & {*native.precisions})
        and artifact.weights_sha256 == weights
        and is_verified(bundle, artifact) is not False
    ]
    # another device's times say nothing of this one's
    times = {
        record["artifact_sha256"]: record["median_ms"]
        for record in bundle.verification()
        if record["passed"] and DEVICES[native.device] in BACKENDS[record["backend"]].device
    }

    def rank(artifact: Artifact) -> tuple[bool, float, bool]:
        return artifact.sha256 not in times, times.get(artifact.sha256, 0.0), artifact.precision != "fp32"

    return min(known, key=rank).precision if known else None
