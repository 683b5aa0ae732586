"""`i2i-rt digits`: the set that it makes and what it says, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from i2i_rt.cli import main

FOLDERS = ("trainA", "trainB", "testA", "testB", "answersAB", "answersBA")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Two real pictures a digit."""
    real = load_digits()
    for digit in range(10):
        (tmp_path / "digits" / str(digit)).mkdir(parents=True)
        for number, image in enumerate(real.images[real.target == digit][:2]):
            Image.fromarray((image * 255 / 16).astype(np.uint8)).save(
                tmp_path / "digits" / str(digit) / f"{number}.png"
            )
    return tmp_path / "digits"


@pytest.mark.parametrize(("kind", "side"), [("single", 16), ("multiple", 64)])
def test_set_with_answers_is_made(
    kind: str, side: int, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--kind", kind, "--side", "16", "--train", "3", "--test", "2"]

    assert main(["digits", str(digits), "-o", str(tmp_path / "set"), *words]) == 0

    counts = {folder: len(list((tmp_path / "set" / folder).iterdir())) for folder in FOLDERS}
    assert counts == dict(zip(FOLDERS, (3, 3, 2, 2, 2, 2), strict=True))
    with Image.open(next((tmp_path / "set" / "trainB").iterdir())) as picture:
        assert picture.size == (side, side)
    assert "3 pictures a domain, 2 held out with their answers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["{data}/none"], "there is no folder", id="missing"),
        pytest.param(["{data}"], "has no pictures in a folder 0", id="no-digits"),
        pytest.param(["{data}/digits", "--side", "4"], "--side is 4", id="small"),
        pytest.param(["{data}/digits", "--seed", "-1"], "--seed -1", id="seed"),
        pytest.param(["{data}/digits", "--test", "0"], "0 to test", id="no-test"),
    ],
)
def test_mistakes_get_one_sentence(
    words: list[str], sentence: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["digits", *(word.format(data=tmp_path) for word in words), "-o", str(tmp_path / "set")]) == 2

    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1
    assert not (tmp_path / "set").exists()
