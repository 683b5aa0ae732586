"""Adaptation: labelled pictures beside others of another look, and the way from both to a task network."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.systems.table import find
from i2i_rt.training.data import open_sampler
from i2i_rt.training.recipes import options_of
from i2i_rt.training.sampler import Sampler


def sampler_of(folder: Path, batch: int = 2) -> Sampler:
    options = options_of("cycada", str(folder), crop_size=32, load_size=36, batch=batch)
    return open_sampler(options, find("cycada")[1])


def test_labels_are_cut_and_mirrored_as_their_pictures_are(streets: Path) -> None:
    sampler = sampler_of(streets, batch=4)
    source, labels, target = sampler.batch(0, slice(None))
    assert source is not None and labels is not None and target is not None
    assert source.shape == target.shape == (4, 32, 32, 3) and labels.shape == (4, 32, 32)
    assert labels.dtype == np.int64 and set(np.unique(labels)) == {0, 1, 255}
    bright = source.mean(3) > 128  # as the labels were drawn
    known = labels != 255
    assert (bright == (labels == 1))[known].mean() > 0.9, "scaling moves the borders a little, no more"


def test_each_target_is_drawn_and_two_halves_are_the_whole(streets: Path) -> None:
    sampler = sampler_of(streets)
    assert sampler.steps_per_epoch == 2
    seen = set()
    for step in range(8):
        whole = sampler.batch(step, slice(None))
        halves = [sampler.batch(step, slice(side, side + 1)) for side in (0, 1)]
        for field, *parts in zip(whole, *halves, strict=True):
            np.testing.assert_array_equal(field, np.concatenate(parts))
        tight = sampler.batch(step, slice(None), augmented=False)[2]
        seen |= {min(image.tobytes(), image[:, ::-1].tobytes()) for image in tight}
    assert len(seen) == 3


def test_missing_target_is_named(streets: Path) -> None:
    (streets / "train_target").rename(streets / "elsewhere")
    with pytest.raises(I2IError, match="train_target"):
        sampler_of(streets)


def test_from_labelled_pictures_to_labels_of_the_target(streets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, adapted = streets / "runs", streets / "adapted"
    task = ["--crop-size", "32", "--width", "8", "--set", "classes=2", "--threads", "1"]
    short = ["--steps", "2", "--batch", "2"]
    pixels = [*task, "--blocks", "1", "--discriminator-width", "4", "--set", "semantic=1", "--set", "learn=false"]

    assert main(["train", "segmentation", "--data", str(streets), "-o", str(runs / "source"), *task, *short]) == 0
    words = ["train", "cycada", "--data", str(streets), "-o", str(runs / "pixels"), *pixels, *short]
    assert main([*words, "--from", str(runs / "source")]) == 0
    assert (
        main(["translate", str(runs / "pixels/bundle"), str(streets / "train_img"), "-o", str(adapted / "train_img")])
        == 0
    )
    for name in ("train_label", "val_img", "val_label"):
        (adapted / name).symlink_to(streets / name)
    assert main(["train", "segmentation", "--data", str(adapted), "-o", str(runs / "adapted"), *task, *short]) == 0
    found = str(streets / "found")
    assert main(["label", str(runs / "adapted/bundle"), str(streets / "val_img"), "-o", found]) == 0
    assert main(["eval", "labels", str(streets / "val_label"), found, "--classes", "2"]) == 0

    with Image.open(streets / "found/0.png") as picture:
        assert picture.size == (48, 40) and set(np.unique(np.asarray(picture))) <= {0, 1}
    (line,) = (runs / "adapted/scores.jsonl").read_text().splitlines()
    scores = json.loads(line)
    assert {"mIoU", "fwIoU", "pixel accuracy"} <= set(scores)
    assert "held out: mIoU" in capsys.readouterr().err
