"""Pictures of two domains whose contents and styles are known, for Smoothing's experiment.

A content is a shape, its place and size, and the light on a grey background. A style is a colour between yellow and
magenta, and how strong the stripes are. The domains are a continuous quality cut in two, as the paper's young and old
people: in one the colour is nearer to yellow, in the other to magenta. So a translation can be judged by rule: what is
coloured is the shape, and its colour tells the domain.
"""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
TRAIN, HELD_OUT = 400, 64  # pictures of each domain
FINE = 3  # pictures are drawn so much larger, and averaged
COLOURED = 0.2  # least difference of a picture's channels, in [0, 1], where the shape is
DOMAINS = {"gold": (0.0, 0.45), "rose": (0.55, 1.0)}  # parts of the way from yellow to magenta


def save(folder: Path) -> None:
    """Writes `train/<domain>/` and `val/<domain>/`, the same pictures every time."""
    generator = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", HELD_OUT)):
        for name, tints in DOMAINS.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                picture = draw(generator.uniform(*tints), generator.uniform(), generator)
                Image.fromarray(picture).save(folder / split / name / f"{number:03}.png")


def draw(tint: float, contrast: float, generator: np.random.Generator) -> np.ndarray:
    """Gives a picture `[H, W, 3]` uint8 of a random content.

    Args:
        tint: 0 is yellow, 1 magenta.
        contrast: of the stripes, 0 to 1.
        generator: draws the content.
    """
    y, x = np.mgrid[: FINE * SIDE, : FINE * SIDE] / (FINE * SIDE)
    centre, radius = generator.uniform(0.38, 0.62, 2), generator.uniform(0.22, 0.32)
    right, down = x - centre[0], y - centre[1]
    shape = (
        np.hypot(right, down) < radius,
        np.maximum(abs(right), abs(down)) < 0.88 * radius,
        (down < 0.8 * radius) & (down > 2 * abs(right) - radius),
    )[int(generator.integers(3))]
    value = np.where(np.sin(2 * np.pi * 7 * x) < 0, 1 - 0.5 * contrast, 1.0)
    slope = generator.uniform(-0.2, 0.2, 2)
    light = generator.uniform(0.3, 0.7) + slope[0] * (x - 0.5) + slope[1] * (y - 0.5)
    colour = np.array([1, 0.85 * (1 - tint), 0.85 * tint])
    picture = np.where(shape[..., None], value[..., None] * colour, light[..., None])
    levels: np.ndarray = np.rint(picture.reshape(SIDE, FINE, SIDE, FINE, 3).mean((1, 3)) * 255).astype(np.uint8)
    return levels


def shape_of(images: np.ndarray) -> np.ndarray:
    """Finds the shape in pictures `[N, H, W, 3]` in [0, 1]: `[N, H, W]`, true where it is."""
    coloured: np.ndarray = np.ptp(images, axis=-1) > COLOURED
    return coloured


def domain_of(images: np.ndarray) -> np.ndarray:
    """Tells the domains `[N]` of pictures `[N, H, W, 3]` in [0, 1] by the colour of the shape; -1 without a shape."""
    shape = shape_of(images)
    _, green, blue = np.einsum("nhwc,nhw->cn", images, shape)
    return np.where(shape.any((1, 2)), (blue > green).astype(int), -1)
