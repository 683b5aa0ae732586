"""Label maps and instance maps from files: read, checked against a system's classes, resized, shown in colour."""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from i2i_rt.errors import I2IError, MediaError
from i2i_rt.spec import LabelInfo

UNKNOWN = 255
UNKNOWN_COLOUR = (0, 0, 0)


def read_labels(file: str | Path, labels: LabelInfo) -> np.ndarray:
    """Reads a label map as `[H, W]`, uint8: a class index a pixel, 255 for none where the system allows it.

    Grey pictures and those with a palette hold indices; in RGB pictures every pixel has its class's colour of
    `labels.palette`, the first one where several classes share it; `.npy` holds integers.

    Raises:
        MediaError: where the file cannot be read, or is no label map.
        I2IError: where a value or a colour belongs to no class; it names the first place.
    """
    return _labels(_read(Path(file)), labels, str(file))


def decode_labels(content: bytes, labels: LabelInfo, name: str) -> np.ndarray:
    """Gives the label map in a PNG file's bytes as `read_labels` does; `name` is for its errors."""
    return _labels(_values(io.BytesIO(content), name, formats=["PNG"]), labels, name)


def _labels(values: np.ndarray, labels: LabelInfo, name: str) -> np.ndarray:
    return _from_colours(values, labels, name) if values.ndim == 3 else check_labels(values, labels, name)


def read_instances(file: str | Path) -> np.ndarray:
    """Reads an instance map as `[H, W]` of integers: a grey PNG of 8 or 16 bits, a TIFF of 32, or `.npy`.

    Raises:
        MediaError: where the file cannot be read, or holds colours.
    """
    return _numbers(_read(Path(file)), str(file))


def decode_numbers(content: bytes, name: str) -> np.ndarray:
    """Gives the integers `[H, W]` in the bytes of a label or instance map, grey or with a palette, whatever they mean.

    Raises:
        MediaError: where the bytes are no picture, or it holds colours.
    """
    return _numbers(_values(io.BytesIO(content), name), name)


def _numbers(values: np.ndarray, name: str) -> np.ndarray:
    if values.ndim == 3:
        raise MediaError(f"{name} is a colour picture; a map of labels or instances holds one number a pixel")
    return values


def _read(file: Path) -> np.ndarray:
    """Gives `[H, W]` integers, or `[H, W, 3]` uint8 of a colour picture."""
    if not file.is_file():
        raise MediaError(f"there is no file {file}")
    return _values(file, str(file))


def _values(source: Path | BinaryIO, name: str, formats: list[str] | None = None) -> np.ndarray:
    try:
        if isinstance(source, Path) and source.suffix == ".npy":
            values = np.load(source, allow_pickle=False)
        else:
            with Image.open(source, formats=formats) as picture:
                if picture.mode in ("RGB", "RGBA"):
                    return np.asarray(picture.convert("RGB"))
                values = np.asarray(picture)
    except (OSError, ValueError, UnidentifiedImageError, EOFError, SyntaxError) as error:
        raise MediaError(f"{name} cannot be read as a label map: {error}") from error
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer) or 0 in values.shape:
        raise MediaError(
            f"{name} has {values.dtype} of shape {list(values.shape)}; a label map has integers, [height, width]"
        )
    return np.asarray(values)


def check_labels(values: np.ndarray, labels: LabelInfo, source: str = "the label map") -> np.ndarray:
    """Gives integers `[H, W]` as uint8 once each of them is a class's index, or 255 where that is allowed.

    Raises:
        I2IError: where one is not; it names the first place.
    """
    wrong = (values < 0) | (values >= len(labels.names))
    if labels.unknown:
        wrong &= values != UNKNOWN
    if wrong.any():
        row, column = _first(wrong)
        known = f"0 to {len(labels.names) - 1}" + (f", and {UNKNOWN} for unknown" if labels.unknown else "")
        raise I2IError(f"{source} has the label {values[row, column]} at row {row}, column {column}; known are {known}")
    return values.astype(np.uint8)


def _from_colours(picture: np.ndarray, labels: LabelInfo, source: str) -> np.ndarray:
    colours = _packed(picture)
    known = {int(_packed(np.array(UNKNOWN_COLOUR))): UNKNOWN} if labels.unknown else {}
    # the first class of a colour wins, and any class wins over the unknown
    known |= {int(_packed(np.array(c))): i for i, c in reversed(list(enumerate(labels.palette)))}
    keys = np.array(sorted(known), np.int64)
    values = np.array([known[key] for key in keys.tolist()], np.uint8)
    places = np.searchsorted(keys, colours).clip(max=len(keys) - 1)
    wrong = keys[places] != colours
    if wrong.any():
        row, column = _first(wrong)
        colour = tuple(int(level) for level in picture[row, column])
        raise I2IError(f"{source} has the colour {colour} at row {row}, column {column}, which no class has")
    return np.asarray(values[places])


def _packed(colours: np.ndarray) -> np.ndarray:
    wide = colours.astype(np.int64)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def _first(mask: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(int(mask.argmax()), mask.shape)
    return int(row), int(column)


def resize(values: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resizes a label or instance map `[H, W]` of any type to the nearest values, picked as PIL picks them."""

    def picked(length: int, wanted: int) -> np.ndarray:
        line = Image.fromarray(np.arange(length, dtype=np.int32)[None])
        return np.asarray(line.resize((wanted, 1), Image.Resampling.NEAREST)).ravel()

    rows, columns = picked(values.shape[0], height), picked(values.shape[1], width)
    return np.asarray(values[rows[:, None], columns])


def edges_of(instances: np.ndarray) -> np.ndarray:
    """Gives the edges between instances `[H, W]` as uint8: 1 where the pixel to any of the four sides is another's.

    The networks know edges that are one pixel wide on both sides, so resize the instance map first.
    """
    edges = np.zeros(instances.shape, np.uint8)
    beside = instances[:, 1:] != instances[:, :-1]
    below = instances[1:] != instances[:-1]
    edges[:, 1:] |= beside
    edges[:, :-1] |= beside
    edges[1:] |= below
    edges[:-1] |= below
    return edges


def colourise(values: np.ndarray, labels: LabelInfo) -> np.ndarray:
    """Paints label maps `[…, H, W]`, uint8, in the palette: `[…, H, W, 3]` uint8; what has no class is black."""
    table = np.full((256, 3), UNKNOWN_COLOUR, np.uint8)
    table[: len(labels.palette)] = labels.palette
    painted: np.ndarray = table[values]
    return painted
