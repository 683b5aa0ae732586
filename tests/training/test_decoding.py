"""Decoding: every kind of picture becomes upright RGB, scaled as Pillow scales it."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from i2i_rt.training.decoding import UNREADABLE, decode
from tests.training.conftest import photograph


def whole(width: int, height: int) -> tuple[int, int]:
    return width, height


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("L", "JPEG"),
        ("LA", "PNG"),
        ("RGBA", "PNG"),
        ("RGBA", "WEBP"),
        ("P", "PNG"),
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
    ],
)
def test_pictures_of_every_mode_become_rgb(mode: str, kind: str) -> None:
    content = encoded(photograph(48, 40).convert(mode), kind)

    image = decode(content, whole)

    with Image.open(io.BytesIO(content)) as picture:
        expected = picture.convert("RGBA" if mode == "P" else "RGB").convert("RGB")
    assert np.array_equal(image, np.asarray(expected))


def test_palette_with_transparency_becomes_rgb() -> None:
    picture = photograph(48, 40).convert("P")

    image = decode(encoded(picture, "PNG", transparency=bytes(range(256))), whole)

    assert np.array_equal(image, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_become_8(channels: int) -> None:
    levels = np.asarray(photograph(48, 40))[..., :channels]
    _, content = cv2.imencode(".png", levels[..., ::-1].astype(np.uint16) * 257)

    image = decode(content.tobytes(), whole)

    assert np.array_equal(image, np.broadcast_to(levels, (40, 48, 3)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photograph(48, 40), kind, exif=exif)

    image = decode(content, lambda width, height: (2 * width, height))

    with Image.open(io.BytesIO(content)) as picture:
        upright = ImageOps.exif_transpose(picture)
    expected = np.asarray(upright.resize((2 * upright.width, upright.height), Image.Resampling.BICUBIC))
    assert np.abs(image.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("size", [(36, 36), (286, 200), (700, 500)])
def test_scaling_is_pillows(size: tuple[int, int]) -> None:
    picture = photograph(640, 427)

    image = decode(encoded(picture, "PNG"), lambda width, height: size)

    expected = np.asarray(picture.resize(size, Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(image - expected).max() <= 2


def test_large_jpeg_decoded_small_looks_the_same_and_has_the_size_of_the_whole() -> None:
    picture = photograph(1200, 800)
    content = encoded(picture, "JPEG", quality=95)
    asked = []

    def size(width: int, height: int) -> tuple[int, int]:
        asked.append((width, height))
        return 75, 50

    image = decode(content, size)

    assert asked == [(1200, 800)] * 2
    with Image.open(io.BytesIO(content)) as undrafted:
        expected = np.asarray(undrafted.resize((75, 50), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(image - expected).mean() < 1


def test_joined_pictures_are_scaled_apart() -> None:
    sides = np.zeros((40, 96, 3), np.uint8)
    sides[:, 48:] = 255

    image = decode(encoded(Image.fromarray(sides), "PNG"), lambda width, height: (36, 36), joined=True)

    assert image.shape == (36, 36, 6)
    assert (image[..., :3] == 0).all() and (image[..., 3:] == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.95])
def test_incomplete_pictures_are_refused(share: float, kind: str) -> None:
    content = encoded(photograph(200, 160), kind)

    with pytest.raises(UNREADABLE):
        decode(content[: round(share * len(content))], whole)
