"""Triplets of styles: which pictures are neighbours, the file, the sampler, and the verb."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.systems.base import Triplets
from i2i_rt.systems.table import find
from i2i_rt.training import triplets
from i2i_rt.training.data import open_sampler
from i2i_rt.training.recipes import options_of
from i2i_rt.training.triplets import FILE, TripletFile, TripletSampler, extremes, style_distances


def test_distances_are_those_of_all_pairs_whatever_the_block() -> None:
    features = torch.randn(7, 50, generator=torch.Generator().manual_seed(0)) + 100
    expected = torch.cdist(features.double(), features.double()).square().numpy()

    for block in (2, 7, 100):
        computed = style_distances(lambda part: features[part], 7, block)
        np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-3)


def test_extremes_leave_the_picture_itself_out() -> None:
    places = np.array([0.0, 1.0, 3.0, 7.0, 7.0])
    distances = np.abs(places[:, None] - places).astype(np.float32)

    near, far = extremes(distances, 1, 2)

    assert near[:, 0].tolist() == [1, 0, 1, 4, 3]
    assert far[0].tolist() == [3, 4] and far[3].tolist() == [0, 1]


@pytest.fixture
def shades(tmp_path: Path) -> Path:
    """`train` with five reddish and five bluish pictures B in turn, and `val` likewise; all pictures A are alike."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        (tmp_path / "shades" / split).mkdir(parents=True)
        for number in range(10):
            shade = np.zeros((32, 64, 3), np.uint8)
            shade[:, 32:] = generator.integers(0, 40, (32, 32, 3))
            shade[:, 32:, 2 * (number % 2)] += 200
            Image.fromarray(shade).save(tmp_path / "shades" / split / f"{number}.png")
    return tmp_path / "shades"


def test_verb_finds_pictures_of_one_colour_to_be_alike(shades: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["triplets", str(shades), "--crop-size", "32", "--features", "random", "--closest", "4", "--furthest", "5"]

    assert main(words) == 0

    out = capsys.readouterr().out
    assert "10 pictures, 10 held out" in out and "are not the paper's" in out
    file = TripletFile.load(shades / FILE)
    assert file.held is not None and file.features == "random"
    for neighbours in (file.train, file.held):
        assert (neighbours.closest % 2 == neighbours.anchors[:, None] % 2).all()
        assert (neighbours.furthest % 2 != neighbours.anchors[:, None] % 2).all()


def sampler_of(folder: Path, **options: object) -> TripletSampler:
    chosen = options_of("step-styles", str(folder), crop_size=32, load_size=32, batch=4, **options)
    sampler = open_sampler(chosen, find("step-styles")[1])
    assert isinstance(sampler, TripletSampler)
    return sampler


def test_sampler_gives_pictures_b_of_neighbours_and_repeats_itself(shades: Path) -> None:
    main(["triplets", str(shades), "--crop-size", "32", "--features", "random", "--closest", "4", "--furthest", "5"])
    sampler = sampler_of(shades)

    whole = sampler.batch(3, slice(0, 4))
    half = sampler_of(shades).batch(3, slice(2, 4))

    assert sampler.kind is Triplets and sampler.steps_per_epoch == 2
    for field, part in zip(whole, half, strict=True):
        assert field is not None and part is not None
        np.testing.assert_array_equal(field[2:], part)
    anchor, positive, negative = (field.mean((1, 2)) for field in whole)  # type: ignore[union-attr]
    assert ((anchor[:, 0] > 100) == (positive[:, 0] > 100)).all()
    assert ((anchor[:, 0] > 100) != (negative[:, 0] > 100)).all()
    held = list(sampler.held_out())
    assert sum(len(batch[0]) for batch in held) == 10 * triplets.HELD_OUT_TRIPLETS  # type: ignore[arg-type]


def test_subset_of_a_large_set_is_measured(shades: Path) -> None:
    words = ["triplets", str(shades), "--crop-size", "32", "--features", "random", "--closest", "2", "--furthest", "2"]

    assert main([*words, "--images", "6", "-o", str(shades / "few.npz")]) == 0

    found = TripletFile.load(shades / "few.npz").train
    assert len(found.anchors) == 6
    assert set(found.closest.flatten()) <= set(found.anchors)
    assert sampler_of(shades, settings={"triplets": str(shades / "few.npz")}).count == 6


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--closest", "8"], "10 of the set's 10 pictures are measured; --closest 8 and --furthest 5 need 14"),
        (["--images", "0"], "--images is 0; it must be at least 1"),
        (["--features", "pretrainde"], "features is 'pretrainde'"),
    ],
)
def test_wrong_request_is_one_sentence(
    shades: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["--features", "random", "--closest", "4", "--furthest", "5"]

    assert main(["triplets", str(shades), "--crop-size", "32", *usual, *words]) == 2

    assert sentence in capsys.readouterr().err
    assert not (shades / FILE).exists()


def test_missing_damaged_or_foreign_file_is_refused(shades: Path, styles: Path) -> None:
    with pytest.raises(I2IError, match="makes it"):
        sampler_of(shades)
    (shades / FILE).write_bytes(b"PK nothing")
    with pytest.raises(I2IError, match="is no file of triplets"):
        sampler_of(shades)
    np.savez(shades / FILE, code=np.zeros(3))
    with pytest.raises(I2IError, match="is no file of triplets"):
        sampler_of(shades)
    other = {"triplets": str(styles / FILE)}
    with pytest.raises(I2IError, match="was made of other pictures than"):
        sampler_of(shades, settings=other)


def test_measuring_sees_the_side_that_the_direction_asks_for(shades: Path) -> None:
    file = shades / "back.npz"
    words = ["triplets", str(shades), "--crop-size", "32", "--features", "random", "--closest", "2", "--furthest", "2"]

    assert main([*words, "--direction", "BtoA", "-o", str(file)]) == 0

    # pictures A are all alike: neighbours are the first ones, whatever their partners' colour
    assert TripletFile.load(file).train.closest[5].tolist() == [0, 1]
    pairs = open_sampler(options_of("step", str(shades), crop_size=32, direction="BtoA"), replace(find("step")[1]))
    assert pairs.preview(1)[1].max() == 0  # type: ignore[union-attr]
