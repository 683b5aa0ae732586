"""Pictures that are drawn from two factors: a layout, where an object stands, and a texture, what things are made of.

Objects are checked or dotted, grounds plain or striped, all in colours of their own; so every pair of a layout and a
texture has one right picture. Layouts are drawn for each picture, textures are one of sixteen.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, PERIOD = 32, 4  # pixels, of pictures and of patterns
APART = 110.0  # least distance of the mean colours of object and ground, in levels
SHAPES = ("disc", "square", "diamond", "cross")


@dataclass(frozen=True)
class Material:
    """Two colours `[3]`, in levels, and how they alternate."""

    light: np.ndarray
    dark: np.ndarray
    pattern: str

    @property
    def mean(self) -> np.ndarray:
        share = {"dots": 0.25, "plain": 1.0}.get(self.pattern, 0.5)
        return share * self.light + (1 - share) * self.dark

    def paint(self, generator: np.random.Generator) -> np.ndarray:
        """Gives a plane `[SIDE, SIDE, 3]` of it that begins anywhere."""
        rows, columns = np.indices((SIDE, SIDE)) + generator.integers(0, 64, (2, 1, 1))
        half = PERIOD // 2
        first = {
            "checks": (rows // half + columns // half) % 2 == 0,
            "dots": (rows % PERIOD < half) & (columns % PERIOD < half),
            "stripes": rows % PERIOD < half,
            "bars": columns % PERIOD < half,
            "plain": np.ones_like(rows, bool),
        }[self.pattern]
        return np.where(first[..., None], self.light, self.dark)


@dataclass(frozen=True)
class Texture:
    """What a picture's object and its ground are made of."""

    object: Material
    ground: Material


def _draw_texture(generator: np.random.Generator) -> Texture:
    while True:
        texture = Texture(_material(generator, ("checks", "dots")), _material(generator, ("plain", "stripes", "bars")))
        if np.linalg.norm(texture.object.mean - texture.ground.mean) >= APART:
            return texture


def _material(generator: np.random.Generator, patterns: tuple[str, ...]) -> Material:
    colour, difference = generator.uniform(60, 195, 3), generator.normal(size=3)
    difference *= generator.uniform(35, 55) / np.linalg.norm(difference)
    return Material(colour + difference, colour - difference, str(generator.choice(patterns)))


def _draw_textures(count: int) -> tuple[Texture, ...]:
    generator = np.random.default_rng((3, 0))
    return tuple(_draw_texture(generator) for _ in range(count))


TEXTURES = _draw_textures(16)


def draw_layout(generator: np.random.Generator) -> np.ndarray:
    """Gives where the object is, `[SIDE, SIDE]` bool."""
    shape, radius = generator.choice(SHAPES), generator.uniform(0.22, 0.36) * SIDE
    y, x = generator.uniform(0.36, 0.64, 2) * SIDE
    rows, columns = np.abs(np.indices((SIDE, SIDE)) + 0.5 - np.array([y, x])[:, None, None])
    inside = {
        "disc": np.hypot(rows, columns) < radius,
        "square": np.maximum(rows, columns) < 0.87 * radius,
        "diamond": rows + columns < 1.2 * radius,
        "cross": (np.minimum(rows, columns) < 0.35 * radius) & (np.maximum(rows, columns) < 1.1 * radius),
    }[str(shape)]
    return np.asarray(inside, bool)


def render(layout: np.ndarray, texture: Texture, generator: np.random.Generator) -> np.ndarray:
    """Gives a picture `[SIDE, SIDE, 3]` uint8."""
    picture = np.where(layout[..., None], texture.object.paint(generator), texture.ground.paint(generator))
    picture = picture + generator.normal(0, 4, picture.shape)
    return np.asarray(picture.clip(0, 255).round().astype(np.uint8))


def colours(picture: np.ndarray) -> np.ndarray:
    """Gives a picture's colours `[SIDE, SIDE, 3]` as means over a period, so that patterns do not count as layouts."""
    padded = np.pad(picture.astype(float), ((PERIOD // 2, PERIOD // 2 - 1),) * 2 + ((0, 0),), mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, (PERIOD, PERIOD), axis=(0, 1)).mean((-2, -1)))


def found_layout(picture: np.ndarray, texture: Texture) -> np.ndarray:
    """Says where a picture is closer to a texture's object than to its ground, `[SIDE, SIDE]` bool."""
    smooth = colours(picture)
    of_object, of_ground = (
        np.linalg.norm(smooth - material.mean, axis=-1) for material in (texture.object, texture.ground)
    )
    return np.asarray(of_object < of_ground)


def iou(found: np.ndarray, wanted: np.ndarray) -> float:
    """Gives the share of two layouts' union that both have."""
    return float((found & wanted).sum() / max((found | wanted).sum(), 1))


def write_pictures(folder: Path, count: int, seed: int) -> None:
    """Draws `count` pictures, each with a layout of its own and one of the textures, once."""
    if (folder / f"{count - 1:04}.png").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        generator = np.random.default_rng((seed, number))
        picture = render(draw_layout(generator), TEXTURES[generator.integers(len(TEXTURES))], generator)
        Image.fromarray(picture).save(folder / f"{number:04}.png")
