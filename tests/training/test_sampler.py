"""Samplers: which crops a step gets, and that they follow from the seed and the step alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.training.crops import Cropping, ImageCache
from i2i_rt.training.folders import find_held_out, find_images, open_files
from i2i_rt.training.sampler import FolderSampler, SingleImageSampler
from tests.training.conftest import draw_pictures

CROPPING = Cropping("square", 36, 32)


def folder_sampler(photos: Path, batch: int = 1, seed: int = 0) -> FolderSampler:
    return FolderSampler(find_images(open_files(photos), "unpaired"), CROPPING, paired=False, batch=batch, seed=seed)


def test_batches_depend_on_seed_and_step_alone(photos: Path) -> None:
    one, same, other = folder_sampler(photos), folder_sampler(photos), folder_sampler(photos, seed=1)
    one.batch(0, slice(0, 1))

    assert all(map(np.array_equal, one.batch(5, slice(0, 1)), same.batch(5, slice(0, 1))))
    assert not all(
        np.array_equal(one.batch(step, slice(0, 1))[0], other.batch(step, slice(0, 1))[0]) for step in range(4)
    )


def test_parts_of_a_batch_are_the_batch(photos: Path) -> None:
    sampler = folder_sampler(photos, batch=4)

    whole, parts = sampler.batch(3, slice(0, 4)), [sampler.batch(3, part) for part in (slice(0, 2), slice(2, 4))]

    for side in (0, 1):
        assert np.array_equal(whole[side], np.concatenate([part[side] for part in parts]))


def test_every_picture_comes_once_an_epoch(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_pictures(photos / "trainA", 7)
    sampler, seen, load = folder_sampler(photos), [], ImageCache.load
    monkeypatch.setattr(
        ImageCache,
        "load",
        lambda self, file, cropping: (seen.append(file.path), load(self, file, cropping))[1],
    )

    for step in range(sampler.steps_per_epoch):
        sampler.batch(step, slice(0, 1))

    assert sampler.steps_per_epoch == 7
    assert sorted(file.name for file in seen if file.parent.name == "trainA") == [f"{n}.png" for n in range(7)]


def test_pairs_are_cut_and_mirrored_alike(pairs: Path) -> None:
    for file in (pairs / "train").iterdir():
        half = np.asarray(Image.open(file))[:, :48]
        Image.fromarray(np.concatenate([half, 255 - half], 1)).save(file)
    sampler = FolderSampler(find_images(open_files(pairs), "paired"), CROPPING, paired=True, batch=3, seed=0)

    for step in range(4):
        a, b = sampler.batch(step, slice(0, 3))
        assert np.abs(a.astype(int) + b - 255).max() <= 2  # bicubic scaling rounds


def test_two_folders_of_pairs_are_matched_by_name(photos: Path) -> None:
    shutil.rmtree(photos / "trainB")
    shutil.copytree(photos / "trainA", photos / "trainB")
    sampler = FolderSampler(find_images(open_files(photos), "paired"), CROPPING, paired=True, batch=1, seed=0)

    a, b = sampler.batch(0, slice(0, 1))

    assert np.array_equal(a, b)


def test_direction_swaps_the_halves_of_joined_pictures(pairs: Path) -> None:
    images = find_images(open_files(pairs), "paired")
    there, back = (FolderSampler(each, CROPPING, paired=True, batch=2, seed=0) for each in (images, images.swapped()))

    a, b = there.batch(0, slice(0, 2))

    assert not np.array_equal(a, b)
    assert all(map(np.array_equal, back.batch(0, slice(0, 2)), (b, a)))


def test_pictures_that_are_not_trained_on_are_found(photos: Path) -> None:
    assert find_held_out(open_files(photos), "unpaired") is None
    draw_pictures(photos / "testA", 3, seed=2)
    draw_pictures(photos / "testB", 3, seed=3)
    held = find_held_out(open_files(photos), "unpaired")
    sampler = FolderSampler(
        find_images(open_files(photos), "unpaired"), CROPPING, paired=False, batch=2, seed=0, held=held
    )

    sizes = [len(a) for a, _ in sampler.held_out()]

    assert sizes == [2, 1]
    assert all(map(np.array_equal, next(sampler.held_out()), next(sampler.held_out())))


def test_epoch_may_be_longer_than_the_set(photos: Path) -> None:
    images = find_images(open_files(photos), "unpaired")
    sampler = FolderSampler(images, CROPPING, paired=False, batch=2, seed=0, epoch_images=12)
    laps = [sampler._order(0, lap) for lap in range(3)]

    assert sampler.steps_per_epoch == 6
    assert all(sorted(lap) == list(range(4)) for lap in laps) and not np.array_equal(laps[0], laps[1])
    assert sampler.batch(5, slice(0, 2))[0].shape == (2, 32, 32, 3)


def test_without_augmentation_crops_are_the_whole_picture(photos: Path) -> None:
    image = ImageCache().load(open_files(photos).folder("trainA")[0], Cropping("square", 32, 32))
    sampler = folder_sampler(photos)

    crops = [sampler.batch(step, slice(0, 1), augmented=False)[0][0] for step in range(12)]

    assert any(np.array_equal(crop, image) or np.array_equal(crop[:, ::-1], image) for crop in crops)


def test_sincut_visits_no_cell_twice(single: Path) -> None:
    side = np.arange(200 * 150, dtype=np.uint32).reshape(150, 200)
    picture = np.stack([side >> 16, side >> 8, side], 2).astype(np.uint8)
    Image.fromarray(picture).save(single / "trainA" / "0.png")
    sampler = SingleImageSampler(
        find_images(open_files(single), "single"), crop_size=32, batch=4, epoch_images=100, seed=0
    )
    sampler.SMALLEST_SCALE = 1.0

    crops, _ = sampler.batch(0, slice(0, 4))

    pixels = [set(map(tuple, crop.reshape(-1, 3))) for crop in crops]
    assert crops.shape == (4, 32, 32, 3)
    assert not any(pixels[i] & pixels[j] for i in range(4) for j in range(i))
    assert sampler.steps_per_epoch == 25
