"""What the official scripts do to a picture before the network sees it: PIL, bicubic, sides of multiples of 4.

`resize` squeezes to a square; `scale_width` and `scale_shortside` keep the proportions; `none` keeps the size.
CUT rounds both sides to multiples of 4 in every mode, CycleGAN and pix2pix in the mode `none` only.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from i2i_rt.errors import I2IError

Mode = Literal["none", "resize", "scale_width", "scale_shortside"]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture is brought to the size that a network was trained on."""

    mode: Mode = "resize"
    load_size: int = 256
    crop_size: int = 256
    multiple: int = 4
    round_always: bool = False  # CUT: also after the other modes
    resample: Literal["bicubic", "bilinear"] = "bicubic"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise I2IError(f"preprocessing is {self.mode!r}; it must be one of {', '.join(get_args(Mode))}")

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Gives the width and height that a picture is resized to, before the rounding to multiples."""
        if self.mode == "resize":
            return self.load_size, self.load_size
        if self.mode == "scale_width":
            if width == self.load_size and height >= self.crop_size:
                return width, height
            return self.load_size, int(max(self.load_size * height / width, self.crop_size))
        if self.mode == "scale_shortside" and min(width, height) < self.load_size:
            scale = self.load_size / min(width, height)
            return round(width * scale), round(height * scale)
        return width, height

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes an RGB picture `[H, W, 3]`, uint8."""
        filter_ = Image.Resampling.BICUBIC if self.resample == "bicubic" else Image.Resampling.BILINEAR
        picture = Image.fromarray(image)
        picture = _resized(picture, self.size(*picture.size), filter_)
        if self.round_always or self.mode == "none":
            width, height = (max(round(side / self.multiple), 1) * self.multiple for side in picture.size)
            picture = _resized(picture, (width, height), filter_)
        return np.array(picture)


def _resized(picture: Image.Image, size: tuple[int, int], filter_: Image.Resampling) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, filter_)


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """Gives `[H, W, 3]` uint8 as the network's input `[1, 3, H, W]` in [-1, 1], float32."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)
