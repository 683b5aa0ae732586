"""Folders: what is missing or does not match is named in a sentence."""

import shutil
from pathlib import Path

import pytest

from i2i_rt.errors import I2IError
from i2i_rt.training.folders import find_images, open_files


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(I2IError, match=r"there is no folder or shard .*nowhere; --data names a folder with"):
        open_files(tmp_path / "nowhere")


def test_missing_side_is_named(photos: Path) -> None:
    shutil.rmtree(photos / "trainB")

    with pytest.raises(I2IError, match="photos has no folder trainB"):
        find_images(open_files(photos), "unpaired")


def test_empty_side_is_named(photos: Path) -> None:
    for file in (photos / "trainA").iterdir():
        file.rename(file.with_suffix(".txt"))

    with pytest.raises(I2IError, match=r"the folder trainA of .*photos holds no pictures \(.*\.png"):
        find_images(open_files(photos), "unpaired")


def test_lonely_half_of_a_pair_is_named(photos: Path) -> None:
    with pytest.raises(I2IError, match=r"'3' is in only one of trainA and trainB"):
        find_images(open_files(photos), "paired")


def test_sincut_takes_one_picture_a_side(photos: Path) -> None:
    with pytest.raises(I2IError, match="has 3 pictures in trainA and 4 in trainB; SinCUT learns from one picture each"):
        find_images(open_files(photos), "single")


def test_direction_swaps_the_sides(photos: Path) -> None:
    images = find_images(open_files(photos), "unpaired")

    assert images.swapped().a == images.b
