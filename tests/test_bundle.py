"""The model on disk: round trips, damage, and what a crash must not leave."""

import json
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.bundle import Artifact, Bundle
from i2i_rt.errors import BundleError
from i2i_rt.models import table
from i2i_rt.testing import tiny_bundle


def test_bundle_is_the_same_when_opened_again(tmp_path: Path) -> None:
    made = tiny_bundle(tmp_path / "bundle")
    opened = Bundle.open(tmp_path / "bundle")
    assert (opened.system, dict(opened.stages), opened.provenance) == ("cut", dict(made.stages), made.provenance)
    assert {key: array.shape for key, array in opened.weights().items()}
    table.load(opened)


def test_new_bundle_replaces_an_old_one_with_its_artifacts(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    (bundle.path / "artifacts").mkdir()
    (bundle.path / "artifacts" / "a.onnx").write_text("stale")
    again = tiny_bundle(tmp_path / "bundle", blocks=3)
    assert again.networks["generator"].config["blocks"] == 3
    assert not (again.path / "artifacts").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_failed_writing_leaves_the_old_bundle(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    weights = {"generator.bad": np.array([object()])}
    with pytest.raises(Exception):  # noqa: B017 - whatever the library raises for what it cannot write
        Bundle.create(
            bundle.path,
            system="cut",
            networks=bundle.networks,
            stages=bundle.stages,
            weights=weights,
            provenance=bundle.provenance,
        )
    table.load(Bundle.open(bundle.path))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_artifacts_of_missing_files_are_not_listed(bundle: Bundle) -> None:
    entry = Artifact("onnx", "translate", "fp32", "artifacts/a.onnx", "0", "0", 1, 1.0, {})
    bundle.add_artifact(entry)
    assert bundle.artifacts() == []
    (bundle.path / "artifacts").mkdir()
    (bundle.path / entry.file).touch()
    assert bundle.artifacts() == [entry]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "bundle.json").unlink(), "has no bundle.json"),
        (lambda path: (path / "bundle.json").write_text("{"), "cannot be read"),
        (lambda path: (path / "bundle.json").write_text("{}"), "is not what i2i_rt writes"),
        (lambda path: (path / "bundle.json").write_text("[]"), "is not what i2i_rt writes"),
        (lambda path: (path / "weights.safetensors").write_bytes(b"0" * 9), "cannot be read"),
        (lambda path: (path / "weights.safetensors").unlink(), "cannot be read"),
    ],
    ids=["no-json", "half-json", "empty-json", "list", "bad-weights", "no-weights"],
)
def test_damage_gets_a_sentence(bundle: Bundle, damage: object, message: str) -> None:
    damage(bundle.path)  # type: ignore[operator]
    with pytest.raises(BundleError, match=message):
        Bundle.open(bundle.path).weights()


def test_bundle_of_a_newer_version_is_refused(bundle: Bundle) -> None:
    file = bundle.path / "bundle.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format_version": 99}))
    with pytest.raises(BundleError, match=r"format 99.*pip install -U"):
        Bundle.open(bundle.path)


def test_weights_that_do_not_fit_are_refused(bundle: Bundle) -> None:
    file = bundle.path / "bundle.json"
    file.write_text(file.read_text().replace('"blocks": 2', '"blocks": 3'))
    with pytest.raises(BundleError, match="do not fit the network 'generator'"):
        table.load(Bundle.open(bundle.path))


def test_run_folder_points_to_its_bundle(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "run" / "bundle")
    with pytest.raises(BundleError, match="did you mean"):
        Bundle.open(tmp_path / "run")
