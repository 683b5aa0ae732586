"""`i2i-rt train` as a user types it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.systems.pix2pix import Pix2Pix
from i2i_rt.systems.table import SYSTEMS
from tests.training.conftest import draw_pictures, pairs, photos, single

__all__ = ["pairs", "photos", "single"]

TINY = ["--width", "4", "--discriminator-width", "4"]
SMALL = [*TINY, "--blocks", "1", "--crop-size", "32"]


def tensorboard_tags(run: Path) -> list[str]:
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return [str(tag) for tag in found.Tags()["scalars"]]


def test_training_ends_with_a_bundle_samples_logs_and_the_next_command(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"

    status = main(["train", "fastcut", "--data", str(photos), "-o", str(run), *SMALL, "--steps", "3"])

    printed, progress = capsys.readouterr()
    assert status == 0
    assert "trained 3 of 3 steps" in printed and "images/s" in printed and "waiting for data" in printed
    assert printed.splitlines()[-1].split() == ["next", "i2i-rt", "export", str(run / "bundle")]
    assert "NCE" in progress and "G_GAN" in progress
    bundle = Bundle.open(run / "bundle")
    assert bundle.system == "fastcut" and list(bundle.stages) and bundle.networks["generator"].config["width"] == 4
    assert "3 steps, seed 0" in bundle.provenance.source
    assert "3 pictures of A and 4 of B" in bundle.provenance.notes[0]
    grid = np.asarray(Image.open(run / "samples" / "step-0000003.png"))
    assert grid.shape == (4 * 32, 3 * 32, 3)
    assert "learning_rate/generator" in tensorboard_tags(run)


def test_options_that_are_left_out_have_the_papers_values(photos: Path, tmp_path: Path) -> None:
    main(["train", "cut", "--data", str(photos), "-o", str(tmp_path / "run"), *SMALL, "--steps", "1"])

    kept = json.loads((tmp_path / "run" / "training.json").read_text())
    assert (kept["epochs"], kept["decay_epochs"], kept["batch"], kept["learning_rate"]) == (200, 200, 1, 2e-4)
    assert (kept["load_size"], kept["resize"], kept["antialias"]) == (36, "square", True)


def test_few_bad_files_are_counted_and_many_end_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for side in ("trainA", "trainB"):
        draw_pictures(tmp_path / side, 12)
    (tmp_path / "trainA" / "7.png").write_text("not a picture")
    words = ["train", "fastcut", "--data", str(tmp_path), *SMALL, "--steps", "12", "-o"]

    assert main([*words, str(tmp_path / "run")]) == 0
    printed, progress = capsys.readouterr()
    assert "left out files that cannot be used: 1; they are named above" in printed
    assert progress.count("7.png cannot be read as a picture") == 1

    (tmp_path / "trainA" / "5.png").write_text("not a picture")
    assert main([*words, str(tmp_path / "other")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 24 files cannot be used, more than 5% of the set" in last and "5.png" in last and "7.png" in last


@pytest.mark.parametrize(
    ("system", "data", "options"),
    [
        pytest.param("cyclegan", "photos", SMALL, id="cyclegan"),
        pytest.param("pix2pix", "pairs", [*TINY, "--crop-size", "32", "--direction", "BtoA"], id="pix2pix"),
        pytest.param("sincut", "single", [*TINY, "--batch", "2"], id="sincut"),
        pytest.param("cut", "photos", [*SMALL, "--precision", "bf16", "--no-antialias", "--batch", "2"], id="cut-bf16"),
    ],
)
def test_every_system_trains_and_gives_a_translator(
    system: str, data: str, options: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from i2i_rt.translator import Translator

    run, folder = tmp_path / "run", request.getfixturevalue(data)

    assert main(["train", system, "--data", str(folder), "-o", str(run), *options, "--steps", "2"]) == 0

    with Translator.load(run / "bundle", backend="torch") as translator:
        assert translator(np.zeros((32, 32, 3), np.uint8)).shape == (32, 32, 3)
    assert (run / "bundle-back").is_dir() == (system == "cyclegan")


def test_resume_needs_no_options_and_goes_on(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    main(["train", "fastcut", "--data", str(photos), "-o", run, *SMALL, "--steps", "2"])

    assert main(["train", "fastcut", "-o", run, "--resume", "--steps", "3"]) == 0
    assert "3 of 3 steps: 1 steps in" in capsys.readouterr().out
    assert main(["train", "fastcut", "-o", run, "--resume", "--steps", "3"]) == 0
    assert "has all its 3 steps" in capsys.readouterr().out


def test_run_becomes_bundles_elsewhere_without_its_data(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, bundle = tmp_path / "run", tmp_path / "kept" / "zebra"
    main(["train", "cyclegan", "--data", str(photos), "-o", str(run), *SMALL, "--steps", "1"])
    shutil.rmtree(photos)
    capsys.readouterr()

    assert main(["bundle", str(run), "-o", str(bundle)]) == 0

    printed = capsys.readouterr().out
    assert f"{bundle}: cyclegan, " in printed and f"next: i2i-rt export {bundle}" in printed
    for name, own in (("zebra", "bundle"), ("zebra-back", "bundle-back")):
        made, written = Bundle.open(tmp_path / "kept" / name), Bundle.open(run / own)
        assert made.weights_sha256() == written.weights_sha256() and made.provenance == written.provenance


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_every_system_says_what_it_takes(system: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", system, "--explain"]) == 0

    data, options, *_ = capsys.readouterr().out.splitlines()
    assert data.startswith("data      train") and "--learning-rate 0.0" in options


def test_bundle_of_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", str(tmp_path), "-o", str(tmp_path / "bundle")]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_run_begins_with_anothers_weights(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(photos), *SMALL, "--steps", "1"]
    main(["train", "cut", "-o", str(tmp_path / "first"), *words])
    slow = ["--learning-rate", "1e-12", "--from", str(tmp_path / "first")]

    assert main(["train", "fastcut", "-o", str(tmp_path / "second"), *words, *slow, "--seed", "5"]) == 0

    first, second = (Bundle.open(tmp_path / name / "bundle") for name in ("first", "second"))
    for key, weights in first.weights().items():
        assert np.allclose(weights, second.weights()[key], atol=1e-6)
    assert "began with the weights of first" in second.provenance.notes
    capsys.readouterr()
    wide = ["--width", "8", "--from", str(tmp_path / "first")]
    assert main(["train", "cut", "-o", str(tmp_path / "third"), *words, *wide]) == 2
    assert "its network 'generator' has another shape" in capsys.readouterr().err


def test_held_out_pictures_are_scored_on_the_way(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_pictures(pairs / "val", 3, size=(96, 40), seed=1)
    monkeypatch.setattr(
        Pix2Pix, "scores", lambda self, batch, networks: {"mean": networks["generator"](batch.a).mean((1, 2, 3))}
    )
    words = ["train", "pix2pix", "--data", str(pairs), "-o", str(tmp_path / "run"), *TINY, "--crop-size", "32"]

    main([*words, "--steps", "3", "--evaluate-every", "2"])
    main([*words, "--resume", "--steps", "4", "--evaluate-every", "2"])

    lines = [json.loads(line) for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 4] and all(-1 < line["mean"] < 1 for line in lines)
    assert "held out: mean" in capsys.readouterr().err


def test_help_names_every_system(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])

    assert set(SYSTEMS) <= set(re.findall(r"[\w-]+", capsys.readouterr().out))


@pytest.mark.parametrize("after", [0, 1])
def test_scores_fail_before_the_first_step_or_leave_a_saved_run(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    calls = iter(range(after))

    def scores(self: Pix2Pix, batch: object, networks: object) -> dict[str, object]:
        if next(calls, None) is None:
            raise I2IError("no weights")
        return {}

    draw_pictures(pairs / "val", 1, size=(96, 40), seed=1)
    monkeypatch.setattr(Pix2Pix, "scores", scores)
    words = ["train", "pix2pix", "--data", str(pairs), "-o", str(tmp_path / "run"), *TINY, "--crop-size", "32"]

    assert main([*words, "--steps", "1"]) == 2
    assert (tmp_path / "run" / "state.pt").is_file() == bool(after)
    assert (tmp_path / "run").exists() == bool(after)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["cut", "--data", "{photos}", "--set", "weight=1"], "cut has no such setting", id="setting"),
        pytest.param(["cut", "--data", "{photos}", "--set", "weight"], "write NAME=VALUE", id="assignment"),
        pytest.param(["cut", "--data", "{photos}", "--from", "nowhere"], "nowhere holds no run", id="from"),
        pytest.param(["pix2pix", "--data", "{photos}", "--blocks", "3"], "--blocks means nothing", id="unused-option"),
        pytest.param(["cutt", "--data", "{photos}"], "did you mean 'cut'?", id="unknown-system"),
        pytest.param(["cut"], "name the folder with the pictures with --data", id="no-data"),
        pytest.param(["cut", "--data", "{photos}/nothing"], "there is no folder", id="missing-folder"),
        pytest.param(["cut", "--data", "{photos}/trainA"], "has no folder trainA", id="wrong-folder"),
        pytest.param(["cut", "--data", "{photos}", "--crop-size", "30"], "--crop-size is 30", id="odd-crop"),
        pytest.param(
            ["cut", "--data", "{photos}", "--load-size", "64"], "smaller than --crop-size 256", id="load-size"
        ),
        pytest.param(["cut", "--data", "{photos}", "--resize", "shrt"], "--resize is 'shrt'", id="resize"),
        pytest.param(["cut", "--data", "{photos}", "--precision", "fp16"], "one of fp32, bf16", id="precision"),
        pytest.param(["cut", "--data", "{photos}", "--batch", "0"], "--batch is 0; it must be at least 1", id="batch"),
        pytest.param(["cut", "--data", "{photos}", "--steps", "0"], "--steps is 0", id="steps"),
        pytest.param(["cut", "--data", "{photos}", "--learning-rate", "2"], "between 0 and 1", id="learning-rate"),
        pytest.param(["sincut", "--data", "{photos}"], "SinCUT learns from one picture each", id="sincut"),
        pytest.param(["cut", "--resume"], "holds no run; 'i2i-rt train' without --resume", id="nothing-to-resume"),
    ],
)
def test_mistakes_get_one_sentence(
    words: list[str], sentence: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(photos=photos) for word in words]

    assert main(["train", *words, "-o", str(tmp_path / "run")]) == 2

    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_truncated_picture_is_named(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (photos / "trainA").iterdir():
        file.write_bytes(file.read_bytes()[:200])

    assert main(["train", "cut", "--data", str(photos), "-o", str(tmp_path / "run"), *SMALL, "--steps", "3"]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_resume_refuses_options_that_would_make_another_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    main(["train", "fastcut", "--data", str(photos), "-o", run, *SMALL, "--steps", "1"])

    assert main(["train", "fastcut", "-o", run, "--resume", "--width", "8"]) == 2
    assert "--width is 8 and the run in" in capsys.readouterr().err
    assert main(["train", "cut", "-o", run, "--resume"]) == 2
    assert "the system is cut and the run in" in capsys.readouterr().err


def test_resume_takes_moved_data_and_the_threads_of_the_run(photos: Path, tmp_path: Path) -> None:
    import torch

    run, moved = str(tmp_path / "run"), photos.with_name("moved")
    threads = torch.get_num_threads()
    try:
        main(["train", "fastcut", "--data", str(photos), "-o", run, *SMALL, "--steps", "1", "--threads", "2"])
        torch.set_num_threads(1)
        photos.rename(moved)

        assert main(["train", "fastcut", "--data", str(moved), "-o", run, "--resume", "--steps", "2"]) == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def started(photos: Path, run: Path) -> "subprocess.Popen[str]":
    words = ["train", "fastcut", "--data", str(photos), "-o", str(run), *SMALL, "--save-every", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "i2i_rt", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (run / "bundle" / "bundle.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_ctrl_c_saves_and_says_how_to_go_on(photos: Path, tmp_path: Path) -> None:
    process = started(photos, tmp_path / "run")

    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert "interrupted after" in printed
    assert printed.splitlines()[-1].split()[2:] == [
        "i2i-rt",
        "train",
        "fastcut",
        "-o",
        str(tmp_path / "run"),
        "--resume",
    ]
    assert "Traceback" not in errors


def test_kill_leaves_a_run_that_goes_on(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = started(photos, run)

    os.kill(process.pid, signal.SIGKILL)  # it saves at every step, so mostly in the middle of a save
    process.communicate(timeout=60)

    assert main(["train", "fastcut", "-o", str(run), "--resume", "--steps", "100"]) == 0
    assert Bundle.open(run / "bundle").weights()
    assert not list(run.glob(".*"))


def test_pictures_too_small_for_training_are_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_pictures(photos / "trainB", 1, size=(12, 40))

    assert main(["train", "cut", "--data", str(photos), "-o", str(tmp_path / "run"), *SMALL]) == 2
    assert "trainB/0.png is too small: 12x40" in capsys.readouterr().err
