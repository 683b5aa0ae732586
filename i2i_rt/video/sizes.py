"""The size at which a picture is translated, and the resizing."""

import re

import cv2
import numpy as np

from i2i_rt.errors import MediaError, UnsupportedError

Size = tuple[int, int]  # height, width

# Full HD. A generator keeps hundreds of bytes a pixel; beyond this a desktop's memory may not do.
MAX_PIXELS = 1920 * 1088


def parse_size(text: str) -> Size:
    """Reads "256x384", height by width.

    Raises:
        MediaError: where it is no such size.
    """
    match = re.fullmatch(r"(\d+)[xX×](\d+)", text.strip())
    if match is None or "0" in (match[1].lstrip("0") or "0", match[2].lstrip("0") or "0"):
        raise MediaError(f"the size is {text!r}; it must be HEIGHTxWIDTH in pixels, such as 256x384")
    return int(match[1]), int(match[2])


def check_size(size: Size | None, fixed: Size | None) -> None:
    """Raises `UnsupportedError` where a size is asked for that a model of one fixed size does not take."""
    if fixed is not None and size not in (None, fixed):
        raise UnsupportedError(f"this model takes pictures of {fixed[0]}x{fixed[1]} only; leave --size out")


def target_size(height: int, width: int, *, size: Size | None, max_pixels: int, fixed: Size | None = None) -> Size:
    """Gives the size at which a picture of `height` and `width` is translated: the model's own where that is fixed.

    A picture of more than `max_pixels` is made smaller as a whole. Cutting it into tiles is no way out: with instance
    normalisation each tile would get statistics, and with them colours, of its own.
    """
    if fixed is not None:
        return fixed
    height, width = size or (height, width)
    if height * width <= max_pixels:
        return height, width
    scale = (max_pixels / (height * width)) ** 0.5
    return max(int(height * scale), 1), max(int(width * scale), 1)


def size_note(before: Size, after: Size, *, size: Size | None, max_pixels: int, fixed: Size | None = None) -> str:
    """Says in words why a picture changed its size."""
    if after == fixed:
        why = "the model takes no other"
    else:
        why = "as asked" if after == size else f"it may have {max_pixels} pixels; see --max-pixels"
    return f"size {before[0]}x{before[1]} became {after[0]}x{after[1]} ({why})"


def resized(image: np.ndarray, size: Size) -> np.ndarray:
    """Gives an image `[H, W]` or `[H, W, C]`, uint8, in another size; the same array where nothing is to be done."""
    if image.shape[:2] == size:
        return image
    smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    result: np.ndarray = cv2.resize(image, size[::-1], interpolation=interpolation)
    return result
