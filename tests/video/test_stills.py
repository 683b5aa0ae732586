"""Stills of every kind become upright RGB in 8 bits, or get one sentence."""

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.errors import MediaError
from i2i_rt.video.stills import (
    Header,
    Still,
    decode_still,
    encode_still,
    is_still,
    read_header,
    read_still,
    write_still,
)

SIZE = (24, 36)  # height, width


def ramp() -> np.ndarray:
    """Red grows to the right, green downwards."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, SIZE[1])
    image[..., 1] = np.linspace(0, 255, SIZE[0])[:, None]
    return image


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".jpg", ".ppm"])
def test_formats_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ramp{suffix}"
    Image.fromarray(ramp()).save(path, **({"lossless": True} if suffix == ".webp" else {"quality": 100}))
    still = read_still(path)
    assert still.image.shape == (*SIZE, 3) and still.image.dtype == np.uint8
    assert np.abs(still.image.astype(int) - ramp()).mean() < (4 if suffix == ".jpg" else 0.01)
    assert still.alpha is None and still.notes == ()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_rotation_is_applied_and_not_written_again(tmp_path: Path, orientation: int) -> None:
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
             7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    stored = Image.fromarray(ramp()).transpose(getattr(Image.Transpose, turns[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "in.png", exif=exif)
    still = read_still(tmp_path / "in.png")
    assert np.array_equal(still.image, ramp())
    assert still.notes == ("turned upright, as its EXIF data say",)
    write_still(tmp_path / "out.png", still)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == SIZE[::-1] and 0x0112 not in picture.getexif()


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    values = np.arange(24 * 36, dtype=np.uint16).reshape(SIZE) * 75
    Image.fromarray(values).save(tmp_path / "deep.png")
    still = read_still(tmp_path / "deep.png")
    assert np.abs(still.image[..., 0] - values / 257).max() <= 0.5 + 1e-6
    assert "16 bits became 8" in still.notes


def test_dark_sixteen_bit_pictures_stay_dark(tmp_path: Path) -> None:
    Image.fromarray(np.full(SIZE, 200, np.uint16)).save(tmp_path / "dark.png")
    assert read_still(tmp_path / "dark.png").image.max() == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGB", SIZE[::-1], (255, 255, 255)).convert(mode)
    path = tmp_path / ("in.tif" if mode == "CMYK" else "in.png")
    picture.save(path)
    still = read_still(path)
    assert still.image.shape == (*SIZE, 3) and still.image.min() >= 254


def test_transparency_lies_over_white_and_is_kept_where_the_format_has_it(tmp_path: Path) -> None:
    image = np.dstack((ramp(), np.full(SIZE, 255, np.uint8)))
    image[:10] = (90, 0, 200, 0)  # an arbitrary colour, which nobody sees
    Image.fromarray(image).save(tmp_path / "in.png")
    still = read_still(tmp_path / "in.png")
    assert (still.image[:10] == 255).all() and np.array_equal(still.image[10:], ramp()[10:])
    assert still.alpha is not None and np.array_equal(still.alpha, image[..., 3])

    assert write_still(tmp_path / "out.png", still) == ()
    assert np.array_equal(read_still(tmp_path / "out.png").alpha, still.alpha)
    assert write_still(tmp_path / "out.jpg", still) == ("transparency became white: JPEG has none",)
    assert read_still(tmp_path / "out.jpg").image[:8].min() > 245


def test_a_colour_profile_goes_along(tmp_path: Path) -> None:
    Image.fromarray(ramp()).save(tmp_path / "in.png", icc_profile=b"a profile")
    write_still(tmp_path / "out.webp", read_still(tmp_path / "in.png"))
    with Image.open(tmp_path / "out.webp") as picture:
        assert picture.info["icc_profile"] == b"a profile"


def _bomb(path: Path) -> None:
    """A PNG of a few bytes that states 40000x40000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")))


def _cut_off(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        pytest.param("bomb.png", _bomb, "more than 178956970 are not opened", id="bomb"),
        pytest.param("cut.png", _cut_off, "cut off or damaged", id="cut-off-png"),
        pytest.param("cut.jpg", _cut_off, "cut off or damaged", id="cut-off-jpeg"),
        pytest.param("text.png", lambda path: path.write_text("hello"), "is no image that can be read", id="text"),
        pytest.param("empty.png", lambda path: path.touch(), "is empty", id="empty"),
        pytest.param("folder.png", lambda path: path.mkdir(), "is a folder", id="folder"),
        pytest.param("missing.png", lambda path: None, "there is no file", id="missing"),
        pytest.param(
            "float.tif",
            lambda path: Image.fromarray(np.ones(SIZE, np.float32)).save(path),
            "floating-point",
            id="floating-point",
        ),
        pytest.param(
            "script.png", lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
            "is no image", id="postscript",
        ),
    ],
)  # fmt: skip
def test_what_is_no_picture_gets_one_sentence(
    tmp_path: Path, name: str, make: Callable[[Path], object], sentence: str
) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(MediaError, match=sentence) as caught:
        read_still(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_large_picture_is_opened_without_a_word(tmp_path: Path) -> None:
    Image.new("1", (10_000, 9_500)).save(tmp_path / "large.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_still(tmp_path / "large.png")


def test_a_moving_gif_is_no_still(tmp_path: Path) -> None:
    first, second = (Image.new("L", (8, 8), level) for level in (0, 200))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    first.save(tmp_path / "still.gif")
    assert is_still(tmp_path / "still.gif") and not is_still(tmp_path / "moving.gif")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.png").mkdir()
    with pytest.raises(MediaError, match="cannot be written"):
        write_still(tmp_path / "out.png", Still(ramp(), None, None, ()))
    (tmp_path / "out.png" / "file").write_text("a")
    with pytest.raises(MediaError, match="cannot be written"):
        write_still(tmp_path / "out.png" / "file" / "out.png", Still(ramp(), None, None, ()))
    with pytest.raises(MediaError, match=r"suffix '\.gif'; images are written as"):
        write_still(tmp_path / "out.gif", Still(ramp(), None, None, ()))
    assert [file.name for file in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_bytes_are_read_and_written_as_files_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a.{name.lower()}"
    write_still(path, Still(ramp(), np.full(SIZE, 200, np.uint8), None, ()))
    content = path.read_bytes()
    still, from_file = decode_still(content, "bytes"), read_still(path)
    assert np.array_equal(still.image, from_file.image) and still.notes == from_file.notes
    assert encode_still(Still(ramp(), np.full(SIZE, 200, np.uint8), None, ()), name) == content


def test_header_tells_the_size_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode_still(Still(ramp(), None, None, ()), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("decoded"))
    assert read_header(content, "picture") == Header("PNG", *SIZE, is_animated=False)
    with pytest.raises(MediaError, match="picture is no image that can be read; known are JPEG, WEBP"):
        read_header(content, "picture", ["JPEG", "WEBP"])
    with pytest.raises(MediaError, match="picture is empty"):
        read_header(b"", "picture")
