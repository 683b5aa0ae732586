"""Settings of a system, as text from the command line."""

from dataclasses import dataclass
from typing import Literal

import pytest

from i2i_rt.errors import I2IError
from i2i_rt.systems.settings import Settings


@dataclass(frozen=True)
class Some(Settings):
    weight: float = 0.5
    count: int = 3
    faces: bool = False
    layers: tuple[int, ...] = (1, 2)
    features: Literal["pretrained", "random"] = "pretrained"
    file: str = ""


def test_text_becomes_values() -> None:
    given = {"weight": "1e-3", "count": "4", "faces": "true", "layers": "3,4,5", "features": "random", "file": "a.npz"}

    assert Some.parse("some", given) == Some(1e-3, 4, True, (3, 4, 5), "random", "a.npz")
    assert Some.parse("some", {}) == Some()


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        pytest.param("wieght", "1", "some has no such setting; did you mean 'weight'?", id="unknown"),
        pytest.param("weight", "much", "--set weight=much: it must be a number", id="number"),
        pytest.param("count", "1.5", "--set count=1.5: it must be a whole number", id="whole"),
        pytest.param("weight", "nan", "--set weight=nan: it must be a number", id="finite"),
        pytest.param("faces", "1", "it must be true or false", id="flag"),
        pytest.param("features", "fixed", "--set features=fixed: it must be one of pretrained, random", id="choice"),
    ],
)
def test_mistakes_get_one_sentence(name: str, text: str, sentence: str) -> None:
    with pytest.raises(I2IError, match=sentence.replace("?", r"\?")):
        Some.parse("some", {name: text})


@pytest.mark.parametrize(
    ("least", "given", "sentence"),
    [
        (0, Some(weight=-0.5), "--set weight is -0.5; it must not be negative"),
        (2, Some(weight=2, count=1), "--set count is 1; it must be at least 2"),
        (0, Some(weight=float("nan")), "--set weight is nan; it must not be negative"),
    ],
)
def test_numbers_that_are_too_small_are_refused(least: int, given: Some, sentence: str) -> None:
    with pytest.raises(I2IError, match=sentence):
        given.at_least(least, "weight", "count")
    Some(weight=2, count=2).at_least(least, "weight", "count")


def test_settings_are_described_on_one_line() -> None:
    assert Some.described() == "weight=0.5, count=3, faces=false, layers=1,2, features=pretrained, file="
