"""Random changes of pictures `[H, W, 3]` uint8, by torchvision's functions.

Their parameters come from the given generator: torchvision's own transforms draw from PyTorch's global one, which
threads share, so that what a picture becomes would depend on which thread came first.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

BICUBIC = functional.InterpolationMode.BICUBIC
BILINEAR = functional.InterpolationMode.BILINEAR


def mirrored(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Mirrors `[H, W, …]` from left to right half of the time."""
    return image[:, ::-1] if generator.random() < 0.5 else image


def resized_crop(
    image: np.ndarray,
    size: int,
    generator: np.random.Generator,
    *,
    area: tuple[float, float] = (0.8, 1.0),
    ratio: tuple[float, float] = (0.9, 1.1),
) -> np.ndarray:
    """Gives a random part of the picture, scaled to `[size, size, 3]`: as StarGAN v2 does it for half of its pictures.

    Args:
        image: The picture.
        size: Pixels a side of what is given.
        generator: Draws the part.
        area: Its smallest and largest share of the picture's area.
        ratio: Its smallest and largest width in heights.
    """
    top, left, height, width = _part(image.shape[0], image.shape[1], generator, area, ratio)
    pixels = _pixels(image[top : top + height, left : left + width])
    return _picture(functional.resize(pixels, [size, size], interpolation=BICUBIC, antialias=True))


def view(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Gives TUNIT's second view of a square picture: turned, moved, sheared, cut, other colours, mirrored."""
    side = image.shape[0]
    pixels = functional.affine(
        _pixels(image),
        angle=generator.uniform(-20, 20),
        translate=[round(side * shift) for shift in generator.uniform(-0.1, 0.1, 2)],
        scale=1.0,
        shear=[generator.uniform(-10, 10)],
        interpolation=BILINEAR,
    )
    changed = resized_crop(_picture(pixels), side, generator, area=(0.9, 1.1))
    return mirrored(_picture(_jittered(_pixels(changed), generator)), generator)


def _jittered(pixels: Tensor, generator: np.random.Generator) -> Tensor:
    """Changes brightness, contrast, saturation and hue, in a random order."""
    changes = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    factors = [*generator.uniform(0.6, 1.4, 3), generator.uniform(-0.125, 0.125)]
    for place in generator.permutation(4):
        change = (*changes, functional.adjust_hue)[place]
        pixels = change(pixels, float(factors[place]))
    return pixels


def _part(
    height: int, width: int, generator: np.random.Generator, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Gives top, left, height and width; the whole picture where ten tries found nothing that fits into it."""
    for _ in range(10):
        wanted = height * width * generator.uniform(*area)
        stretch = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(wanted * stretch)), round(math.sqrt(wanted / stretch))
        if 0 < w <= width and 0 < h <= height:
            return int(generator.integers(height - h + 1)), int(generator.integers(width - w + 1)), h, w
    return 0, 0, height, width


def _pixels(image: np.ndarray) -> Tensor:
    """Gives `[3, H, W]`; copied where a mirrored picture runs backwards through memory."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def _picture(pixels: Tensor) -> np.ndarray:
    return pixels.permute(1, 2, 0).numpy()
