"""Tiny training sets of drawn pictures."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.systems.table import find
from i2i_rt.training.data import open_sampler
from i2i_rt.training.recipes import options_of
from i2i_rt.training.sampler import FolderSampler
from i2i_rt.training.triplets import FILE, measure


def draw_pictures(folder: Path, count: int, size: tuple[int, int] = (48, 40), seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        coarse = generator.integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.png")


def draw_labelled(data: Path, split: str, count: int, *, instances: bool) -> None:
    """Pictures whose columns say where they are: a 20th of the level is the label, ten times it the instance."""
    for name in ("label", "img", *(("inst",) if instances else ())):
        (data / f"{split}_{name}").mkdir(parents=True)
    levels = np.repeat(np.arange(60)[None] // 6 * 20, 40, axis=0)
    for number in range(count):
        picture = np.stack([levels, levels, np.full_like(levels, number)], 2)
        Image.fromarray(picture.astype(np.uint8)).save(data / f"{split}_img" / f"{number}.png")
        labels = np.where(levels == 180, 255, levels // 20)
        Image.fromarray(labels.astype(np.uint8)).save(data / f"{split}_label" / f"{number}.png")
        if instances:
            Image.fromarray((levels * 10).astype(np.uint16)).save(data / f"{split}_inst" / f"{number}.png")


def draw_linked(data: Path, split: str, codes: int, classes: tuple[str, ...] = ("cat", "dog", "owl")) -> None:
    """Pictures of each latent code and class: a square whose place is the code's and whose colour is the class's."""
    for code in range(codes):
        rows, columns = np.indices((40, 40)) - 8 - 4 * np.array([code % 3, code % 4])[:, None, None]
        inside = (np.minimum(rows, columns) >= 0) & (np.maximum(rows, columns) < 16)
        for number, name in enumerate(classes):
            colour = np.where(np.arange(3) == number, 220, 60)
            for folder, picture in ((split, np.where(inside[..., None], colour, 20)), (f"{split}_shape", 255 * inside)):
                (data / folder / f"{code}").mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture.astype(np.uint8)).save(data / folder / f"{code}" / f"{name}.png")


def photograph(width: int, height: int) -> Image.Image:
    """A picture with edges and gradients."""
    rows, columns = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(20 * rows + 3 * columns), np.sign(np.sin(30 * columns + 9 * rows)), rows - columns]
    return Image.fromarray(np.stack([(127 * wave + 128).clip(0, 255).astype(np.uint8) for wave in waves], 2))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """`trainA` with 3 and `trainB` with 4 pictures."""
    draw_pictures(tmp_path / "photos" / "trainA", 3)
    draw_pictures(tmp_path / "photos" / "trainB", 4, seed=1)
    return tmp_path / "photos"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """`train` with 3 pictures A|B."""
    draw_pictures(tmp_path / "pairs" / "train", 3, size=(96, 40))
    return tmp_path / "pairs"


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """One picture a side, large enough for several crops."""
    draw_pictures(tmp_path / "single" / "trainA", 1, size=(200, 150))
    draw_pictures(tmp_path / "single" / "trainB", 1, size=(160, 220), seed=1)
    return tmp_path / "single"


@pytest.fixture
def styles(tmp_path: Path) -> Path:
    """`train` and `val` with 7 pictures A|B each, and their triplets by random features."""
    folder = tmp_path / "styles"
    draw_pictures(folder / "train", 7, size=(96, 40))
    draw_pictures(folder / "val", 7, size=(96, 40), seed=1)
    options = options_of("step-styles", str(folder), crop_size=32)
    pairs = open_sampler(options, replace(find("step-styles")[1], data="paired"))
    assert isinstance(pairs, FolderSampler)
    measure(pairs, "random", crop_size=32, closest=2, furthest=3, images=7).save(folder / FILE)
    return folder


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    """`train/` with 3 pictures of cats and 4 of dogs, and `val/` with one each."""
    folder = tmp_path / "domains"
    for seed, (name, count) in enumerate((("train/cats", 3), ("train/dogs", 4), ("val/cats", 1), ("val/dogs", 1))):
        draw_pictures(folder / name, count, seed=seed)
    return folder


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """`train` with 4 latent codes of 3 classes, and one of a cat alone; `val` with 2 codes."""
    draw_linked(tmp_path / "linked", "train", 4)
    draw_linked(tmp_path / "linked", "val", 2)
    for folder in ("train", "train_shape"):
        lonely = tmp_path / "linked" / folder / "photograph"
        lonely.mkdir()
        shutil.copy(tmp_path / "linked" / folder / "0" / "cat.png", lonely)
    return tmp_path / "linked"


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """`train` with 6 and `val` with 2 pictures, their label maps (0 to 9 and unknown) and instances."""
    draw_labelled(tmp_path / "labelled", "train", 6, instances=True)
    draw_labelled(tmp_path / "labelled", "val", 2, instances=True)
    return tmp_path / "labelled"


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """4 labelled pictures of 2 classes, more unknown in each; 3 of another look without labels; 3 held out."""
    folder = tmp_path / "streets"
    for split, count in (("train", 4), ("val", 3)):
        draw_pictures(folder / f"{split}_img", count)
        (folder / f"{split}_label").mkdir()
        for number in range(count):
            with Image.open(folder / f"{split}_img" / f"{number}.png") as picture:
                labels = (np.asarray(picture).mean(2) > 128).astype(np.uint8)
            labels[: 6 * number] = 255
            Image.fromarray(labels).save(folder / f"{split}_label" / f"{number}.png")
    draw_pictures(folder / "train_target", 3, seed=1)
    return folder
