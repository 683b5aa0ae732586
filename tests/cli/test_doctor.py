"""`i2i-rt doctor`: what is here, what is not, and a machine where nothing is."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from i2i_rt.cli import main
from i2i_rt.runtime import diagnosis, machine
from i2i_rt.runtime.backends import BACKENDS
from i2i_rt.runtime.diagnosis import OPTIONAL

ROOT = Path(__file__).parents[2]


def test_json_has_machine_packages_backends_and_video(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["cpu"] == machine.cpu_name() and found["machine"]["cpus"] >= 1
    backends = {entry["name"]: entry for entry in found["backends"]}
    assert set(backends) == set(BACKENDS)
    assert backends["torch"]["works"] and "fp32" in backends["torch"]["details"]
    assert {"packages", "video", "display"} <= set(found)


def test_server_is_found_or_the_way_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tritonserver").write_text("#!/bin/sh\n")
    (tmp_path / "tritonserver").chmod(0o755)
    monkeypatch.delenv("I2I_RT_SERVING_ENV", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["serving"][0]["details"] == str(tmp_path / "tritonserver")
    monkeypatch.setenv("I2I_RT_SERVING_ENV", str(tmp_path / "nowhere"))
    assert main(["doctor", "--json"]) == 0
    (server,) = json.loads(capsys.readouterr().out)["serving"]
    assert not server["works"] and "nowhere" in server["details"]


def test_backends_are_run_not_only_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(diagnosis, "RELU_ONNX", b"broken")
    parts = {part.name: part for part in diagnosis.runnable()}
    assert not parts["onnxruntime"].works and parts["torch"].works


def test_wrong_arithmetic_is_noticed() -> None:
    with pytest.raises(RuntimeError, match="it gives"):
        diagnosis._check(diagnosis.INPUT)


def test_gpu_backends_are_not_recommended_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "gpu_name", lambda: None)
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert "needs an NVIDIA GPU" in output and "i2i-rt[gpu]" not in output


def test_gpu_without_its_packages_gets_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(machine, "gpu_name", lambda: "a GPU")
    (part,) = [part for part in diagnosis.runnable() if part.name == "onnxruntime-cuda"]
    if part.works:
        pytest.skip("it works here")
    assert part.fix == "pip uninstall onnxruntime && pip install 'i2i-rt[gpu]'"


def without(*modules: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys\n"
        f"for name in {modules}:\n"
        "    sys.modules[name] = None\n"
        "from i2i_rt.cli import main\n"
        "sys.exit(main(['doctor']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_bare_machine_is_told_what_to_install() -> None:
    result = without(*OPTIONAL)
    assert result.returncode == 1 and not result.stderr
    for extra in ("cpu", "video", "train"):
        assert f"pip install 'i2i-rt[{extra}]'" in result.stdout
    assert "no backend works" in result.stdout


def test_one_backend_is_enough() -> None:
    pytest.importorskip("openvino")
    result = without(*(name for name in OPTIONAL if name != "openvino"))
    assert result.returncode == 0, result.stderr
    assert re.search(r"\[✓\]\s+openvino\s+fp32", result.stdout)
    assert re.search(r"\[x\]\s+torch\s+the package 'torch' is not installed", result.stdout)


def test_extras_are_those_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for distributions, extra, _ in OPTIONAL.values():
        required = {re.split(r"[>=<\[]", line)[0] for line in extras[extra]}
        assert required & set(distributions), f"{distributions} is not in the extra {extra}"
