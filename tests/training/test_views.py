"""Views: each picture once an epoch with another look at it, with or without folders of domains."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.errors import I2IError
from i2i_rt.training.crops import Cropping
from i2i_rt.training.folders import open_files
from i2i_rt.training.views import ViewsSampler, find_held_out, find_pictures


def draw(folder: Path, count: int, blue: int = 0) -> None:
    """Pictures whose blue is given, whose red is their number, and whose green grows from left to right."""
    folder.mkdir(parents=True)
    for number in range(count):
        picture = np.full((36, 36, 3), (8 * number, 0, blue), np.uint8)
        picture[..., 1] = np.linspace(0, 250, 36)
        Image.fromarray(picture).save(folder / f"{number}.png")


def sampler_of(data: Path) -> ViewsSampler:
    files = open_files(data)
    cropping = Cropping("square", 32, 32)
    return ViewsSampler(find_pictures(files), cropping, batch=3, seed=0, held=find_held_out(files))


def test_epoch_has_every_picture_once_with_its_domain_and_number(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "cats", 4)
    draw(tmp_path / "train" / "dogs", 2, blue=200)
    sampler = sampler_of(tmp_path)

    numbers = []
    for step in range(sampler.steps_per_epoch):
        image, view, domain, number = sampler.batch(step, slice(0, 3))
        assert image.shape == view.shape == (3, 32, 32, 3) and domain.dtype == number.dtype == np.int64
        assert np.array_equal(domain, number // 4) and np.array_equal(image[:, 9, 9, 2], 200 * domain)
        assert np.array_equal(image[:, 9, 9, 0], 8 * np.where(number < 4, number, number - 4))
        numbers += number.tolist()

    assert sorted(numbers) == list(range(6))
    assert sampler.domains == ("cats", "dogs") and sampler.description == "6 pictures of cats, dogs"


def test_images_are_whole_and_views_are_not(tmp_path: Path) -> None:
    draw(tmp_path / "train", 3)
    images, views = (np.concatenate([sampler_of(tmp_path).batch(n, slice(0, 3))[i] for n in range(8)]) for i in (0, 1))

    green = images[:, 16, :, 1].astype(int)
    mirrored = green[:, 0] > green[:, -1]
    assert mirrored.any() and not mirrored.all()
    assert np.allclose(np.sort(green, 1), np.sort(green[0]), atol=1)
    assert np.abs(images.astype(int) - views).mean() > 10
    assert len({view.tobytes() for view in views}) == len(views)


def test_pictures_without_folders_have_no_domains(tmp_path: Path) -> None:
    draw(tmp_path / "train", 3)
    sampler = sampler_of(tmp_path)
    assert sampler.domains == () and sampler.description == "3 pictures"
    assert not np.any(sampler.batch(0, slice(0, 3))[2])


def test_held_out_pictures_come_with_others_and_are_always_the_same(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "cats", 1)
    for place, name in enumerate(("cats", "dogs")):
        draw(tmp_path / "val" / name, 2, blue=100 * place)
    first, second = ([*sampler_of(tmp_path).held_out()] for _ in range(2))

    assert all(
        np.array_equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True)
    )
    image, view, domain, number = (np.concatenate(column) for column in zip(*first, strict=True))
    assert domain.tolist() == [0, 0, 1, 1] and number.tolist() == [0, 1, 2, 3]
    assert image[:, 9, 9, 2].tolist() == [0, 0, 100, 100] and view[:, 9, 9, 2].tolist() == [100, 100, 0, 0]


def test_a_part_of_a_batch_is_what_the_whole_has(tmp_path: Path) -> None:
    draw(tmp_path / "train", 6)
    whole, part = (sampler_of(tmp_path).batch(1, chosen) for chosen in (slice(0, 3), slice(1, 3)))
    assert all(np.array_equal(one[1:], two) for one, two in zip(whole, part, strict=True))


def test_pictures_beside_folders_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "cats", 1)
    Image.new("RGB", (36, 36)).save(tmp_path / "train" / "loose.png")
    with pytest.raises(I2IError, match=r"loose\.png is in no domain"):
        sampler_of(tmp_path)
