import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from demo import evaluate, run
from demo.photos import HELD_OUT
from i2i_rt.bundle import Bundle
from i2i_rt.testing import FakeSession
from i2i_rt.translator import Translator

DEMO = Path(run.__file__).parent


def test_shipped_bundle_is_small_and_says_where_it_came_from() -> None:
    bundle = Bundle.open(DEMO / "bundle")
    assert (DEMO / "bundle" / "weights.safetensors").stat().st_size < 3_000_000
    assert bundle.system == "fastcut"
    assert "seed 0" in " ".join([bundle.provenance.source, *bundle.provenance.notes])
    assert not bundle.artifacts()


def test_shipped_model_draws_held_out_photographs_better_than_no_model() -> None:
    with Translator.load(DEMO / "bundle", backend="torch") as translator:
        for name in HELD_OUT:
            found = evaluate.scores(translator, name)
            for other in ("photograph", "bare paper"):
                assert found["translated"].psnr_db > found[other].psnr_db + 4, (name, other)
            assert found["translated"].ssim > found["bare paper"].ssim + 0.1, name


def test_score_tells_right_from_wrong_answers() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    near = evaluate.score(picture + np.uint8(1), picture)
    assert near.psnr_db == pytest.approx(48.13, abs=0.01)  # one level of 255 everywhere
    assert near.ssim > 0.999
    assert evaluate.score(255 - picture, picture).ssim < 0.1


def test_picture_has_photograph_translation_and_answer() -> None:
    picture = evaluate.side_by_side(Translator(FakeSession()))
    side = picture.shape[0] // len(HELD_OUT)
    assert picture.shape == (len(HELD_OUT) * side, 3 * side, 3)
    assert np.array_equal(picture[:, side : 2 * side], 255 - picture[:, :side])


def test_evaluate_without_a_bundle_ends_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["evaluate", str(tmp_path / "nothing")])
    assert evaluate.main() == 2
    assert "there is no bundle at" in capsys.readouterr().err


def test_first_steps_of_the_demo_train_what_the_shipped_model_was_trained_with() -> None:
    text = (DEMO / "train.sh").read_text().replace("\\\n", " ")
    command = shlex.split(next(line for line in text.splitlines() if line.startswith("i2i-rt train")))
    options = dict(zip(run.TRAINING[::2], run.TRAINING[1::2], strict=True))
    for option in ("--width", "--blocks", "--discriminator-width", "--resize", "--crop-size", "--learning-rate"):
        assert command[command.index(option) + 1] == options[option]


def test_demo_stops_at_the_first_command_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "i2i_rt", lambda words: 1)
    with pytest.raises(SystemExit) as stopped:
        run.call("export", "somewhere/")
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert re.search(r"^\$ i2i-rt export somewhere/$", printed.out, re.MULTILINE)
    assert "'i2i-rt export' ended with exit code 1" in printed.err
