"""From a file's bytes to pixels of the wanted size, upright and in RGB.

Pillow decodes: it reads every format that people have, refuses what is cut short, and makes large JPEGs small while it
decodes them. torchvision scales, in less than half of Pillow's time and within two grey levels of its result. Both
work outside Python's lock. `python -m i2i_rt.benchmarks.decoding` compares them with other libraries.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional

UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
Size = tuple[int, int]  # width and height


def decode(content: bytes, size: Callable[[int, int], Size], *, joined: bool = False) -> np.ndarray:
    """Gives the picture in a file's bytes, upright, `[H, W, 3]` uint8, or `[H, W, 6]` of two that are `joined`.

    16 bits a channel become 8; transparency is dropped.

    Args:
        content: A file's bytes.
        size: Says what a picture of some width and height is scaled to.
        joined: Whether the left and the right half are two pictures.

    Raises:
        OSError, ValueError, SyntaxError, EOFError, DecompressionBombError: where it is no complete picture.
    """
    with Image.open(io.BytesIO(content)) as picture:
        sides, original = 2 if joined else 1, picture.size
        most = max(size(*original))
        # a JPEG can be decoded at a half, a quarter or an eighth; at twice the wanted size it stays
        # sharp, and the last pixel, which the picture may fill only in part, moves things by less than half of one
        picture.draft("RGB", (2 * sides * most, 2 * most))
        drafted = picture.size
        ImageOps.exif_transpose(picture, in_place=True)
        pixels = _rgb(picture)
    turned = (drafted[0] > drafted[1]) != (picture.width > picture.height)
    width, height = reversed(original) if turned else original
    wanted = size(width // sides, height)
    half = pixels.shape[1] // sides
    starts = (0, pixels.shape[1] - half)[:sides]
    return np.concatenate([scale(pixels[:, start : start + half], *wanted) for start in starts], axis=2)


def _rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16 bits, which Pillow would clip instead of scaling
        grey = (np.asarray(picture) // 257).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode == "P":  # straight to RGB, Pillow warns of a palette that has transparency
        picture = picture.convert("RGBA")
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def scale(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scales `[H, W, 3]` uint8 by a bicubic filter that is as wide as the reduction, so that nothing aliases."""
    if image.shape[:2] == (height, width):
        return image
    scaled: torch.Tensor = functional.resize(
        torch.from_numpy(image).permute(2, 0, 1),
        [height, width],
        interpolation=functional.InterpolationMode.BICUBIC,
        antialias=True,
    )
    return scaled.permute(1, 2, 0).numpy()
