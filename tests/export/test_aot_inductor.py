"""Packages of AOTInductor: the network's pictures at any size, from Python and from C++, and only where they belong."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.cli import main
from i2i_rt.errors import UnsupportedError
from i2i_rt.importers.table import write_bundle
from i2i_rt.runtime import backends
from i2i_rt.runtime.artifact_key import ArtifactKey
from i2i_rt.translator import Translator
from tests.small.munit import small_unit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of one stage with instance norm, compiled for the device that is here, verified."""
    path = tmp_path_factory.mktemp("compiled") / "bundle"
    bundle = write_bundle(small_unit(), "unit", path, Provenance("drawn with seed 0", sha256=""))
    precisions = ["--precision", "fp32,bf16", "--min-psnr", "24"]  # few channels average little rounding out
    assert main(["export", str(path), "--format", "aot-inductor", *precisions]) == 0
    return bundle


@pytest.fixture
def copied(compiled: Bundle, tmp_path: Path) -> Bundle:
    """A copy that a test may change."""
    shutil.copytree(compiled.path, tmp_path / "bundle")
    return Bundle.open(tmp_path / "bundle")


def frames(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 37, 51), (3, 16, 100), (1, 1, 9)], ids=str)
def test_package_agrees_with_the_network_at_any_size(compiled: Bundle, shape: tuple[int, int, int]) -> None:
    with Translator.load(compiled.path, backend="torch", precision="fp32") as network:
        expected = network(frames(shape)).astype(int)
    with Translator.load(compiled.path, backend="aot-inductor", precision="fp32") as package:
        assert np.abs(package(frames(shape)) - expected).max() <= 1


def test_records_say_what_was_compared(compiled: Bundle) -> None:
    records = compiled.verification()
    assert [(record["backend"], record["precision"]) for record in records] == [
        ("aot-inductor", "fp32"), ("aot-inductor", "bf16"),
    ]  # fmt: skip
    assert all(record["passed"] and record["non_finite"] == 0 for record in records)
    assert records[0]["psnr_db"] is None or records[0]["psnr_db"] >= 60
    assert backends.choose(compiled).backend.name == "aot-inductor"


def test_translator_needs_no_networks(compiled: Bundle) -> None:
    code = f"""
import sys
import numpy as np
for part in ("models", "stages", "systems"):
    sys.modules["i2i_rt." + part] = None
from i2i_rt import Translator
with Translator.load({str(compiled.path)!r}, backend="aot-inductor", precision="fp32") as translator:
    print(translator(np.zeros((33, 47, 3), np.uint8)).shape)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert result.stdout.strip() == "(33, 47, 3)", result.stderr


def blocks(language: str) -> str:
    """Gives the code of a language in the documentation."""
    text = (ROOT / "docs" / "aot-inductor.md").read_text()
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(found)


def test_documented_program_in_cpp_translates(compiled: Bundle, tmp_path: Path) -> None:
    picture = frames((1, 32, 48))
    picture.tofile(tmp_path / "frame.rgb")
    (tmp_path / "translate.cpp").write_text(blocks("cpp"))
    commands = blocks("sh").replace("BUNDLE", str(compiled.path)).replace(" 256 256 ", " 32 48 ")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(
        ["sh", "-e", "-c", commands], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
    )
    assert result.stdout.strip() == "unit", result.stderr
    translated = np.fromfile(tmp_path / "translated.rgb", np.uint8).reshape(picture.shape)
    with Translator.load(compiled.path, backend="aot-inductor", precision="fp32") as package:
        assert np.array_equal(translated, package(picture))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("library_version", "1.0", r"it was made for .* with PyTorch 1\.0, and here is .* with PyTorch 2"),
        ("device", "Another Processor", r"it was made for Another Processor .*, and here is"),
        ("i2i_rt", "0.0.1", r"it was made by i2i_rt 0\.0\.1"),
    ],
)
def test_package_of_another_place_is_refused(copied: Bundle, field: str, value: str, message: str) -> None:
    file = copied.path / "artifacts/aot-inductor/translate.fp32.pt2"
    key = ArtifactKey.read(file)
    assert key is not None
    ArtifactKey(**{**vars(key), field: value}).write(file)
    with pytest.raises(UnsupportedError, match=f"{message}.*; run 'i2i-rt export .* --format aot-inductor"):
        Translator.load(copied.path, backend="aot-inductor", precision="fp32")
    choice = backends.choose(copied)
    assert (choice.backend.name, choice.precision) == ("aot-inductor", "bf16"), "auto must pass it by"


def test_package_without_key_is_refused(copied: Bundle) -> None:
    (copied.path / "artifacts/aot-inductor/translate.fp32.json").unlink()
    with pytest.raises(UnsupportedError, match=r"its key, the \.json file beside it, is missing"):
        Translator.load(copied.path, backend="aot-inductor", precision="fp32")


def test_verify_says_what_it_leaves_out(copied: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (copied.path / "artifacts/aot-inductor").glob("*.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "device": "Another Processor"}))
    assert main(["verify", str(copied.path)]) == 2
    assert "not verified in aot-inductor fp32: it was made for Another Processor" in capsys.readouterr().err


def test_float16_on_a_cpu_is_refused(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    if backends.problem(backends.BACKENDS["aot-inductor"], "fp16") is None:
        pytest.skip("this machine has a GPU")
    assert main(["export", str(bundle.path), "--format", "aot-inductor", "--precision", "fp16"]) == 2
    assert "float16 packages are for GPUs; on a CPU use bf16" in capsys.readouterr().err
    assert not (bundle.path / "artifacts").exists()


def test_missing_compiler_is_a_sentence(
    bundle: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["export", str(bundle.path), "--format", "aot-inductor"]) == 2
    assert "--format aot-inductor needs a C++ compiler: install g++" in capsys.readouterr().err


GRAPH_OF_THE_COMPILER = """
import torch
from torch._functorch.aot_autograd import aot_export_module
from i2i_rt.bundle import Bundle
from i2i_rt.export import trace
from i2i_rt.kernels import fused
from i2i_rt.stages.table import load_stages

class Tuple(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        return (self.module(*inputs),)

stage = load_stages(Bundle.open({path!r}))["translate"]
inputs = trace.examples(stage.spec)
with torch.no_grad(), fused.mode("export"):  # operators stay operators, as on a GPU whose kernels pass their tests
    program = torch.export.export(stage.module, inputs)
    assert "i2i_rt.norm_act" in str(program.graph)
    graph, _ = aot_export_module(Tuple(program.module()), inputs, trace_joint=False)
print(*(node.target for node in graph.graph.nodes if node.op == "call_function"), sep=chr(10))
"""


def test_compiler_is_given_the_kernels_of_fused_operators(bundle: Bundle) -> None:
    """Compiling for a GPU cannot be tried here; what it begins with can: no operator may be left that needs Python.

    In a process of its own, because Triton's interpreter, which tests of kernels run in, would run the kernels.
    """
    code = GRAPH_OF_THE_COMPILER.format(path=str(bundle.path))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET", None)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    names = result.stdout.splitlines()
    assert "triton_kernel_wrapper_functional" in names, result.stderr
    assert not [name for name in names if "i2i_rt" in name or "norm" in name]
