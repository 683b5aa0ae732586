"""Training data: what is refused and how, which crops a step gets, and how long a step waits for them."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i_rt.errors import I2IError, MediaError
from i2i_rt.systems.base import Batch
from i2i_rt.training.crops import Cropping, ImageCache
from i2i_rt.training.feeder import Feeder, to_batch
from i2i_rt.training.folders import find_held_out, find_images
from i2i_rt.training.sampler import FolderSampler, SingleImageSampler
from tests.training.conftest import draw_pictures

CROPPING = Cropping("square", 36, 32)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        I2IError, match=r"there is no folder .*nowhere; --data names one that holds trainA/ and trainB/"
    ):
        find_images(tmp_path / "nowhere", "unpaired")


def test_missing_side_is_named(photos: Path) -> None:
    shutil.rmtree(photos / "trainB")

    with pytest.raises(I2IError, match="photos has no folder trainB"):
        find_images(photos, "unpaired")


def test_empty_side_is_named(photos: Path) -> None:
    for file in (photos / "trainA").iterdir():
        file.rename(file.with_suffix(".txt"))

    with pytest.raises(I2IError, match=r"trainA holds no pictures \(.*\.png"):
        find_images(photos, "unpaired")


def test_text_under_a_pictures_name_is_named(photos: Path) -> None:
    (photos / "trainA" / "5.jpg").write_text("not a picture")

    with pytest.raises(MediaError, match=r"the picture .*5.jpg cannot be read"):
        find_images(photos, "unpaired")


def test_truncated_picture_is_named_when_it_is_decoded(photos: Path) -> None:
    file = photos / "trainA" / "0.png"
    file.write_bytes(file.read_bytes()[:200])

    with pytest.raises(MediaError, match=r"the picture .*0.png cannot be read"):
        ImageCache().load(file, CROPPING)


def test_tiny_picture_is_named(photos: Path) -> None:
    draw_pictures(photos / "trainB" / "more", 1, size=(40, 9))

    with pytest.raises(MediaError, match=r"more/0.png is too small: 40x9 pixels; .* at least 16 a side"):
        find_images(photos, "unpaired")


def test_picture_below_the_crop_is_refused_where_nothing_is_scaled(photos: Path) -> None:
    with pytest.raises(MediaError, match=r"is 48x40, smaller than the crops of 64; scale pictures with --resize short"):
        ImageCache().load(photos / "trainA" / "0.png", Cropping("none", 64, 64))


def test_lonely_half_of_a_pair_is_named(photos: Path) -> None:
    with pytest.raises(I2IError, match=r"'3' is in only one of .*trainA and .*trainB"):
        find_images(photos, "paired")


def test_sincut_takes_one_picture_a_side(photos: Path) -> None:
    with pytest.raises(I2IError, match="has 3 pictures in trainA and 4 in trainB; SinCUT learns from one picture each"):
        find_images(photos, "single")


@pytest.mark.parametrize(
    ("resize", "size"),
    [
        pytest.param("square", (36, 36), id="square"),
        pytest.param("short", (43, 36), id="short"),
        pytest.param("none", (48, 40), id="none"),
    ],
)
def test_pictures_are_scaled(resize: str, size: tuple[int, int], photos: Path) -> None:
    image = ImageCache().load(photos / "trainA" / "0.png", Cropping(resize, 36, 32))  # type: ignore[arg-type]

    assert image.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_pictures_of_every_mode_become_rgb(mode: str, tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((40, 48), 128, np.uint8))
    if mode == "I;16":
        picture = Image.fromarray(np.full((40, 48), 128 * 257, np.uint16))
    else:
        picture = grey.convert("RGB").convert(mode)
    file = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    picture.save(file)

    image = ImageCache().load(file, CROPPING)

    assert image.shape == (36, 36, 3)
    assert abs(int(image.mean()) - 128) <= 2


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    half = np.zeros((40, 60, 3), np.uint8)
    half[:, 30:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: right becomes below
    Image.fromarray(half).save(tmp_path / "turned.jpg", exif=exif)

    image = ImageCache().load(tmp_path / "turned.jpg", CROPPING)

    assert image[0].mean() < 50 and image[-1].mean() > 200


def test_large_jpeg_decoded_small_looks_the_same(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 1, size=(800, 640))
    picture = Image.open(tmp_path / "0.png")
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95)
    (tmp_path / "0.jpg").write_bytes(stream.getvalue())

    small, whole = (ImageCache().load(tmp_path / name, CROPPING).astype(int) for name in ("0.jpg", "0.png"))

    assert np.abs(small - whole).mean() < 2


def test_cache_keeps_no_more_than_its_capacity(photos: Path) -> None:
    cache = ImageCache(capacity=2 * 36 * 36 * 3)
    files = sorted((photos / "trainB").iterdir())

    first = [cache.load(file, CROPPING) for file in files]
    again = [cache.load(file, CROPPING) for file in files]

    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False, False]


def folder_sampler(photos: Path, batch: int = 1, seed: int = 0) -> FolderSampler:
    return FolderSampler(find_images(photos, "unpaired"), CROPPING, paired=False, batch=batch, seed=seed)


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
    sampler, seen = folder_sampler(photos), []
    monkeypatch.setattr(Cropping, "cut", lambda self, image, generator: image)
    load = ImageCache.load
    monkeypatch.setattr(
        ImageCache,
        "load",
        lambda self, file, cropping: (seen.append(file), load(self, file, cropping))[1],
    )

    for step in range(sampler.steps_per_epoch):
        sampler.batch(step, slice(0, 1))

    assert sampler.steps_per_epoch == 7
    assert sorted(file.name for file in seen if file.parent.name == "trainA") == [f"{n}.png" for n in range(7)]


def test_pairs_are_cut_and_mirrored_alike(pairs: Path) -> None:
    for file in (pairs / "train").iterdir():
        half = np.asarray(Image.open(file))[:, :48]
        Image.fromarray(np.concatenate([half, 255 - half], 1)).save(file)
    sampler = FolderSampler(find_images(pairs, "paired"), CROPPING, paired=True, batch=3, seed=0)

    for step in range(4):
        a, b = sampler.batch(step, slice(0, 3))
        assert np.abs(a.astype(int) + b - 255).max() <= 2  # bicubic scaling rounds


def test_two_folders_of_pairs_are_matched_by_name(photos: Path) -> None:
    shutil.rmtree(photos / "trainB")
    shutil.copytree(photos / "trainA", photos / "trainB")
    sampler = FolderSampler(find_images(photos, "paired"), CROPPING, paired=True, batch=1, seed=0)

    a, b = sampler.batch(0, slice(0, 1))

    assert np.array_equal(a, b)


def test_direction_swaps_the_sides(photos: Path) -> None:
    images = find_images(photos, "unpaired")

    assert images.swapped().a == images.b


def test_direction_swaps_the_halves_of_joined_pictures(pairs: Path) -> None:
    images = find_images(pairs, "paired")
    there, back = (FolderSampler(each, CROPPING, paired=True, batch=2, seed=0) for each in (images, images.swapped()))

    a, b = there.batch(0, slice(0, 2))

    assert not np.array_equal(a, b)
    assert all(map(np.array_equal, back.batch(0, slice(0, 2)), (b, a)))


def test_pictures_that_are_not_trained_on_are_found(photos: Path) -> None:
    assert find_held_out(photos, "unpaired") is None
    draw_pictures(photos / "testA", 3, seed=2)
    draw_pictures(photos / "testB", 3, seed=3)
    held = find_held_out(photos, "unpaired")
    sampler = FolderSampler(find_images(photos, "unpaired"), CROPPING, paired=False, batch=2, seed=0, held=held)

    sizes = [len(a) for a, _ in sampler.held_out()]

    assert sizes == [2, 1]
    assert all(map(np.array_equal, next(sampler.held_out()), next(sampler.held_out())))


def test_epoch_may_be_longer_than_the_set(photos: Path) -> None:
    images = find_images(photos, "unpaired")
    sampler = FolderSampler(images, CROPPING, paired=False, batch=2, seed=0, epoch_images=12)
    laps = [sampler._order(0, lap) for lap in range(3)]

    assert sampler.steps_per_epoch == 6
    assert all(sorted(lap) == list(range(4)) for lap in laps) and not np.array_equal(laps[0], laps[1])
    assert sampler.batch(5, slice(0, 2))[0].shape == (2, 32, 32, 3)


def test_without_augmentation_crops_are_the_whole_picture(photos: Path) -> None:
    image = ImageCache().load(photos / "trainA" / "0.png", Cropping("square", 32, 32))
    sampler = folder_sampler(photos)

    crops = [sampler.batch(step, slice(0, 1), augmented=False)[0][0] for step in range(12)]

    assert any(np.array_equal(crop, image) or np.array_equal(crop[:, ::-1], image) for crop in crops)


def test_sincut_visits_no_cell_twice(single: Path) -> None:
    side = np.arange(200 * 150, dtype=np.uint32).reshape(150, 200)
    picture = np.stack([side >> 16, side >> 8, side], 2).astype(np.uint8)
    Image.fromarray(picture).save(single / "trainA" / "0.png")
    sampler = SingleImageSampler(find_images(single, "single"), crop_size=32, batch=4, epoch_images=100, seed=0)
    sampler.SMALLEST_SCALE = 1.0

    crops, _ = sampler.batch(0, slice(0, 4))

    pixels = [set(map(tuple, crop.reshape(-1, 3))) for crop in crops]
    assert crops.shape == (4, 32, 32, 3)
    assert not any(pixels[i] & pixels[j] for i in range(4) for j in range(i))
    assert sampler.steps_per_epoch == 25


def test_images_are_in_the_networks_range_and_other_fields_stay() -> None:
    frames = np.array([0, 255], np.uint8).repeat(3).reshape(1, 1, 2, 3)

    a, labels = to_batch(Batch, (frames, np.array([[3]])), torch.device("cpu"))

    assert a.shape == (1, 3, 1, 2) and a.min() == -1 and a.max() == 1
    assert labels.dtype == torch.int64 and labels.item() == 3


class SlowSampler:
    steps_per_epoch = 10

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []

    def batch(self, step: int, part: slice, *, augmented: bool = True) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((step, augmented))
        if step == 3:
            raise MediaError("the picture 3.png cannot be read")
        return np.full(1, step), np.full(1, step)

    def preview(self, images: int) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError


def test_feeder_gives_steps_in_order_and_hands_errors_on() -> None:
    sampler = SlowSampler()

    with Feeder(sampler, first=1, part=slice(0, 1), workers=2, augmented_until=2) as feeder:
        assert [int(feeder.next()[0][0]) for _ in range(2)] == [1, 2]
        assert feeder.waited_s >= 0
        with pytest.raises(MediaError, match=r"3\.png cannot be read"):
            feeder.next()

    assert {(1, True), (2, False)} <= set(sampler.asked)
