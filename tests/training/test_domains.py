"""Domains: equally often, references of the domain that is asked for, and held-out pictures of the same domains."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.errors import I2IError
from i2i_rt.training.crops import Cropping
from i2i_rt.training.domains import DomainSampler, find_domains, find_held_out
from i2i_rt.training.folders import open_files

DOMAINS = {"cat": 6, "dog": 2, "owl": 3}
CROPPING = Cropping("square", 36, 32)


def draw_domains(folder: Path, counts: dict[str, int]) -> None:
    """Pictures whose first channel is their domain and whose second is their number."""
    for domain, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture = np.full((36, 36, 3), (domain, number, 0), np.uint8)
            Image.fromarray(picture).save(folder / name / f"{number}.png")


def sampler_of(data: Path) -> DomainSampler:
    files = open_files(data)
    domains = find_domains(files)
    held = find_held_out(files, list(domains))
    return DomainSampler(domains, CROPPING, batch=6, seed=0, held=held)


def test_epoch_has_every_picture_and_all_domains_equally_often(tmp_path: Path) -> None:
    draw_domains(tmp_path / "train", DOMAINS)
    sampler, seen = sampler_of(tmp_path), []

    for step in range(sampler.steps_per_epoch):
        image, domain, *_ = sampler.batch(step, slice(0, 6))
        assert np.array_equal(image[:, 0, 0, 0], domain)
        seen += image[:, 0, 0, :2].tolist()

    assert sampler.domains == ("cat", "dog", "owl")
    assert sampler.description == "6 of cat, 2 of dog, 3 of owl"
    expected = [[domain, lap % count] for domain, count in enumerate(DOMAINS.values()) for lap in range(6)]
    assert sorted(seen) == sorted(expected)


def test_references_are_of_the_target(tmp_path: Path) -> None:
    draw_domains(tmp_path / "train", DOMAINS)
    sampler, targets, pairs = sampler_of(tmp_path), [], []

    for step in range(20):
        _, domain, reference, other, target = sampler.batch(step, slice(0, 6))
        assert domain.dtype == target.dtype == np.int64 and domain.shape == target.shape == (6,)
        assert np.array_equal(reference[:, 5, 5, 0], target) and np.array_equal(other[:, 5, 5, 0], target)
        targets += target.tolist()
        pairs += (reference[:, 0, 0, 1] == other[:, 0, 0, 1]).tolist()

    assert all(30 < targets.count(domain) < 50 for domain in range(3))
    assert 0.2 < np.mean(pairs) < 0.55  # drawn apart: 1/6, 1/2 and 1/3 of the time the same


def test_pictures_are_whole_half_of_the_time(tmp_path: Path) -> None:
    (tmp_path / "train" / "one").mkdir(parents=True)
    columns = np.repeat(np.linspace(20, 220, 36)[None], 36, axis=0).astype(np.uint8)
    Image.fromarray(np.stack([columns] * 3, 2)).save(tmp_path / "train" / "one" / "0.png")
    sampler = sampler_of(tmp_path)

    images = np.concatenate([sampler.batch(step, slice(0, 6))[0] for step in range(30)]).astype(int)

    ends = images[:, 16, [0, -1], 0]
    assert 0.35 < np.mean(np.abs(ends[:, 0] - ends[:, 1]) > 195) < 0.75
    assert 0.35 < np.mean(ends[:, 0] > ends[:, 1]) < 0.65


def test_pictures_that_are_not_trained_on_are_always_the_same(tmp_path: Path) -> None:
    draw_domains(tmp_path / "train", DOMAINS)
    draw_domains(tmp_path / "val", {"cat": 2, "dog": 2, "owl": 1})
    sampler = sampler_of(tmp_path)

    first, again = list(sampler.held_out()), list(sampler.held_out())

    assert [len(domain) for _, domain, *_ in first] == [6]
    image, domain, reference, other, target = first[0]
    assert all(map(np.array_equal, first[0], again[0]))
    assert np.array_equal(image[:, 0, 0, 0], domain) and np.array_equal(reference[:, 0, 0, 0], target)
    assert (domain != target).all() and np.array_equal(other[:, 0, 0, 0], target)


def test_other_held_out_domains_are_refused(tmp_path: Path) -> None:
    draw_domains(tmp_path / "train", DOMAINS)
    draw_domains(tmp_path / "test", {"cat": 1, "fox": 1})

    with pytest.raises(I2IError, match=r"test/ of .* has the domains cat, fox, and train/ has cat, dog, owl"):
        sampler_of(tmp_path)


def test_picture_without_a_domain_is_named(tmp_path: Path) -> None:
    draw_domains(tmp_path / "train", DOMAINS)
    Image.new("RGB", (36, 36)).save(tmp_path / "train" / "stray.png")

    with pytest.raises(
        I2IError, match=r"train/stray.png is in no domain; --data names a folder that holds train/ with"
    ):
        sampler_of(tmp_path)
