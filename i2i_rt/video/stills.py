"""Still images through Pillow: upright, 8 bits, RGB, whatever the file holds."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens a picture without Pillow's warnings, which are of doubtful tags and of half the size that is refused."""
    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Pillow can be built without some formats
        with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as picture:
            yield picture


def is_still(path: Path) -> bool:
    """Says whether a file is a picture that does not move."""
    try:
        with _opened(path) as picture:
            return not getattr(picture, "is_animated", False) or picture.format == "MPO"
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
    try:
        with _opened(path) as picture:
            width, height = picture.size
            if width * height > MAX_DECODED_PIXELS:
                raise _too_large(path, f"{height}x{width} pixels")
            picture.load()
            return _converted(path, ImageOps.exif_transpose(picture), turned=_is_turned(picture))
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "too many pixels") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{path} is no image that can be read; known are {', '.join(sorted(SUFFIXES))}") from error
    except Exception as error:  # a damaged file can fail anywhere in Pillow, with any exception
        if isinstance(error, OSError) and error.errno is not None:
            raise MediaError(f"{path} cannot be read: {error.strerror}") from error
        raise MediaError(f"{path} is cut off or damaged: {' '.join(str(error).split())}") from error


def _too_large(path: Path, what: str) -> MediaError:
    return MediaError(f"{path} states {what}; more than {MAX_DECODED_PIXELS} are not opened: make it smaller first")


def _is_turned(picture: Image.Image) -> bool:
    orientation = 0x0112
    return bool(picture.getexif().get(orientation, 1) != 1)


def _converted(path: Path, picture: Image.Image, *, turned: bool) -> Still:
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
        raise MediaError(f"{path} holds floating-point values, whose range is not known; save it with 8 or 16 bits")
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
    keeps_alpha = name in WITH_ALPHA
    image = still.image
    if still.alpha is not None:
        if keeps_alpha:
            image = np.dstack((image, still.alpha))
        else:
            share = still.alpha[..., None] / np.float32(255)
            image = np.round(image * share + 255 * (1 - share)).astype(np.uint8)
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}.get(name, {})
    profile = {"icc_profile": still.colour_profile} if still.colour_profile and name != "BMP" else {}
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(temporary, format=name, **options, **profile)
        temporary.replace(path)
    except OSError as error:
        raise MediaError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        # where a folder of the name is a file, there is nothing to remove, and asking for it fails
        if temporary.exists():
            temporary.unlink()
    return () if still.alpha is None or keeps_alpha else (f"transparency became white: {name} has none",)
