"""From files to training crops: decoded small, kept in memory while they fit, cut and mirrored by a given generator."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from i2i_rt.errors import MediaError
from i2i_rt.training.folders import unreadable

Resize = Literal["square", "short", "none"]
CACHE_BYTES = 1 << 30


@dataclass(frozen=True)
class Cropping:
    """How a picture becomes a crop. `square` squeezes to `load_size` squared, `short` scales the shorter side to it."""

    resize: Resize
    load_size: int
    crop_size: int

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Gives the width and height that the picture is scaled to, at least the crop's."""
        if self.resize == "square":
            return self.load_size, self.load_size
        if self.resize == "none":
            return width, height
        scale = self.load_size / min(width, height)
        return max(round(width * scale), self.load_size), max(round(height * scale), self.load_size)

    def cut(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Gives a random crop `[crop, crop, C]` of `image` `[H, W, C]`, mirrored half of the time."""
        top, left = (int(generator.integers(side - self.crop_size + 1)) for side in image.shape[:2])
        crop = image[top : top + self.crop_size, left : left + self.crop_size]
        return crop[:, ::-1] if generator.random() < 0.5 else crop

    def centre(self, image: np.ndarray) -> np.ndarray:
        """Gives the middle of `image`, for samples that can be compared."""
        top, left = ((side - self.crop_size) // 2 for side in image.shape[:2])
        return image[top : top + self.crop_size, left : left + self.crop_size]


class ImageCache:
    """Decoded and scaled pictures by file and size, as long as they fit into `CACHE_BYTES`; used by many threads."""

    def __init__(self, capacity: int = CACHE_BYTES) -> None:
        self.capacity = capacity
        self._images: dict[tuple[Path, Cropping], np.ndarray] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def load(self, file: Path, cropping: Cropping, *, joined: bool = False) -> np.ndarray:
        """Gives a picture scaled, `[H, W, 3]` uint8, or `[H, W, 6]` where it holds A beside B.

        Raises:
            MediaError: where it cannot be decoded, or is smaller than the crop and is not to be scaled.
        """
        image = self._images.get((file, cropping))
        if image is None:
            image = _decode(file, cropping, joined)
            with self._lock:
                if self._bytes + image.nbytes <= self.capacity and (file, cropping) not in self._images:
                    self._images[file, cropping] = image
                    self._bytes += image.nbytes
        return image

    def clear(self) -> None:
        with self._lock:
            self._images.clear()
            self._bytes = 0


def _decode(file: Path, cropping: Cropping, joined: bool) -> np.ndarray:
    try:
        with Image.open(file) as picture:
            if cropping.resize != "none":
                # a JPEG can be decoded at a half, a quarter or an eighth; twice the wanted size keeps it sharp
                factor = 4 if joined else 2
                picture.draft("RGB", (factor * cropping.load_size, 2 * cropping.load_size))
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I"):  # 16 bits, which Pillow would clip instead of scaling
                upright = Image.fromarray((np.asarray(upright) // 257).clip(0, 255).astype(np.uint8))
            upright = upright.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable(file, error) from error
    if not joined:
        return _scaled(upright, file, cropping)
    half = upright.width // 2
    sides = [upright.crop((left, 0, left + half, upright.height)) for left in (0, upright.width - half)]
    return np.concatenate([_scaled(side, file, cropping) for side in sides], axis=2)


def _scaled(picture: Image.Image, file: Path, cropping: Cropping) -> np.ndarray:
    size = cropping.size(*picture.size)
    if min(size) < cropping.crop_size:
        raise MediaError(
            f"{file} is {picture.width}x{picture.height}, smaller than the crops of {cropping.crop_size}; "
            "scale pictures with --resize short, or give a smaller --crop-size"
        )
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC) if size != picture.size else picture)
