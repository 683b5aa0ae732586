"""Still images through Pillow: upright, 8 bits, RGB, whatever the file holds."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from i2i_rt.errors import MediaError

# What Pillow may open. Its other formats are rare, and one of them (EPS) would start another program.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif", ".jp2"}
)
WRITABLE = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
WITH_ALPHA = frozenset({"PNG", "WEBP", "TIFF"})

# A few kilobytes can state a picture of many gigabytes; this is Pillow's own limit.
MAX_DECODED_PIXELS = 178_956_970


@dataclass(frozen=True)
class Still:
    """A picture: RGB `[H, W, 3]`, its transparency `[H, W]` where it has one, and what was changed on the way."""

    image: np.ndarray
    alpha: np.ndarray | None
    colour_profile: bytes | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before any pixel is decoded: Pillow's name of the format, and the size."""

    format: str
    height: int
    width: int
    is_animated: bool


@contextmanager
def _opened(source: Path | BinaryIO, formats: Sequence[str] = FORMATS) -> Iterator[Image.Image]:
    """Opens a picture without Pillow's warnings, which are of doubtful tags and of half the size that is refused."""
    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Pillow can be built without some formats
        with Image.open(source, formats=[name for name in formats if name in Image.OPEN]) as picture:
            yield picture


def _is_animated(picture: Image.Image) -> bool:
    return getattr(picture, "is_animated", False) and picture.format != "MPO"  # several views of one still


def is_still(path: Path) -> bool:
    """Says whether a file is a picture that does not move."""
    try:
        with _opened(path) as picture:
            return not _is_animated(picture)
    except Image.DecompressionBombError:
        return True
    except Exception:  # as in read_still
        return False


def read_still(path: str | Path) -> Still:
    """Reads a picture: turned upright as its EXIF data say, over white where it is transparent, in 8 bits.

    Raises:
        MediaError: where the file is missing, empty, no picture, cut off, or states a size that is too large.
    """
    path = Path(path)
    if path.is_dir():
        raise MediaError(f"{path} is a folder, not an image")
    if not path.is_file():
        raise MediaError(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty")
    return _read(path, str(path))


def decode_still(content: bytes, name: str) -> Still:
    """Gives the picture in a file's bytes as `read_still` does; `name` is for its errors."""
    return _read(io.BytesIO(content), name)


def read_header(content: bytes, name: str, formats: Sequence[str] = FORMATS) -> Header:
    """Reads what the bytes of a picture's file say of it.

    Raises:
        MediaError: where they are empty, no picture of one of the `formats`, or damaged.
    """
    if not content:
        raise MediaError(f"{name} is empty")
    with _sentences(name, formats), _opened(io.BytesIO(content), formats) as picture:
        width, height = picture.size
        return Header(str(picture.format), height, width, _is_animated(picture))


def _read(source: Path | BinaryIO, name: str) -> Still:
    with _sentences(name), _opened(source) as picture:
        width, height = picture.size
        if width * height > MAX_DECODED_PIXELS:
            raise _too_large(name, f"{height}x{width} pixels")
        picture.load()
        return _converted(name, ImageOps.exif_transpose(picture), turned=_is_turned(picture))


@contextmanager
def _sentences(name: str, formats: Sequence[str] = FORMATS) -> Iterator[None]:
    """Turns what Pillow raises into a `MediaError`."""
    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name, "too many pixels") from error
    except UnidentifiedImageError as error:
        known = sorted(SUFFIXES) if formats is FORMATS else formats
        raise MediaError(f"{name} is no image that can be read; known are {', '.join(known)}") from error
    except Exception as error:  # a damaged file can fail anywhere in Pillow, with any exception
        if isinstance(error, OSError) and error.errno is not None:
            raise MediaError(f"{name} cannot be read: {error.strerror}") from error
        raise MediaError(f"{name} is cut off or damaged: {' '.join(str(error).split())}") from error


def _too_large(name: str, what: str) -> MediaError:
    return MediaError(f"{name} states {what}; more than {MAX_DECODED_PIXELS} are not opened: make it smaller first")


def _is_turned(picture: Image.Image) -> bool:
    orientation = 0x0112
    return bool(picture.getexif().get(orientation, 1) != 1)


def _converted(name: str, picture: Image.Image, *, turned: bool) -> Still:
    notes = ["turned upright, as its EXIF data say"] if turned else []
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        # 32-bit integers carry 16 bits or 8, and do not say which
        depth = 257 if picture.mode != "I" or values.max(initial=0) > 255 else 1
        picture = Image.fromarray(np.clip((values + depth // 2) // depth, 0, 255).astype(np.uint8))
        if depth > 1:
            notes.append("16 bits became 8")
    elif picture.mode == "F":
        raise MediaError(f"{name} holds floating-point values, whose range is not known; save it with 8 or 16 bits")
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        notes.append(f"{picture.mode} became RGB")
        profile = None  # it describes the old channels
    elif picture.mode in ("1", "L", "LA"):
        notes.append("greyscale became RGB")
        profile = None
    alpha = None
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        alpha = np.asarray(rgba.getchannel("A"))
        # what lies under full transparency is arbitrary, and would take part in the network's statistics
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return Still(np.array(picture.convert("RGB")), alpha, profile, tuple(notes))


def output_format(path: Path) -> str:
    """Gives the format for a name.

    Raises:
        MediaError: where images are not written under such a suffix.
    """
    if path.suffix.lower() not in WRITABLE:
        raise MediaError(f"{path} has the suffix {path.suffix!r}; images are written as {', '.join(WRITABLE)}")
    return WRITABLE[path.suffix.lower()]


def write_still(path: Path, still: Still) -> tuple[str, ...]:
    """Writes a picture in the format of its suffix; the name appears when the file is complete.

    Returns:
        what could not be kept.

    Raises:
        MediaError: where the file cannot be written.
    """
    name = output_format(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(encode_still(still, name))
        temporary.replace(path)
    except OSError as error:
        raise MediaError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        # where a folder of the name is a file, there is nothing to remove, and asking for it fails
        if temporary.exists():
            temporary.unlink()
    kept = still.alpha is None or name in WITH_ALPHA
    return () if kept else (f"transparency became white: {name} has none",)


def encode_still(still: Still, name: str) -> bytes:
    """Gives a picture as the bytes of a file in the format that Pillow calls `name`."""
    image = still.image
    if still.alpha is not None:
        if name in WITH_ALPHA:
            image = np.dstack((image, still.alpha))
        else:
            share = still.alpha[..., None] / np.float32(255)
            image = np.round(image * share + 255 * (1 - share)).astype(np.uint8)
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}.get(name, {})
    profile = {"icc_profile": still.colour_profile} if still.colour_profile and name != "BMP" else {}
    target = io.BytesIO()
    Image.fromarray(image).save(target, format=name, **options, **profile)
    return target.getvalue()
