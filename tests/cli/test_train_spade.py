"""A training on label maps as a user types it, from the data to pictures of the trained bundle."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from tests.training.conftest import labelled

__all__ = ["labelled"]

SMALL = ["--width", "2", "--discriminator-width", "4", "--crop-size", "32", "--batch", "2", "--steps", "1"]
SET = ["labels=10", "hidden=4", "vgg_weight=0"]


def words(data: Path, run: Path, *settings: str) -> list[str]:
    chosen = [word for setting in (*SET, *settings) for word in ("--set", setting)]
    return ["train", "spade", "--data", str(data), "-o", str(run), *SMALL, *chosen]


def test_run_becomes_a_bundle_that_translates_label_maps(labelled: Path, tmp_path: Path) -> None:
    run, made = tmp_path / "run", tmp_path / "made.png"

    assert main(words(labelled, run, "vae=true")) == 0
    place = ["--seed", "1", "-o", str(made), "--backend", "torch"]
    inputs = [str(labelled / "val_label" / "0.png"), "--instances", str(labelled / "val_inst" / "0.png")]
    assert main(["translate", str(run / "bundle"), *inputs, *place]) == 0

    bundle = Bundle.open(run / "bundle")
    assert bundle.labels is not None and bundle.labels.edges and len(bundle.labels.names) == 10
    assert {"translate", "layout", "render", "style_from_image"} <= bundle.stages.keys()
    assert np.asarray(Image.open(made)).ndim == 3
    grid = np.asarray(Image.open(run / "samples" / "step-0000001.png"))
    assert grid.shape == (4 * 32, 3 * 32, 3)
    assert "L1" in (run / "scores.jsonl").read_text()


def test_more_labels_than_were_told_are_a_sentence(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(labelled, tmp_path / "run", "labels=4")) == 2

    assert "known are 0 to 3: --set labels" in capsys.readouterr().err
