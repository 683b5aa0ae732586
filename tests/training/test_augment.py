"""Augmentation: what is drawn comes from the given generator alone, and stays within its bounds."""

import numpy as np
import pytest
import torch

from i2i_rt.training.augment import mirrored, resized_crop, view

ROWS, COLUMNS = np.mgrid[0:64, 0:80].astype(np.uint8)
PLACES = np.stack([2 * ROWS, 2 * COLUMNS, np.full_like(ROWS, 90)], 2)  # a pixel says where it was


@pytest.mark.parametrize("change", [mirrored, lambda image, generator: resized_crop(image, 32, generator), view])
def test_changes_depend_on_the_generator_alone(change: object) -> None:
    image = PLACES[:, :64]
    results = []
    for seed in (0, 0, 1, 2, 3):
        torch.manual_seed(len(results))
        results.append(change(image, np.random.default_rng(seed)))  # type: ignore[operator]

    assert np.array_equal(results[0], results[1])
    assert any(not np.array_equal(results[0], other) for other in results[2:])


def test_resized_crops_are_parts_of_the_wanted_area_and_shape() -> None:
    generator, image = np.random.default_rng(0), PLACES[:, :64]
    areas, ratios = [], []

    for _ in range(50):
        crop = resized_crop(image, 32, generator).astype(float) / 2
        height, width = (np.ptp(crop[..., 0]) + 1, np.ptp(crop[..., 1]) + 1)
        areas.append(height * width / 64**2)
        ratios.append(width / height)

    assert crop.shape == (32, 32, 3)
    # the outermost pixels of a crop are means over more than one
    assert 0.75 < min(areas) < 0.85 and 0.9 < max(areas) <= 1.0
    assert 0.86 < min(ratios) < 0.95 and 1.05 < max(ratios) < 1.14


def test_crop_that_fits_nowhere_is_the_whole_picture() -> None:
    strip = np.zeros((16, 160, 3), np.uint8)
    strip[:, 80:] = 200

    crop = resized_crop(strip, 32, np.random.default_rng(0))

    assert (crop[:, :12] == 0).all() and (crop[:, 20:] == 200).all()


def test_views_are_mirrored_half_of_the_time_and_have_other_colours() -> None:
    generator, image = np.random.default_rng(0), PLACES[:, :64]

    views = [view(image, generator).astype(float) for _ in range(40)]

    rises = [np.median(np.diff(each[32, :, 1])) for each in views]
    assert all(each.shape == (64, 64, 3) for each in views)
    assert 0.25 < np.mean([rise < 0 for rise in rises]) < 0.75
    assert np.std([each[24:40, 24:40].mean() for each in views]) > 5
