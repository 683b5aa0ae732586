"""Crops: how pictures and label maps are scaled, cut alike and kept, and which are refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.training.bad_files import BadFileError
from i2i_rt.training.crops import Cropping, ImageCache
from i2i_rt.training.files import File
from tests.training.conftest import draw_pictures

CROPPING = Cropping("square", 36, 32)


@pytest.fixture
def picture(photos: Path) -> File:
    """A picture of 48x40."""
    return File("0.png", photos / "trainA" / "0.png")


@pytest.mark.parametrize(("resize", "size"), [("square", (36, 36)), ("short", (43, 36)), ("none", (48, 40))])
def test_pictures_are_scaled(resize: str, size: tuple[int, int], picture: File) -> None:
    image = ImageCache().load(picture, Cropping(resize, 36, 32))  # type: ignore[arg-type]

    assert image.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("resize", ["square", "short", "none"])
def test_label_maps_have_the_size_of_their_pictures(resize: str, tmp_path: Path) -> None:
    draw_pictures(tmp_path, 1, size=(641, 427))
    photo = tmp_path / "photo.jpg"
    Image.open(tmp_path / "0.png").save(photo)
    Image.fromarray(np.zeros((427, 641), np.uint8)).save(tmp_path / "0.png")
    cache, cropping = ImageCache(), Cropping(resize, 33, 32)  # type: ignore[arg-type]

    image = cache.load(File(photo.name, photo), cropping)
    numbers = cache.numbers(File("0.png", tmp_path / "0.png"), cropping)

    assert image.shape[:2] == numbers.shape


@pytest.mark.parametrize(
    ("numbers", "mode"),
    [([0, 7, 255], np.uint8), ([0, 256, 65535], np.uint16), ([0, 70000, 2**31 - 1], np.int32)],
)
def test_maps_keep_their_numbers(numbers: list[int], mode: type, tmp_path: Path) -> None:
    values = np.array(numbers, mode)[np.arange(40 * 48).reshape(40, 48) // 640]
    path = tmp_path / ("map.tif" if mode is np.int32 else "map.png")
    Image.fromarray(values).save(path)

    read = ImageCache().numbers(File(path.name, path), CROPPING)

    assert read.dtype == np.int64 and read.shape == (36, 36)
    assert np.unique(read).tolist() == numbers


def test_palette_of_a_map_does_not_matter(tmp_path: Path) -> None:
    picture = Image.fromarray(np.full((40, 48), 3, np.uint8))
    picture.putpalette(range(255, -1, -1))
    picture.save(tmp_path / "map.png")

    assert (ImageCache().numbers(File("map.png", tmp_path / "map.png"), CROPPING) == 3).all()


def test_coloured_map_is_refused(picture: File) -> None:
    with pytest.raises(BadFileError, match=r"0.png is a colour picture; a map of labels or instances holds one number"):
        ImageCache().numbers(picture, CROPPING)


@pytest.mark.parametrize("read", [ImageCache.load, ImageCache.numbers])
def test_missing_file_is_named(read: object, tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"gone.png cannot be read.*\(FileNotFoundError\)"):
        read(ImageCache(), File("gone.png", tmp_path / "gone.png"), CROPPING)  # type: ignore[operator]


def test_text_under_a_pictures_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "5.jpg").write_text("not a picture")

    with pytest.raises(BadFileError, match=r"5.jpg cannot be read as a picture \(UnidentifiedImageError\)"):
        ImageCache().load(File("5.jpg", tmp_path / "5.jpg"), CROPPING)


def test_tiny_picture_is_named(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 1, size=(40, 9))

    with pytest.raises(BadFileError, match=r"0.png is too small: 40x9 pixels; .* at least 16 a side"):
        ImageCache().load(File("0.png", tmp_path / "0.png"), CROPPING)


def test_picture_below_the_crop_is_refused_where_nothing_is_scaled(picture: File) -> None:
    with pytest.raises(BadFileError, match=r"is 48x40, smaller than the crops of 64; scale pictures with --resize sh"):
        ImageCache().load(picture, Cropping("none", 64, 64))


def test_cuts_of_a_picture_and_its_map_are_alike() -> None:
    places = np.arange(36 * 36).reshape(36, 36)
    image = places[..., None].repeat(3, axis=2)
    generator = np.random.default_rng(0)

    cuts = [CROPPING.random(image, generator) for _ in range(32)]

    assert {cut.mirrored for cut in cuts} == {True, False}
    assert len({(cut.top, cut.left) for cut in cuts}) > 10
    for cut in cuts:
        assert cut(image).shape == (32, 32, 3)
        assert np.array_equal(cut(image)[..., 0], cut(places))


def test_cache_keeps_no_more_than_its_capacity(photos: Path) -> None:
    cache = ImageCache(capacity=2 * 36 * 36 * 3)
    files = [File(path.name, path) for path in sorted((photos / "trainB").iterdir())]

    first = [cache.load(file, CROPPING) for file in files]
    again = [cache.load(file, CROPPING) for file in files]

    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False, False]
