"""What the official scripts do to a picture before the network sees it: PIL, bicubic, sides of multiples of 4.

`resize` squeezes to a square, `fixed` to `crop_size` by `crop_size / aspect_ratio`; `scale_width` and
`scale_shortside` keep the proportions; `none` keeps the size.
MUNIT's `short_side` shrinks as well as enlarges, and truncates the longer side.
CUT rounds both sides to multiples of 4 in every mode, CycleGAN and pix2pix in the mode `none` only.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from i2i_rt.errors import I2IError

Mode = Literal["none", "resize", "fixed", "scale_width", "scale_shortside", "short_side"]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture is brought to the size that a network was trained on."""

    mode: Mode = "resize"
    load_size: int = 256
    crop_size: int = 256
    multiple: int = 4
    round_always: bool = False  # CUT, Swapping Autoencoder: also after the other modes
    exact: bool = False  # Swapping Autoencoder: the side that is scaled meets load_size always, whatever crop_size is
    resample: Literal["bicubic", "bilinear", "corners"] = "bicubic"  # "corners": see `resize_corners`
    aspect_ratio: float = 1.0  # SPADE: width to height, of the mode `fixed`

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise I2IError(f"preprocessing is {self.mode!r}; it must be one of {', '.join(get_args(Mode))}")

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Gives the width and height that a picture is resized to, before the rounding to multiples."""
        if self.mode == "resize":
            return self.load_size, self.load_size
        if self.mode == "fixed":
            return self.crop_size, round(self.crop_size / self.aspect_ratio)
        if self.mode == "scale_width":
            if width == self.load_size and height >= self.crop_size:
                return width, height
            scaled = self.load_size * height / width
            return self.load_size, int(scaled if self.exact else max(scaled, self.crop_size))
        if self.mode == "scale_shortside" and (self.exact or min(width, height) < self.load_size):
            scale = self.load_size / min(width, height)
            return round(width * scale), round(height * scale)
        if self.mode == "short_side":
            short = min(width, height)
            return int(self.load_size * width / short), int(self.load_size * height / short)
        return width, height

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes an RGB picture `[H, W, 3]`, uint8."""
        if self.resample == "corners":
            height, width = image.shape[:2]
            levels: np.ndarray = np.rint(resize_corners(image, *self.size(width, height))).astype(np.uint8)
            return levels
        filter_ = Image.Resampling.BICUBIC if self.resample == "bicubic" else Image.Resampling.BILINEAR
        picture = Image.fromarray(image)
        picture = _resized(picture, self.size(*picture.size), filter_)
        if self.round_always or self.mode == "none":
            width, height = (max(round(side / self.multiple), 1) * self.multiple for side in picture.size)
            picture = _resized(picture, (width, height), filter_)
        return np.array(picture)


def _resized(picture: Image.Image, size: tuple[int, int], filter_: Image.Resampling) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, filter_)


def resize_corners(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Gives `[H, W, C]` as `[height, width, C]` float32: bilinear, corners on corners, no low-pass before it.

    GP-UNIT's test script resizes so, with PyTorch's `interpolate(…, align_corners=True)`. The positions are float32
    as PyTorch's are: among 400 pixels their rounding moves a value by more than that of the values themselves.
    """
    result = image.astype(np.float32)
    for axis, length in enumerate((height, width)):
        last = result.shape[axis] - 1
        step = np.float32(last) / np.float32(length - 1) if length > 1 else np.float32(0)
        positions = np.arange(length, dtype=np.float32) * step
        low = np.minimum(positions.astype(np.int64), last)
        share = (positions - low.astype(np.float32)).reshape([-1 if a == axis else 1 for a in range(result.ndim)])
        high = np.minimum(low + 1, last)
        result = result.take(low, axis) * (1 - share) + result.take(high, axis) * share
    return result


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """Gives `[H, W, 3]` uint8 as the network's input `[1, 3, H, W]` in [-1, 1], float32."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)
