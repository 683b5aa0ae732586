"""Mistakes of those who serve: each is a sentence, before anything is started. What it serves: tests/serving."""

import sys
from pathlib import Path
from typing import Any

import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.cli.serve import _ready_lines
from i2i_rt.serving import installation
from i2i_rt.serving.installation import Installation
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.models import served_models
from i2i_rt.serving.repository import Repository
from i2i_rt.serving.service import Options


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Finds a server that is never started."""
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setattr(installation, "find_server", lambda: Installation(program, "nowhere"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("I2I_RT_ADMIN_KEY", raising=False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name the bundles to serve"),
        (["a", "--repository", "b"], "name the bundles to serve"),
        (["nowhere/bundle"], "there is no bundle at nowhere/bundle"),
        (["--repository", "nowhere"], "nowhere is no repository"),
        (["--repository", "nowhere", "--max-side", "512"], "--max-side belongs to bundles"),
        (["a", "--grpc", "9000", "--http", "9000"], "the ports 9000, 9000, 8002 must differ"),
        (["a", "--tls-cert", "server.pem"], "--tls-cert and --tls-key belong together"),
        (["a", "--tls-cert", "none.pem", "--tls-key", "none.key"], "cannot be used"),
        (["a", "--admin-key-file", "none"], "the key file none cannot be read"),
        (["b/a", "c/a"], "would both be served as 'a'"),
    ],
)
def test_mistake_is_a_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("i2i-rt serve: ") and sentence in error and error.count("\n") == 1


@pytest.mark.parametrize("words", [["--grpc", "0"], ["--http", "port"], ["--canary-interval", "0"]])
def test_value_that_is_none_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "a", *words])
    assert caught.value.code == 2 and words[0] in capsys.readouterr().err


def test_bundle_that_was_not_exported_is_a_sentence(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(bundle.path), "--backend", "onnxruntime"]) == 2
    assert "i2i-rt export" in capsys.readouterr().err


def test_bundle_without_golden_cases_is_a_sentence(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(bundle.path), "--format", "onnx", "--no-verify"]) == 0
    (bundle.path / "golden" / "translate.npz").unlink()
    capsys.readouterr()
    assert main(["serve", str(bundle.path), "--backend", "onnxruntime"]) == 2
    assert "has no golden cases" in capsys.readouterr().err


def test_missing_server_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv(installation.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "empty"))
    assert main(["serve", "a"]) == 2
    assert "there is no Triton Inference Server here" in capsys.readouterr().err


def test_printed_addresses_are_those_of_the_options(bundle: Bundle, tmp_path: Path) -> None:
    models = tuple(served_models("m", bundle, "fp32", Limits()))
    tls: Any = object()
    lines = "\n".join(_ready_lines(Repository(tmp_path, models), Options("::1", 1, 2, 3, tls=tls)))
    assert "grpcs://[::1]:2" in lines and "https://[::1]:1/v2/models/m-image/infer" in lines
    assert "@photo.jpg -o translated.jpg" in lines
