"""Labelled pictures: maps and pictures are cut alike, and folders that do not match are refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.errors import I2IError
from i2i_rt.training.crops import Cropping
from i2i_rt.training.folders import open_files
from i2i_rt.training.labelled import LabelledSampler, find_held_out, find_labelled
from tests.training.conftest import draw_labelled

CROPPING = Cropping("short", 40, 32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    draw_labelled(tmp_path, "train", 6, instances=True)
    return tmp_path


def sampler_of(data: Path) -> LabelledSampler:
    files = open_files(data)
    return LabelledSampler(find_labelled(files), CROPPING, batch=3, seed=0, held=find_held_out(files))


def test_maps_are_cut_and_mirrored_as_their_pictures_are(data: Path) -> None:
    sampler, rises = sampler_of(data), set()

    for step in range(8):
        labels, instances, image = sampler.batch(step, slice(0, 3))
        assert labels is not None and instances is not None and image is not None
        assert labels.shape == instances.shape == (3, 32, 32) and image.shape == (3, 32, 32, 3)
        assert labels.dtype == instances.dtype == np.int64 and image.dtype == np.uint8
        level = image[..., 0].astype(int)
        unknown = labels == 255
        assert np.array_equal(np.where(unknown, 180, labels * 20), level)
        assert np.array_equal(instances, level * 10)
        rises |= set(np.sign(level[:, 16, 31] - level[:, 16, 0]).tolist())

    assert rises == {-1, 1}


def test_every_picture_comes_once_an_epoch(data: Path) -> None:
    sampler = sampler_of(data)

    seen = [number for step in (0, 1) for number in sampler.batch(step, slice(0, 3))[2][:, 0, 0, 2]]

    assert sampler.steps_per_epoch == 2
    assert sorted(seen) == list(range(6))


def test_sets_without_instances_have_none(tmp_path: Path) -> None:
    draw_labelled(tmp_path, "train", 3, instances=False)
    draw_labelled(tmp_path, "val", 4, instances=False)
    sampler = sampler_of(tmp_path)

    assert sampler.batch(0, slice(0, 3))[1] is None
    assert [(len(labels), instances) for labels, instances, _ in sampler.held_out()] == [(3, None), (1, None)]


def test_map_of_another_shape_is_a_bad_file(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = data / "train_label" / "2.png"
    Image.fromarray(np.zeros((40, 80), np.uint8)).save(file)

    with pytest.raises(I2IError, match=r"1 of 18 files cannot be used, more than 5% of the set: .*train_label/2.png;"):
        for step in (0, 1):
            sampler_of(data).batch(step, slice(0, 3))

    assert "train_label/2.png has another shape than its picture" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["train_label", "train_inst"])
def test_picture_without_a_map_is_named(folder: str, data: Path) -> None:
    (data / folder / "4.png").unlink()

    with pytest.raises(I2IError, match=r"'4' is in only one of train_label and train_i.*; what belongs together has"):
        find_labelled(open_files(data))


def test_two_pictures_of_one_name_are_refused(data: Path) -> None:
    Image.new("RGB", (60, 40)).save(data / "train_img" / "4.jpg")

    with pytest.raises(I2IError, match=r"train_img has '4.jpg' and '4.png'; a name belongs to one picture"):
        find_labelled(open_files(data))


def test_missing_folder_is_named(data: Path) -> None:
    (data / "train_img").rename(data / "images")

    with pytest.raises(
        I2IError, match=r"has no folder train_img; --data names one that holds train_label/ and train_i"
    ):
        find_labelled(open_files(data))
