"""The table of backends, and the choice of one."""

import importlib
import importlib.util
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from i2i_rt.bundle import Artifact, Bundle
from i2i_rt.errors import MissingDependencyError, UnsupportedError, closest
from i2i_rt.runtime.machine import machine_name
from i2i_rt.runtime.session import Session
from i2i_rt.spec import LABEL_STAGES

# whether fused kernels compute where they can
Fused = Literal["auto", "off"]
PRECISIONS = ("fp32", "bf16", "fp16", "int8", "fp8")


@dataclass(frozen=True)
class Backend:
    """One way to run a bundle. A row is all that is known before the backend's package is imported."""

    name: str
    module: str  # below i2i_rt; has `open_session(bundle, choice, threads)` and `problem(backend, precision)`
    package: str
    extra: str
    format: str | None  # of the artifact that it runs; None: it runs the weights themselves
    precisions: Mapping[str, str | None]  # what it computes in -> the precision of the artifact that this takes
    device: str
    bound: bool = False  # its artifacts run only where they were made; the module has `artifact_problem`


# Best first where nothing was measured on this machine.
BACKENDS = {
    backend.name: backend
    for backend in (
        Backend(
            "tensorrt", "runtime.tensorrt", "tensorrt", "gpu", "tensorrt",
            {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "int8", "fp8": "fp8"}, "cuda",
        ),
        Backend(
            "onnxruntime-tensorrt", "runtime.onnxruntime", "onnxruntime", "gpu", "onnx",
            {"fp32": "fp32", "fp16": "fp16"}, "cuda",
        ),
        Backend(
            "onnxruntime-cuda", "runtime.onnxruntime", "onnxruntime", "gpu", "onnx",
            {"fp32": "fp32", "fp16": "fp16"}, "cuda",
        ),
        Backend(
            "openvino", "runtime.openvino", "openvino", "cpu", "openvino",
            {"fp32": "fp32", "bf16": "fp32", "int8": "int8"}, "cpu",
        ),
        Backend(
            "onnxruntime", "runtime.onnxruntime", "onnxruntime", "cpu", "onnx",
            {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}, "cpu",
        ),
        Backend(
            "aot-inductor", "runtime.aot_inductor", "torch", "train", "aot-inductor",
            {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}, "cpu or cuda", bound=True,
        ),
        Backend("torch-compile", "runtime.torch", "torch", "train", None, {"fp32": None, "bf16": None}, "cpu or cuda"),
        Backend(
            "torch", "runtime.torch", "torch", "train", None,
            {"fp32": None, "bf16": None, "fp16": None}, "cpu or cuda",
        ),
    )
}  # fmt: skip

