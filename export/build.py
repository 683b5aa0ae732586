"""Bundle to artifacts: every stage in every format and precision that was asked for."""

import importlib.metadata
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from i2i_rt import __version__
from i2i_rt.bundle import Artifact, Bundle, Quantization, sha256_of
from i2i_rt.errors import MissingDependencyError, UnsupportedError
from i2i_rt.export import aot_inductor, onnx, openvino, qdq, tensorrt
from i2i_rt.export.calibration import Calibration, samples
from i2i_rt.export.formats import Format
from i2i_rt.export.profiles import EngineOptions
from i2i_rt.export.quantize import Quantizer
from i2i_rt.runtime import backends
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import load_stages


@dataclass
class Request:
    """One stage that is to be written; a builder asks for the ONNX graphs that it is made from.

    Attributes:
        stage: in float32, on the CPU.
        precision: that the artifact is written in.
        metadata: to be written into the artifact.
        folder: for what is written on the way.
        engine: what was chosen for TensorRT engines.
        fused: whether fused kernels are compiled in.
        quantizer: puts the stage into 8 bits; there where calibration pictures were given.
        quantization: how the artifact came into 8 bits; of other precisions None.
    """

    stage: Stage
    precision: str
    metadata: Mapping[str, str]
    folder: Path
    engine: EngineOptions = field(default_factory=EngineOptions)
    fused: backends.Fused = "auto"
    quantizer: Quantizer | None = None
    quantization: Quantization | None = None
    _graphs: dict[str, Path] = field(default_factory=dict)

    def graph(self, precision: str) -> Path:
        """Gives the stage's ONNX graph in a precision, written when it is first asked for.

        In "int8" and "fp8" it is TensorRT's, with what is not in 8 bits in float16.
        """
        if precision not in self._graphs:
            file = self.folder / f"{self.stage.spec.name}.{precision}.onnx"
            metadata = {**self.metadata, "i2i_rt.precision": precision}
            if precision in qdq.TENSORRT:
                assert self.quantizer is not None
                self.quantization = self.quantizer.tensorrt(file, precision, self.graph("fp16"), metadata)
            else:
                onnx.build(self.stage, file, precision=precision, metadata=metadata)
            self._graphs[precision] = file
        return self._graphs[precision]


@dataclass(frozen=True)
class Builder:
    """How a format is written.

    Attributes:
        write: writes the file, and files of the same stem beside it where the format has several.
        packages: whose versions are kept with the artifact, beside torch.
        extra: of this project, which brings those packages.
        backend: that has to work on the machine that writes the format; None: any machine can write it.
    """

    write: Callable[[Request, Path], None]
    packages: tuple[str, ...]
    extra: str
    backend: str | None = None


def _write_onnx(request: Request, file: Path) -> None:
    if request.precision == "int8":
        assert request.quantizer is not None
        request.quantization = request.quantizer.onnx(file, request.metadata)
        return
    file.hardlink_to(request.graph(request.precision))


def _write_openvino(request: Request, file: Path) -> None:
    if request.precision == "int8":
        assert request.quantizer is not None
        request.quantization = request.quantizer.openvino(file, request.metadata)
        return
    openvino.build(request.graph(request.precision), file, metadata=request.metadata)


def _write_aot_inductor(request: Request, file: Path) -> None:
    aot_inductor.build(request.stage, file, precision=request.precision, metadata=request.metadata, fused=request.fused)


def _write_tensorrt(request: Request, file: Path) -> None:
    tensorrt.build(
        request.graph(request.precision),
        file,
        spec=request.stage.spec,
        precision=request.precision,
        weights=request.metadata["i2i_rt.weights_sha256"],
        options=request.engine,
    )


BUILDERS = {
    "onnx": Builder(_write_onnx, ("onnx", "onnxscript"), "train"),
    "openvino": Builder(_write_openvino, ("onnx", "onnxscript", "openvino"), "cpu"),
    "aot-inductor": Builder(_write_aot_inductor, (), "train", backend="aot-inductor"),
    "tensorrt": Builder(_write_tensorrt, ("onnx", "onnxscript", "tensorrt"), "gpu", backend="tensorrt"),
}


