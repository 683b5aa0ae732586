"""The README's commands are commands that exist, and its Python runs."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.cli import VERBS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(
    set(re.findall(r"^    (i2i-rt \S.*)$", README, re.M)) | set(re.findall(r"`(i2i-rt \w[^`]*)`", README))
)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_options_that_exist(command: str) -> None:
    _, verb, *words = shlex.split(command, comments=True)
    module = importlib.import_module(f"i2i_rt.cli.{VERBS[verb][0]}")
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    parser.parse_args(words)


def test_every_verb_is_in_the_readme() -> None:
    assert set(VERBS) == {command.split()[1] for command in COMMANDS}


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.M):
        assert re.search(rf"^{target}:", makefile, re.M)


def test_files_that_the_readme_links_to_exist() -> None:
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_python_of_the_readme_runs(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names: dict[str, object] = {"frames": np.zeros((2, 16, 20, 3), np.uint8)}
    exec(code.replace("horse2zebra/", str(bundle.path)), names)
    assert names["zebra"].shape == (2, 16, 20, 3)  # type: ignore[attr-defined]
    assert "torch fp32" in capsys.readouterr().out
