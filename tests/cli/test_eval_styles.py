"""The verb eval styles on models whose styles are known: a picture of one colour, which is the style."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.cli import main
from i2i_rt.testing import tiny_bundle
from tests.fakes import StyledSession, stand_in, styled_bundle


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(np.full((40, 32, 3), 60 * index, np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    session = StyledSession(fixed=(32, 32))
    stand_in(monkeypatch, session)
    return styled_bundle(tmp_path / "model", session).path


def run(*words: object) -> int:
    return main(["eval", "styles", *map(str, words), "--features", "random", "--steps", "4", "--results", "3"])


def test_smoothness_and_diversity_of_every_source(
    model: Path, sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, sources, "--json", tmp_path / "scores.json", "--count", 2) == 0
    content = json.loads((tmp_path / "scores.json").read_text())
    found = content["scores"]
    assert 0 < found["ps"] <= 1
    assert 0 < found["uniformity"] <= 1
    assert found["diversity"] > 0
    assert set(content["sources"]) == {"0", "1"}
    assert (content["steps"], content["results"], content["comparable"]) == (4, 3, False)
    printed = capsys.readouterr().out
    assert "2 sources, a way of 4 steps and 3 results of each" in printed
    assert "PS (random features)" in printed


def test_the_same_seed_gives_the_same_figures(model: Path, sources: Path, tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate((7, 7, 8)):
        assert run(model, sources, "--seed", seed, "--count", 1, "--json", tmp_path / f"{number}.json") == 0
        found.append(json.loads((tmp_path / f"{number}.json").read_text())["scores"])
    assert found[0] == found[1] != found[2]


def test_styles_of_references_that_are_alike_have_no_diversity(model: Path, sources: Path, tmp_path: Path) -> None:
    one = tmp_path / "references"
    one.mkdir()
    (one / "a.png").write_bytes((sources / "1.png").read_bytes())
    assert run(model, sources, "--references", one, "--json", tmp_path / "scores.json") == 0
    found = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert found["diversity"] == found["ps"] == 0


def test_a_domain_must_be_named_where_there_are_several(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = StyledSession(domains=True, fixed=(32, 32))
    stand_in(monkeypatch, session)
    animals = styled_bundle(tmp_path / "animals", session).path
    assert run(animals, sources) == 2
    assert "name one with --domain: 0 cat" in capsys.readouterr().err
    assert run(animals, sources, "--domain", "dog", "--count", 1) == 0


def test_a_bundle_without_styles_is_refused(tmp_path: Path, sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tiny_bundle(tmp_path / "cut").path, sources) == 2
    assert "takes no style: cut has none" in capsys.readouterr().err


def test_one_result_has_no_diversity(model: Path, sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "styles", str(model), str(sources), "--results", "1"]) == 2
    assert "diversity needs at least 2 results" in capsys.readouterr().err
