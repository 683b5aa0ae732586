import os
import re
import shutil
import stat
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_rt.bundle import Bundle, Golden, Provenance
from i2i_rt.cli import main
from i2i_rt.errors import BundleError, I2IError
from i2i_rt.serving.deploy import image
from i2i_rt.serving.deploy.content import copy_bundle
from i2i_rt.serving.deploy.deployment import deploy
from i2i_rt.serving.deploy.settings import TARGETS, Settings
from i2i_rt.serving.deploy.sizing import MIB, quantity, request_bytes, shared_memory
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.models import served_models
from i2i_rt.serving.repository import Repository
from i2i_rt.serving.service import canaries
from i2i_rt.spec import Axis, StageSpec, TensorSpec, frames_spec
from tests.serving.deploy.conftest import LIMITS, add_stand_in

PYPROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
MANIFESTS = {
    "triton-gpu": [],
    "triton-cpu": [],
    "compose": ["compose.yaml"],
    "kubernetes": ["kubernetes"],
    "kserve": ["kserve"],
}


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_what_it_needs_and_says_how_to_go_on(
    tiny: Bundle, tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert main(["deploy", str(tiny.path), "-o", str(folder), "--target", target, "--max-side", "512"]) == 0
    found = {path.name for path in folder.iterdir()} - {".env"}
    common = {"Dockerfile", ".dockerignore", "requirements.txt", "server.json", "models", "code", "bundles"}
    assert found == common | set(MANIFESTS[target])
    printed = capsys.readouterr().out
    way = "Python models" if target == "triton-cpu" else "tensorrt fp32, for a GPU with TensorRT 10.9 alone;"
    assert f"tiny: {way}" in printed and f"docker build -t tiny:26.07 {folder}" in printed
    assert {model.limits.side for model in Repository.open(folder).models} <= {256, 512}


def test_an_older_deployment_is_replaced_and_its_key_stays(tiny: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for name in ("old", "new"):
        deploy({name: tiny.path}, folder, Settings(name=name, target="compose", limits=LIMITS), backend="tensorrt")
        key = (folder / ".env").read_text()
        assert re.fullmatch(r"I2I_RT_ADMIN_KEY=\S{43}\n", key)
        if name == "old":
            first = key
    assert key == first and (folder / "models" / "new-translate").is_dir()
    assert not (folder / "models" / "old-translate").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_the_older_deployment(tiny: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    deploy({"a": tiny.path}, folder, Settings(name="a", limits=LIMITS), backend="tensorrt")
    before = sorted(folder.rglob("*"))
    with pytest.raises(BundleError):
        deploy({"a": tiny.path, "b": tmp_path / "missing"}, folder, Settings(name="a", limits=LIMITS))
    assert sorted(folder.rglob("*")) == before


def test_a_folder_of_something_else_is_left_alone(tiny: Bundle, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(I2IError, match="is no repository"):
        deploy({"a": tiny.path}, tmp_path, Settings(name="a", limits=LIMITS))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_others_can_read_the_models_and_nobody_else_the_key(tiny: Bundle, tmp_path: Path) -> None:
    folder, mask = tmp_path / "out", os.umask(0o077)
    try:
        settings = Settings(name="tiny", target="kubernetes", limits=LIMITS)
        deploy({"tiny": tiny.path}, folder, settings, backend="onnxruntime-cuda")
    finally:
        os.umask(mask)
    for name in ("models", "code", "bundles"):
        assert all(path.stat().st_mode & stat.S_IROTH for path in (folder / name).rglob("*"))
    assert stat.S_IMODE((folder / "kubernetes" / "admin.key").stat().st_mode) == 0o600
    assert "!kubernetes" not in (folder / ".dockerignore").read_text().splitlines()


def test_a_copy_without_weights_still_says_which_they_are(tiny: Bundle, tmp_path: Path) -> None:
    graphs = [artifact for artifact in tiny.artifacts() if artifact.format == "onnx"]
    copy_bundle(tiny, tmp_path / "copy", graphs)
    copy = Bundle.open(tmp_path / "copy")
    assert not (tmp_path / "copy" / "weights.safetensors").exists()
    assert copy.weights_sha256() == tiny.weights_sha256()
    assert copy.artifacts() == graphs and copy.golden("translate") is not None
    (tmp_path / "copy" / "weights.sha256").unlink()
    with pytest.raises(BundleError, match=r"has no weights\.safetensors"):
        copy.weights_sha256()


def test_an_engine_that_does_not_take_the_golden_case_is_refused(copied: Bundle, tmp_path: Path) -> None:
    from i2i_rt.runtime.artifact_key import ArtifactKey

    file = copied.path / "artifacts" / "tensorrt" / "translate.fp32.engine"
    key = ArtifactKey.read(file)
    assert key is not None
    key.shapes[:] = [{"frames": [[1, 512, 512, 3]] * 3}]
    key.write(file)
    with pytest.raises(I2IError, match="takes frames 1x512x512x3, and not the golden case of 'translate'"):
        deploy({"tiny": copied.path}, tmp_path / "out", Settings(name="tiny"), backend="tensorrt")


def test_a_bundle_without_golden_cases_is_exported_again(copied: Bundle, tmp_path: Path) -> None:
    shutil.rmtree(copied.path / "golden")
    with pytest.raises(BundleError, match=r"run 'i2i-rt export .*' again"):
        deploy({"tiny": copied.path}, tmp_path / "out", Settings(name="tiny"), backend="tensorrt")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"target": "kuberntes"}, "did you mean 'kubernetes'"),
        ({"target": "triton-gpu", "device": "cpu"}, "is not for a cpu; leave --device out"),
        ({"name": "Zebra_1"}, "the name is 'Zebra_1'"),
        ({"namespace": "-"}, "the namespace is '-'"),
        ({"replicas": (3, 2)}, "--replicas is 3..2"),
        ({"replicas": (0, 2)}, "--replicas is 0..2"),
        ({"target": "triton-cpu", "device": "cpu", "instances": 8, "cpus": 4}, "8 instances share 4 cores"),
        ({"instances": 0}, "both must be 1 or more"),
        ({"release": "latest"}, "write year and month, such as 26.07"),
        ({"release": "25.12"}, "use 26.07 or later"),
        ({"image": "registry:5000/zebra"}, "write it with its tag"),
    ],
)
def test_what_cannot_be_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(I2IError, match=re.escape(sentence)):
        Settings(**{"name": "zebra", **changes})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["deploy"], "name one or more bundles"),
        (["deploy", "a", "b/a", "-o", "out"], "two bundles have one name"),
        (["deploy", "a", "-o", "out", "--replicas", "some"], "--replicas is 'some'"),
        (["deploy", "a", "-o", "out"], "there is no bundle at a"),
    ],
)
def test_mistakes_on_the_command_line_end_with_2(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert sentence in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_packages_of_the_image_begin_where_those_of_the_project_do() -> None:
    project = PYPROJECT["project"]
    extras = [line for name in ("client", "cpu", "gpu") for line in project["optional-dependencies"][name]]
    lower = {line.split(">=")[0]: line.split(">=")[1] for line in [*project["dependencies"], *extras]}
    found = [*image.REQUIREMENTS, *image.CPU_REQUIREMENTS]
    assert {line.split(">=")[0] for line in image.REQUIREMENTS} >= {
        line.split(">=")[0] for line in project["dependencies"]
    }
    for line in found:
        match = re.fullmatch(r"(\S+)>=([\d.]+),<(\d+)", line)
        assert match is not None and match[2] == lower[match[1]], line
        assert int(match[2].split(".")[0]) < int(match[3])


def test_shared_memory_grows_with_the_largest_request(tiny: Bundle) -> None:
    small, large = (
        served_models("tiny", tiny, "fp32", Limits(side=side, pixels=side * side, batch=2, file_bytes=2**20))
        for side in (256, 1024)
    )
    frames = {model.kind: request_bytes(model) for model in large}
    assert frames["stage"] == 2 * 2 * 1024 * 1024 * 3  # in and out, two pictures of one byte a channel
    assert frames["image"] == 2 * 2**20
    growth = shared_memory(large) - shared_memory(small)
    assert growth >= 15 / 16 * (frames["stage"] + 2 * frames["stream"]) - MIB
    assert quantity(growth) == f"{-(-growth // MIB)}Mi"


def test_every_process_of_a_model_has_its_shared_memory(tiny: Bundle, tmp_path: Path) -> None:
    needed = []
    for instances in (1, 3):
        settings = Settings(name="tiny", target="triton-cpu", device="cpu", limits=LIMITS, instances=instances)
        needed.append(deploy({"tiny": tiny.path}, tmp_path / str(instances), settings).needs.shared_memory)
    assert needed[1] - needed[0] >= 2 * 8 * MIB


def test_a_bundle_that_translates_nothing_is_its_graph_alone(tmp_path: Path) -> None:
    labels = TensorSpec("labels", "uint8", (Axis("N"), Axis("H", multiple=8), Axis("W", multiple=8)))
    spec = StageSpec("segment", (frames_spec("frames", 8, 8),), (labels,))
    bundle = Bundle.create(
        tmp_path / "drn",
        system="cycada",
        networks={},
        stages={"segment": spec},
        weights={"a": np.zeros(1, np.float32)},
        provenance=Provenance("drawn", sha256=""),
    )
    add_stand_in(bundle, "onnx", ".onnx", "segment")
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    bundle.write_golden("segment", Golden({"frames": frames}, {"labels": frames[..., 0]}))
    folder = tmp_path / "out"
    deploy({"drn": bundle.path}, folder, Settings(name="drn", limits=LIMITS), backend="onnxruntime-cuda")
    repository = Repository.open(folder)
    assert [path.name for path in repository.models_folder.iterdir()] == ["drn-segment"]
    assert [canary.model.name for canary in canaries(repository)] == ["drn-segment"]
