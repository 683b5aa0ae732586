import hashlib
from pathlib import Path

import numpy as np

from demo import photos


def digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_same_files_every_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        photos.write(tmp_path / name, crops=6)
    assert digests(tmp_path / "first") == digests(tmp_path / "second")
    assert len(list((tmp_path / "first" / "trainA").iterdir())) == 6


def test_no_photograph_serves_twice() -> None:
    names = [*photos.PHOTOGRAPHS_A, *photos.PHOTOGRAPHS_B, *photos.HELD_OUT]
    assert len(names) == len(set(names))
    pictures = [photos.photograph(name).tobytes() for name in names]
    assert len(set(pictures)) == len(names)


def test_held_out_photographs_are_not_written_for_training(tmp_path: Path) -> None:
    photos.write(tmp_path, crops=max(len(photos.PHOTOGRAPHS_A), len(photos.PHOTOGRAPHS_B)))
    trained = {file.stem.split("-")[1] for domain in "AB" for file in (tmp_path / f"train{domain}").iterdir()}
    assert trained == {*photos.PHOTOGRAPHS_A, *photos.PHOTOGRAPHS_B}


def test_sketch_has_the_colours_of_paper_and_ink_only() -> None:
    drawn = photos.sketch(photos.held_out("chelsea")).astype(float)
    share = (photos.PAPER - drawn) / (photos.PAPER - photos.INK)
    assert share.min() >= -0.01
    assert share.max() <= 1.01
    assert np.ptp(share, axis=2).max() < 0.02  # every pixel lies between the two


def test_training_drawings_vary_around_the_one_that_is_scored() -> None:
    image = photos.held_out("chelsea")
    drawings = [photos.varied_sketch(image, np.random.default_rng(seed)).astype(float) for seed in range(12)]
    assert not np.array_equal(drawings[0], drawings[1])
    assert np.abs(np.mean(drawings, axis=0) - photos.sketch(image)).mean() < 5


def test_sketch_draws_dark_lines_and_leaves_light_areas_bare() -> None:
    image = np.full((64, 64, 3), 255, np.uint8)
    image[30:33] = 40
    drawn = photos.sketch(image)
    assert np.array_equal(drawn[2, 32], photos.PAPER.astype(np.uint8))
    assert drawn[31, 32].mean() < drawn[2, 32].mean() - 100