# Runs nothing here: a server that serves the bundle does.
REMOTE = Backend(
    "triton", "serving.session", "tritonclient", "client", None, dict.fromkeys(PRECISIONS), "a server's"
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A backend and precision for a bundle, and the reason in a few words."""

    backend: Backend
    precision: str
    reason: str
    build: bool = True  # whether an artifact that was compiled for another machine may be compiled anew
    fused: Fused = "auto"  # of what computes with PyTorch
    server: str | None = None  # the address, of the backend "triton"

    def __post_init__(self) -> None:
        if self.fused not in get_args(Fused):
            raise UnsupportedError(f"fused is {self.fused!r}; it must be one of {', '.join(get_args(Fused))}")


def find(name: str) -> Backend:
    """Gives a backend by its name.

    Raises:
        UnsupportedError: where there is none of that name.
    """
    rows = {**BACKENDS, REMOTE.name: REMOTE}
    if name not in rows:
        raise UnsupportedError(f"no backend is called {name!r}; {closest(name, [*rows, 'auto'])}")
    return rows[name]


def module_of(backend: Backend) -> Any:
    """Imports the module that runs a backend, and with it the backend's package."""
    return importlib.import_module(f"i2i_rt.{backend.module}")


def problem(backend: Backend, precision: str | None = None) -> str | None:
    """Says why this machine cannot use a backend (in a precision); None where it can."""
    if importlib.util.find_spec(backend.package) is None:
        return f"the package {backend.package!r} is not installed: pip install 'i2i-rt[{backend.extra}]'"
    module: Any = module_of(backend)
    reason: str | None = module.problem(backend.name, precision)
    return reason


def find_artifact(bundle: Bundle, backend: Backend, precision: str, stage: str | None = None) -> Artifact | None:
    """Gives the artifact of a stage (the main one) that a backend runs for a precision; None where there is none."""
    stage = stage or bundle.main_stage
    for artifact in bundle.artifacts():
        if (
            artifact.format == backend.format
            and artifact.precision == backend.precisions.get(precision)
            and artifact.stage == stage
        ):
            return artifact
    return None


def artifact_problem(bundle: Bundle, backend: Backend, artifact: Artifact) -> str | None:
    """Says why an artifact cannot be used here although the backend can; None where it can."""
    if not backend.bound:
        return None
    module: Any = module_of(backend)
    reason: str | None = module.artifact_problem(bundle, artifact)
    return reason


def choose(
    bundle: Bundle,
    backend: str = "auto",
    precision: str = "auto",
    *,
    without: Collection[str] = (),
    server: str | None = None,
) -> Choice:
    """Chooses how to run a bundle; `auto` is the fastest verified artifact that this machine can run.

    Args:
        bundle: the model.
        backend: a name in `BACKENDS`, "triton", or "auto".
        precision: one of `PRECISIONS`, or "auto".
        without: packages that `auto` must not need.
        server: the address of a server that serves the bundle; it is asked, whatever else could run here.

    Raises:
        UnsupportedError: where the named backend or precision cannot be used, or nothing can.
        MissingDependencyError: where the named backend is not installed.
    """
    if precision not in (*PRECISIONS, "auto"):
        raise UnsupportedError(f"no precision is called {precision!r}; {closest(precision, [*PRECISIONS, 'auto'])}")
    if server is not None or backend == REMOTE.name:
        return _remote(bundle, backend, precision, server)
    if backend != "auto":
        return _named(bundle, find(backend), precision)
    weights = bundle.weights_sha256()
    machine = machine_name()
    ranked: list[tuple[tuple[bool, float, int], Choice]] = []
    for record in bundle.verification():
        row = BACKENDS.get(record["backend"])
        if (
            row is None
            or row.package in without
            or not record["passed"]
            or record["weights_sha256"] != weights
            or record["stage"] != bundle.main_stage
        ):
            continue
        if precision not in ("auto", record["precision"]) or problem(row, record["precision"]) is not None:
            continue
        artifact = find_artifact(bundle, row, record["precision"])
        if row.format is not None and (
            artifact is None
            or artifact.sha256 != record["artifact_sha256"]
            or artifact_problem(bundle, row, artifact) is not None
        ):
            continue
        here = record["machine"] == machine
        figures = f"{record['psnr_db']:.0f} dB" if record["psnr_db"] is not None else "no loss"
        reason = (
            f"fastest verified here: {record['median_ms']:.0f} ms at 256x256, {figures}"
            if here
            else f"verified at {figures}; not timed on this machine"
        )
        order = list(BACKENDS).index(row.name)
        rank = (not here, record["median_ms"] if here else 0.0, order)
        ranked.append((rank, Choice(row, record["precision"], reason)))
    if ranked:
        return min(ranked, key=lambda entry: entry[0])[1]
    torch_row, wanted = BACKENDS["torch"], "fp32" if precision == "auto" else precision
    if wanted not in torch_row.precisions:
        tensorrt = "" if wanted == "int8" else " --format tensorrt"
        raise UnsupportedError(
            f"{bundle.path} has no verified artifact in {wanted} that this machine can run; "
            f"run 'i2i-rt export {bundle.path}{tensorrt} --precision {wanted} --calibrate FOLDER'"
        )
    if torch_row.package not in without and problem(torch_row) is None:
        reason = f"no artifact is verified; 'i2i-rt export {bundle.path}' makes faster ones"
        return Choice(torch_row, wanted, reason)
    raise UnsupportedError(
        f"{bundle.path} has no verified artifact that this machine can run without torch; "
        f"run 'i2i-rt export {bundle.path}' where torch is, or name a backend with --backend"
    )


def _remote(bundle: Bundle, backend: str, precision: str, server: str | None) -> Choice:
    if backend not in (REMOTE.name, "auto"):
        raise UnsupportedError(f"the server at {server} is asked by the backend 'triton', not by {backend!r}")
    if server is None:
        raise UnsupportedError("the backend 'triton' needs the server's address: --server grpc://HOST:8001")
    if problem(REMOTE) is not None:
        raise MissingDependencyError(REMOTE.package, REMOTE.extra, f"the backend {REMOTE.name!r}")
    found: str = module_of(REMOTE).served_precision(bundle, server)
    if precision not in (found, "auto"):
        raise UnsupportedError(f"the server at {server} computes in {found}, not in {precision}; leave --precision out")
    return Choice(REMOTE, found, f"served at {server}", server=server)


def _named(bundle: Bundle, backend: Backend, precision: str) -> Choice:
    if importlib.util.find_spec(backend.package) is None:
        raise MissingDependencyError(backend.package, backend.extra, f"the backend {backend.name!r}")
    if precision == "auto":
        passed = [
            (record["median_ms"], record["precision"])
            for record in bundle.verification()
            if record["backend"] == backend.name
            and record["stage"] == bundle.main_stage
            and record["passed"]
            and record["precision"] in backend.precisions
            and problem(backend, record["precision"]) is None
        ]
        precision = min(passed)[1] if passed else "fp32"
    if precision not in backend.precisions:
        raise UnsupportedError(
            f"the backend {backend.name!r} does not compute in {precision}; "
            f"it has {', '.join(backend.precisions)}: change --precision or --backend"
        )
    reason = problem(backend, precision)
    if reason is not None:
        raise UnsupportedError(f"the backend {backend.name!r} cannot be used here: {reason}")
    choice = Choice(backend, precision, "named by you")
    if backend.format is not None:
        required_artifact(bundle, choice, bundle.main_stage)
    return choice


def is_usable(bundle: Bundle, choice: Choice, stage: str) -> bool:
    """Says whether a stage beside the main one was exported for a choice, and verification did not find it wrong."""
    found, main = (find_artifact(bundle, choice.backend, choice.precision, name) for name in (stage, bundle.main_stage))
    if stage not in bundle.stages or found is None or main is None or found.weights_sha256 != main.weights_sha256:
        return False
    return not any(
        record["artifact_sha256"] == found.sha256
        and (record["backend"], record["precision"]) == (choice.backend.name, choice.precision)
        and not record["passed"]
        for record in bundle.verification()
    )


def first_stages(bundle: Bundle, choice: Choice) -> tuple[str, ...]:
    """Gives the stages that are opened with a session; the others are when they are first run."""
    if choice.backend.device == "cpu" and all(is_usable(bundle, choice, name) for name in LABEL_STAGES):
        return LABEL_STAGES
    return (bundle.main_stage,)


def required_artifact(bundle: Bundle, choice: Choice, stage: str) -> Artifact:
    """Gives the artifact of a stage for a choice.

    Raises:
        UnsupportedError: where the stage was not exported, or from weights that the bundle no longer has.
    """
    backend, wanted = choice.backend, choice.backend.precisions[choice.precision]
    artifact = find_artifact(bundle, backend, choice.precision, stage)
    export = f"i2i-rt export {bundle.path} --format {backend.format} --precision {wanted}"
    export += " --calibrate FOLDER" if wanted in ("int8", "fp8") else ""
    if artifact is None:
        raise UnsupportedError(
            f"{bundle.path} has no {backend.format} artifact of {stage!r} in {wanted}; run '{export}'"
        )
    if artifact.weights_sha256 != bundle.weights_sha256():
        raise UnsupportedError(
            f"{artifact.file} was exported from other weights than the bundle has now; run '{export}'"
        )
    return artifact


def open_session(bundle: Bundle, choice: Choice, *, threads: int | None = None) -> Session:
    """Loads a bundle in the chosen backend; `threads` limits the CPU threads that it computes with."""
    module: Any = module_of(choice.backend)
    session: Session = module.open_session(bundle, choice, threads)
    return session
