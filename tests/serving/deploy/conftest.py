"""Bundles to deploy: tiny graphs, and stand-ins for what only a GPU can build."""

import shutil
from pathlib import Path

import pytest

from i2i_rt.bundle import Artifact, Bundle, sha256_of
from i2i_rt.cli import main
from i2i_rt.export.profiles import parse, shapes_of
from i2i_rt.runtime.artifact_key import ArtifactKey
from i2i_rt.serving.limits import Limits
from i2i_rt.testing import tiny_bundle

LIMITS = Limits(side=256, pixels=128 * 128, batch=4, file_bytes=2**20)
# one size at its best, and a range for the rest
PROFILES = "64x64,64x64..128x128..256x256"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny bundle with its ONNX graphs, and with files in the places of an engine and a compiled package."""
    bundle = tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    assert main(["export", str(bundle.path), "--format", "onnx", "--no-verify"]) == 0
    for format, suffix in (("tensorrt", ".engine"), ("aot-inductor", ".pt2")):
        for stage in bundle.stages:
            add_stand_in(bundle, format, suffix, stage)
    record(bundle, passed=True)
    return bundle


def record(bundle: Bundle, *, passed: bool) -> None:
    """Writes that the ONNX graph was compared with the network."""
    (graph,) = (a for a in bundle.artifacts() if (a.format, a.stage) == ("onnx", "translate"))
    entry = {
        "backend": "onnxruntime",
        "stage": "translate",
        "precision": "fp32",
        "passed": passed,
        "artifact_sha256": graph.sha256,
        "weights_sha256": bundle.weights_sha256(),
        "machine": "another one",
        "median_ms": 1.0,
        "psnr_db": 90.0,
    }
    bundle.write_verification([entry])


def add_stand_in(bundle: Bundle, format: str, suffix: str, stage: str) -> None:
    """Records an artifact whose content nothing here can read."""
    file = bundle.path / "artifacts" / format / f"{stage}.fp32{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"built on another machine")
    weights = bundle.weights_sha256()
    shapes = shapes_of(bundle.stages[stage], parse(PROFILES, "1..2..4"))
    ArtifactKey(stage, "fp32", weights, "a GPU", "9.0", "TensorRT", "10.9", shapes).write(file)
    bundle.add_artifact(
        Artifact(format, stage, "fp32", str(file.relative_to(bundle.path)), sha256_of(file), weights, 24, 1.0, {})
    )


@pytest.fixture
def copied(tiny: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the bundle that a test may change."""
    return Bundle.open(shutil.copytree(tiny.path, tmp_path / "tiny"))
