"""The import rules of the architecture, the packaging list, and what an import must not cost."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    "i2i_rt": "i2i_rt",
    "export": "i2i_rt.export",
    "kernels": "i2i_rt.kernels",
    "serving": "i2i_rt.serving",
    "benchmarks": "i2i_rt.benchmarks",
}
PLAIN = {"errors", "spec", "bundle", "label_names"}  # what everything may import: data without torch

# part of the package -> the other parts that it may import, besides PLAIN
MAY_IMPORT = {
    "kernels": set[str](),
    "official": set[str](),
    "models": {"kernels", "official"},
    "checkpoint": {"models", "official"},
    "tf_checkpoint": {"official"},
    "preprocessing": set[str](),
    "label_maps": set[str](),
    "label_names": set[str](),
    "pretrained": set[str](),
    "systems": {"models", "kernels", "preprocessing", "pretrained", "metrics", "importers"},
    "stages": {"models", "kernels"},
    "importers": {"checkpoint", "tf_checkpoint", "models", "preprocessing", "stages"},
    "training": {"systems", "stages", "models", "preprocessing", "pretrained", "label_maps"},
    "metrics": {"video", "pretrained", "models", "checkpoint"},
    "runtime": {"kernels", "stages"},
    "style": {"runtime", "preprocessing"},
    "editing": {"runtime"},
    "layout": set[str](),
    "label_translator": {"layout", "runtime"},
    "translator": {"runtime", "style", "label_translator"},
    "video": {"translator", "style", "runtime", "label_maps"},
    "farm": {"video", "translator", "style", "runtime"},
    "serving": {"runtime", "style", "translator", "label_translator", "label_maps", "video", "export"},
    "export": {"metrics", "video", "stages", "models", "kernels", "runtime", "style", "label_maps", "layout"},
}


def imported(path: Path, *, on_import_only: bool = False) -> Iterator[str]:
    """Names the modules that a file imports: anywhere, or only those that its own import needs."""
    tree = ast.parse(path.read_text())
    for node in tree.body if on_import_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module if node.module != "i2i_rt" else f"i2i_rt.{node.names[0].name}"


def sources(part: str) -> list[Path]:
    inside = ROOT / "i2i_rt" / part
    if inside.with_suffix(".py").is_file():
        return [inside.with_suffix(".py")]
    return sorted((inside if inside.is_dir() else ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_part_imports_only_what_lies_below_it(part: str) -> None:
    assert sources(part)
    for path in sources(part):
        for name in imported(path):
            words = name.split(".")
            if words[0] != "i2i_rt" or len(words) == 1 or words[1] in (part, "__version__"):
                continue
            allowed = MAY_IMPORT[part] | PLAIN
            assert words[1] in allowed, f"{path.relative_to(ROOT)} may not import {name}"


def test_only_sessions_in_pytorch_need_torch() -> None:
    for part in (
        "runtime",
        "video",
        "farm",
        "translator",
        "label_translator",
        "layout",
        "style",
        "editing",
        "bundle",
        "spec",
        "errors",
    ):
        for path in sources(part):
            names = set(imported(path, on_import_only=True))
            heavy = {name for name in names if name.startswith(("torch", "i2i_rt.systems", "i2i_rt.models"))}
            assert not heavy or path.name in ("torch.py", "torch_device.py"), (
                f"{path.relative_to(ROOT)} imports {heavy}"
            )


def test_every_package_is_listed() -> None:
    found = {
        ".".join([prefix, *init.parent.relative_to(ROOT / folder).parts])
        for folder, prefix in FOLDERS.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == found


def run_python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT.parent, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_help_and_translator_need_no_torch() -> None:
    run_python(
        "import sys\n"
        "from i2i_rt.cli import main\n"
        "assert main(['--help']) == 0\n"
        "import i2i_rt.translator, i2i_rt.video, i2i_rt.runtime.openvino, i2i_rt.runtime.onnxruntime\n"
        "assert i2i_rt.Translator and i2i_rt.Bundle\n"
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules"
    )


def test_help_of_every_verb_needs_no_torch() -> None:
    from i2i_rt.cli import VERBS

    output = run_python(
        "import contextlib, sys\n"
        "from i2i_rt.cli import VERBS, main\n"
        "for verb in VERBS:\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main([verb, '--help'])\n"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    assert output.count("usage: i2i-rt") == len(VERBS)


@pytest.mark.parametrize("words", [["import", "cut", "a.pth", "-o", "b"], ["train", "cut", "--data", "a", "-o", "b"]])
def test_missing_package_is_a_sentence(words: list[str]) -> None:
    run_python(
        "import contextlib, io, sys\n"
        "sys.modules['torch'] = None\n"
        "from i2i_rt.cli import main\n"
        "error = io.StringIO()\n"
        "with contextlib.redirect_stderr(error):\n"
        f"    assert main({words!r}) == 2\n"
        "assert 'pip install' in error.getvalue() and 'i2i-rt[train]' in error.getvalue(), error.getvalue()"
    )


def test_unknown_verb_gets_the_closest_match(capsys: pytest.CaptureFixture[str]) -> None:
    from i2i_rt.cli import main

    assert main(["exprot"]) == 2
    assert "did you mean 'export'?" in capsys.readouterr().err


def test_one_core_of_openvino_serves_all() -> None:
    """A second one takes its memory for signals along when it goes, and the next signal kills the process."""
    users = [path for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("*.py")]
    made = [path.name for path in users if "openvino" + ".Core()" in path.read_text()]
    assert made == ["openvino.py"]


@pytest.mark.parametrize("module", ["runtime.openvino", "export.openvino"])
def test_openvino_reports_nothing_over_the_network(module: str) -> None:
    pytest.importorskip("openvino")
    run_python(
        f"import i2i_rt.{module}, openvino\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "assert telemetry_utils.tm.__name__.endswith('telemetry_stub'), telemetry_utils.tm"
    )
