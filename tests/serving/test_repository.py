import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import BundleError, I2IError, UnsupportedError
from i2i_rt.serving import code, execution
from i2i_rt.serving.config import read_config
from i2i_rt.serving.execution import Execution
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.repository import Repository, write_repository
from i2i_rt.testing import tiny_bundle

LIMITS = Limits(side=256, pixels=128 * 128, batch=4)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    assert main(["export", str(bundle.path), "--format", "onnx", "--no-verify"]) == 0
    return bundle


def written(bundle: Bundle, folder: Path, name: str = "tiny") -> Repository:
    return write_repository({name: bundle.path}, folder, limits=LIMITS, threads=1, backend="onnxruntime")


def test_repository_is_read_as_it_was_written(exported: Bundle, tmp_path: Path) -> None:
    repository = written(exported, tmp_path / "repository")
    assert Repository.open(repository.folder) == repository
    assert [model.name for model in repository.models] == ["tiny-image", "tiny-stream", "tiny-translate"]
    served = repository.models[2]
    assert (served.kind, served.precision, served.spec) == ("stage", "fp32", exported.stages["translate"])


def test_config_has_the_servers_settings(exported: Bundle, tmp_path: Path) -> None:
    repository = written(exported, tmp_path / "repository")
    folder = repository.models_folder / "tiny-translate"
    config = read_config(folder)
    assert config.max_batch_size == LIMITS.batch
    assert list(config.input[0].dims) == [-1, -1, 3]
    assert config.HasField("dynamic_batching") and not config.dynamic_batching.HasField("default_queue_policy")
    assert list(config.dynamic_batching.preferred_batch_size) == [1]  # on a CPU
    warm_up = config.model_warmup[0].inputs["frames"]
    content = (folder / "warmup" / warm_up.input_data_file).read_bytes()
    assert len(content) == warm_up.dims[0] * warm_up.dims[1] * 3 and len(set(content)) > 100
    run = Execution.from_text(config.parameters[execution.PARAMETER].string_value)
    assert (run.bundle, run.backend, run.threads) == (str(exported.path), "onnxruntime", 1)


def test_older_repository_is_replaced_and_other_folders_are_not(exported: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    written(exported, folder, "old")
    assert {model.bundle for model in written(exported, folder, "new").models} == {"new"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["repository"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(I2IError, match="is no repository"):
        written(exported, tmp_path / "other")
    with pytest.raises(BundleError, match="is no repository"):
        Repository.open(tmp_path / "other")


def test_names_are_made_safe_and_stay_different(exported: Bundle, tmp_path: Path) -> None:
    assert written(exported, tmp_path / "a", "grey/é horse!").models[0].name == "grey-horse-image"
    with pytest.raises(I2IError, match="under one name"):
        write_repository(
            {"a b": exported.path, "a-b": exported.path},
            tmp_path / "b",
            limits=LIMITS,
            threads=1,
            backend="onnxruntime",
        )


def test_bundle_that_only_torch_can_run_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="without torch; run 'i2i-rt export"):
        write_repository({"a": bundle.path}, tmp_path / "a", limits=LIMITS, threads=None)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("copy", [False, True])
def test_code_tree_has_the_whole_package(tmp_path: Path, copy: bool) -> None:
    code.write_code(tmp_path / "code", copy=copy)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'code')!r})\n"
        "import i2i_rt.serving.backend.stage, i2i_rt.runtime.openvino, i2i_rt.export\n"
        "assert 'torch' not in sys.modules\n"
        "print(i2i_rt.serving.backend.stage.__file__)"
    )
    result = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert result.stdout.startswith(str(tmp_path)), result.stderr


def test_models_file_imports_the_repositorys_own_code(
    exported: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = written(exported, tmp_path / "repository")
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = runpy.run_path(str(repository.models_folder / "tiny-translate" / "1" / "model.py"))
    assert sys.path[0] == str(repository.code_folder)
    assert {"initialize", "execute", "finalize"} <= set(dir(found["TritonPythonModel"]))
