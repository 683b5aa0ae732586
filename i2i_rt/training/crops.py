"""From files to training crops: pictures scaled, kept in memory while they fit, and the parts cut from them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from i2i_rt.errors import MediaError
from i2i_rt.label_maps import decode_numbers, resize
from i2i_rt.systems.base import Resize
from i2i_rt.training.bad_files import BadFileError
from i2i_rt.training.decoding import UNREADABLE, decode
from i2i_rt.training.files import File

CACHE_BYTES = 1 << 30
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Cut:
    """A square part of a picture, perhaps mirrored: the same one of its label map."""

    top: int
    left: int
    size: int
    mirrored: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Gives the part of `[H, W, …]`."""
        part = image[self.top : self.top + self.size, self.left : self.left + self.size]
        return part[:, ::-1] if self.mirrored else part


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

    def tight(self) -> "Cropping":
        """Gives the same without the margin for random crops."""
        return Cropping(self.resize, self.crop_size, self.crop_size)

    def random(self, image: np.ndarray, generator: np.random.Generator) -> Cut:
        """Draws a part of `[H, W, …]`, mirrored half of the time."""
        top, left = (int(generator.integers(side - self.crop_size + 1)) for side in image.shape[:2])
        return Cut(top, left, self.crop_size, mirrored=bool(generator.random() < 0.5))

    def middle(self, image: np.ndarray) -> Cut:
        """Gives the middle of `[H, W, …]`, for samples that can be compared."""
        top, left = ((side - self.crop_size) // 2 for side in image.shape[:2])
        return Cut(top, left, self.crop_size)


class ImageCache:
    """Decoded and scaled pictures by file and size, as long as they fit into `CACHE_BYTES`; used by many threads."""

    def __init__(self, capacity: int = CACHE_BYTES) -> None:
        self.capacity = capacity
        self._images: dict[tuple[File, Cropping], np.ndarray] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def load(self, file: File, cropping: Cropping, *, joined: bool = False) -> np.ndarray:
        """Gives a picture scaled, `[H, W, 3]` uint8, or `[H, W, 6]` where it holds A beside B.

        Raises:
            BadFileError: where it cannot be decoded, or is smaller than the crop and is not to be scaled.
        """
        return self._kept(file, cropping, lambda: _picture(file, cropping, joined))

    def numbers(self, file: File, cropping: Cropping) -> np.ndarray:
        """Gives a label or instance map `[H, W]` as int64, scaled like the picture that it belongs to, to the nearest.

        Raises:
            BadFileError: where it cannot be decoded or holds colours, or is smaller than the crop.
        """
        return self._kept(file, cropping, lambda: _numbers(file, cropping)).astype(np.int64)

    def _kept(self, file: File, cropping: Cropping, read: Callable[[], np.ndarray]) -> np.ndarray:
        image = self._images.get((file, cropping))
        if image is None:
            image = read()
            with self._lock:
                if self._bytes + image.nbytes <= self.capacity and (file, cropping) not in self._images:
                    self._images[file, cropping] = image
                    self._bytes += image.nbytes
        return image

    def clear(self) -> None:
        with self._lock:
            self._images.clear()
            self._bytes = 0


def _picture(file: File, cropping: Cropping, joined: bool) -> np.ndarray:
    try:
        return decode(file.read(), lambda width, height: _size(file, cropping, width, height), joined=joined)
    except UNREADABLE as error:
        raise BadFileError(str(file), f"cannot be read as a picture ({type(error).__name__})") from error


def _numbers(file: File, cropping: Cropping) -> np.ndarray:
    try:
        numbers = decode_numbers(file.read(), str(file))
    except OSError as error:
        raise BadFileError(str(file), f"cannot be read ({type(error).__name__})") from error
    except MediaError as error:
        raise BadFileError(str(file), str(error).removeprefix(f"{file} ")) from error
    height, width = numbers.shape
    return resize(numbers, *_size(file, cropping, width, height))


def _size(file: File, cropping: Cropping, width: int, height: int) -> tuple[int, int]:
    """Gives what a picture is scaled to, and refuses what is too small."""
    if min(width, height) < SMALLEST_SIDE:
        raise BadFileError(
            str(file),
            f"is too small: {width}x{height} pixels; pictures to train on have at least {SMALLEST_SIDE} a side",
        )
    wanted = cropping.size(width, height)
    if min(wanted) < cropping.crop_size:
        raise BadFileError(
            str(file),
            f"is {width}x{height}, smaller than the crops of {cropping.crop_size}; "
            "scale pictures with --resize short, or give a smaller --crop-size",
        )
    return wanted
