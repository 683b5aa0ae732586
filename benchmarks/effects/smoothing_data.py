"""Pictures of three domains whose contents and styles are known, for Smoothing's experiment.

A content is a shape, its place and size, and the light on a grey background. A style is a colour from the domain's
part of the colour circle, with the domain's texture. So a translation can be judged by rule: what is coloured is the
shape, and its colour tells the domain.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
TRAIN, HELD_OUT = 300, 48  # pictures of each domain
FINE = 3  # pictures are drawn so much larger, and averaged
COLOURED = 0.15  # least difference of a picture's channels, in [0, 1], where the shape is


@dataclass(frozen=True)
class Domain:
    """A range of hues in [0, 1), how light the background is, and how many stripes go along and across a picture."""

    name: str
    hues: tuple[float, float]
    light: float
    stripes: tuple[int, int]


DOMAINS = (
    Domain("coal", (-0.02, 0.14), 0.3, (0, 0)),
    Domain("fern", (0.26, 0.42), 0.55, (5, 5)),
    Domain("wave", (0.54, 0.70), 0.8, (7, 0)),
)


def save(folder: Path) -> None:
    """Writes `train/<domain>/` and `val/<domain>/`, the same pictures every time."""
    generator = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", HELD_OUT)):
        for domain in DOMAINS:
            (folder / split / domain.name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw(domain, generator)).save(folder / split / domain.name / f"{number:03}.png")


def draw(domain: Domain, generator: np.random.Generator) -> np.ndarray:
    """Gives a picture `[H, W, 3]` uint8 of a random content in a random style of a domain."""
    y, x = np.mgrid[: FINE * SIDE, : FINE * SIDE] / (FINE * SIDE)
    centre, radius, slope = (
        generator.uniform(0.38, 0.62, 2),
        generator.uniform(0.2, 0.3),
        generator.uniform(-0.2, 0.2, 2),
    )
    right, down = x - centre[0], y - centre[1]
    shape = (
        np.hypot(right, down) < radius,
        np.maximum(abs(right), abs(down)) < 0.88 * radius,
        (down < 0.8 * radius) & (down > 2 * abs(right) - radius),
    )[int(generator.integers(3))]
    waves = [np.sin(2 * np.pi * count * axis) for count, axis in zip(domain.stripes, (x, y), strict=True)]
    value = np.where(np.prod([wave for wave in waves if wave.any()], axis=0) < 0, 0.55, 0.95)
    light = domain.light + slope[0] * (x - 0.5) + slope[1] * (y - 0.5)
    picture = np.where(shape[..., None], value[..., None] * colour(generator.uniform(*domain.hues)), light[..., None])
    picture = picture.reshape(SIDE, FINE, SIDE, FINE, 3).mean((1, 3))
    return np.rint(picture * 255).astype(np.uint8)


def colour(hue: float) -> np.ndarray:
    """Gives RGB in [0, 1] of full value and nearly full saturation."""
    pure = np.clip(abs((6 * hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return 0.1 + 0.9 * pure


def shape_of(images: np.ndarray) -> np.ndarray:
    """Finds the shape in pictures `[N, H, W, 3]` in [0, 1]: `[N, H, W]`, true where it is."""
    return np.ptp(images, axis=-1) > COLOURED


def domain_of(images: np.ndarray) -> np.ndarray:
    """Tells the domains `[N]` of pictures `[N, H, W, 3]` in [0, 1], by the mean colour of the shape; -1 without one."""
    shape = shape_of(images)
    count = shape.sum((1, 2))
    mean = (images * shape[..., None]).sum((1, 2)) / np.maximum(count, 1)[:, None]
    red, green, blue = mean.T
    hue = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * np.pi)
    middles = np.array([np.mean(domain.hues) for domain in DOMAINS])
    gap = abs((hue[:, None] - middles + 0.5) % 1 - 0.5)
    return np.where(count > 0, gap.argmin(1), -1)
