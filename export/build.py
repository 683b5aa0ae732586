"""Bundle to artifacts: every stage in every format and precision that was asked for."""

import importlib.metadata
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from i2i_rt import __version__
from i2i_rt.bundle import Artifact, Bundle, sha256_of
from i2i_rt.errors import MissingDependencyError
from i2i_rt.export import onnx, openvino
from i2i_rt.export.formats import Format
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import load_stages


def build(
    bundle: Bundle, pairs: Sequence[tuple[Format, str]], *, report: Callable[[str], None] = lambda line: None
) -> list[Artifact]:
    """Exports a bundle's stages and records the artifacts in it.

    Args:
        bundle: the bundle; its folder gets the files below `artifacts/`.
        pairs: formats with precisions, from `formats.plan`.
        report: is told of each step.

    Raises:
        MissingDependencyError: where a format's package is not installed.
        BundleError: where the weights cannot be read.
    """
    for entry, _ in pairs:
        _require(entry.name)
    weights = bundle.weights_sha256()
    artifacts = []
    for name, stage in load_stages(bundle).items():
        # one ONNX graph a precision serves every format that is made from it
        with tempfile.TemporaryDirectory(dir=bundle.path, prefix=".export-") as scratch:
            graphs: dict[str, Path] = {}
            for entry, precision in pairs:
                report(f"exporting {name} as {entry.name} in {precision}")
                started = time.perf_counter()
                metadata = _metadata(bundle, stage, precision, weights)
                if precision not in graphs:
                    graphs[precision] = Path(scratch) / f"{name}.{precision}.onnx"
                    onnx.build(stage, graphs[precision], precision=precision, metadata=metadata)
                made = graphs[precision]
                if entry.name == "openvino":
                    made = made.with_suffix(".xml")
                    openvino.build(graphs[precision], made, metadata=metadata)
                artifact = _keep(bundle, made, entry, stage, precision, weights, time.perf_counter() - started)
                graphs[precision] = bundle.path / artifact.file if entry.name == "onnx" else graphs[precision]
                artifacts.append(artifact)
    return artifacts


def _keep(
    bundle: Bundle, made: Path, entry: Format, stage: Stage, precision: str, weights: str, seconds: float
) -> Artifact:
    """Moves a finished graph to its place and records it; the file with the graph's name comes last."""
    folder = bundle.path / "artifacts" / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    size = 0
    for part in sorted(made.parent.glob(f"{made.stem}.*"), key=lambda part: part.suffix == entry.suffix):
        if part.suffix in (entry.suffix, ".bin"):
            size += part.stat().st_size
            part.replace(folder / part.name)
    file = folder / made.name
    packages = {"onnx": ("torch", "onnx"), "openvino": ("torch", "onnx", "openvino")}[entry.name]
    artifact = Artifact(
        format=entry.name,
        stage=stage.spec.name,
        precision=precision,
        file=str(file.relative_to(bundle.path)),
        sha256=sha256_of(file),
        weights_sha256=weights,
        size_bytes=size,
        seconds=round(seconds, 2),
        versions={"i2i_rt": __version__} | {name: importlib.metadata.version(name) for name in packages},
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


def _require(name: str) -> None:
    extras = {"onnx": "train", "onnxscript": "train", "openvino": "cpu"}
    for package in ("onnx", "onnxscript", *(["openvino"] if name == "openvino" else [])):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingDependencyError(package, extras[package], f"--format {name}") from error