def build(
    bundle: Bundle,
    pairs: Sequence[tuple[Format, str]],
    *,
    engine: EngineOptions | None = None,
    fused: backends.Fused = "auto",
    calibration: Calibration | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[Artifact]:
    """Exports a bundle's stages and records the artifacts in it.

    Args:
        bundle: the bundle; its folder gets the files below `artifacts/`.
        pairs: formats with precisions, from `formats.plan`.
        engine: what is chosen for TensorRT engines.
        fused: whether fused kernels are compiled into what runs on a GPU.
        calibration: the pictures that artifacts in 8 bits need.
        report: is told of each step.

    Raises:
        MissingDependencyError: where a format's package is not installed.
        UnsupportedError: where this machine cannot write a format in a precision.
        BundleError: where the weights cannot be read.
    """
    for entry, precision in pairs:
        _require(entry.name, precision)
    weights = bundle.weights_sha256()
    artifacts = []
    for name, stage in load_stages(bundle).items():
        # one ONNX graph a precision serves every format that is made from it
        graphs: dict[str, Path] = {}
        with tempfile.TemporaryDirectory(dir=bundle.path, prefix=".export-") as scratch:
            quantizer = None
            if calibration is not None and any(precision in qdq.TENSORRT for _, precision in pairs):
                plain = Request(stage, "fp32", _metadata(bundle, stage, "fp32", weights), Path(scratch), _graphs=graphs)
                quantizer = Quantizer(
                    samples(bundle, calibration, name),
                    plain.graph("fp32"),
                    Path(scratch),
                    gate_db=calibration.gate_db,
                    report=report,
                )
            for entry, precision in pairs:
                report(f"exporting {name} as {entry.name} in {precision}")
                started = time.perf_counter()
                folder = Path(scratch) / entry.name
                folder.mkdir(exist_ok=True)
                made = folder / f"{name}.{precision}{entry.suffix}"
                metadata = _metadata(bundle, stage, precision, weights)
                request = Request(
                    stage,
                    precision,
                    metadata,
                    Path(scratch),
                    engine=engine or EngineOptions(),
                    fused=fused,
                    quantizer=quantizer,
                    _graphs=graphs,
                )
                BUILDERS[entry.name].write(request, made)
                artifacts.append(_keep(bundle, made, entry, request, weights, time.perf_counter() - started))
    return artifacts


def _keep(bundle: Bundle, made: Path, entry: Format, request: Request, weights: str, seconds: float) -> Artifact:
    """Moves a finished graph to its place and records it; the file with the graph's name comes last."""
    folder = bundle.path / "artifacts" / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    size = 0
    for part in sorted(made.parent.glob(f"{made.stem}.*"), key=lambda part: part.name == made.name):
        size += part.stat().st_size
        part.replace(folder / part.name)
    file = folder / made.name
    artifact = Artifact(
        format=entry.name,
        stage=request.stage.spec.name,
        precision=request.precision,
        file=str(file.relative_to(bundle.path)),
        sha256=sha256_of(file),
        weights_sha256=weights,
        size_bytes=size,
        seconds=round(seconds, 2),
        versions={"i2i_rt": __version__}
        | {name: importlib.metadata.version(name) for name in ("torch", *_packages(entry.name, request.precision))},
        quantization=request.quantization,
    )
    bundle.add_artifact(artifact)
    return artifact


def _metadata(bundle: Bundle, stage: Stage, precision: str, weights: str) -> dict[str, str]:
    axes = {axis.name: axis for tensor in stage.spec.inputs for axis in tensor.axes}
    height = axes.get("H")
    size = {} if height is None else {"i2i_rt.size_multiple": str(height.multiple), "i2i_rt.size_low": str(height.low)}
    return {
        "i2i_rt.version": __version__,
        "i2i_rt.system": bundle.system,
        "i2i_rt.stage": stage.spec.name,
        "i2i_rt.precision": precision,
        "i2i_rt.weights_sha256": weights,
        "i2i_rt.frames": "uint8 RGB [N, H, W, 3]",
    } | size


def _packages(name: str, precision: str) -> tuple[str, ...]:
    return BUILDERS[name].packages + (("nncf",) if (name, precision) == ("openvino", "int8") else ())


def _require(name: str, precision: str) -> None:
    """Checks, before minutes are spent, that this machine can write a format in a precision."""
    for package in _packages(name, precision):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError as error:
            extra = "train" if package in ("onnx", "onnxscript", "nncf") else BUILDERS[name].extra
            raise MissingDependencyError(package, extra, f"--format {name}") from error
    backend = BUILDERS[name].backend
    if backend is not None:
        reason = backends.problem(backends.BACKENDS[backend], precision)
        if reason is not None:
            raise UnsupportedError(f"--format {name} cannot be written on this machine: {reason}")
