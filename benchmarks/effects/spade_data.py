"""Label maps with textured pictures, drawn from a seed: what a label looks like is known, and every pixel's label.

Six classes have three colours and two patterns, so that neither a colour nor a pattern alone tells which one it is. A
region's brightness and tint are drawn, and there is noise. Patterns are locked to the pixel grid, for a generator
without noise has nothing to choose another position by, and mirrored they are the same, for training mirrors pictures.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

SIDE = 64
PERIOD = 16  # pixels of the patterns
COLOURS = np.array([(70, 120, 200), (90, 170, 80), (200, 140, 80)], np.float64)
CLASSES = 2 * len(COLOURS)  # stripes, then checks, of each colour
NAMES = tuple(f"{colour} {pattern}" for colour in ("blue", "green", "orange") for pattern in ("stripes", "checks"))


@dataclass(frozen=True)
class Textured:
    """Label maps `[N, H, W]` and pictures `[N, H, W, 3]`, uint8."""

    labels: np.ndarray
    pictures: np.ndarray

    @classmethod
    def drawn(cls, count: int, seed: int) -> Self:
        """Draws maps of one to four classes each."""
        generator = np.random.default_rng(seed)
        maps = [_map(generator) for _ in range(count)]
        return cls(np.stack(maps), np.stack([painted(labels, generator) for labels in maps]))

    def save(self, folder: Path, split: str) -> None:
        """Writes the folders that `i2i-rt train spade` reads."""
        for name, images in ((f"{split}_label", self.labels), (f"{split}_img", self.pictures)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images):
                Image.fromarray(image).save(folder / name / f"{number:04}.png")


def uniform() -> np.ndarray:
    """Gives a label map of each class alone, `[C, H, W]`."""
    return np.arange(CLASSES, dtype=np.uint8).repeat(SIDE * SIDE).reshape(CLASSES, SIDE, SIDE)


def _map(generator: np.random.Generator) -> np.ndarray:
    """Draws a smooth field for each class of the map; the largest one wins."""
    classes = generator.choice(CLASSES, generator.integers(1, 5), replace=False).astype(np.uint8)
    coarse = generator.normal(size=(len(classes), 4, 4)).astype(np.float32)
    fields = [np.asarray(Image.fromarray(field).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for field in coarse]
    labels: np.ndarray = classes[np.argmax(fields, 0)]
    return labels


def painted(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Paints a label map `[H, W]` with its classes' textures: `[H, W, 3]` uint8."""
    picture = np.zeros((*labels.shape, 3))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rows, columns = rows * 2 // PERIOD, np.abs(columns - (SIDE - 1) / 2).astype(int) * 2 // PERIOD
    for label in np.unique(labels):
        dark = rows % 2 if label % 2 == 0 else (rows + columns) % 2
        texture = COLOURS[label // 2] + generator.normal(0, 8, 3) + 40 * (1 - 2.0 * dark)[..., None]
        picture = np.where((labels == label)[..., None], texture, picture)
    noisy = picture + generator.normal(0, 6, (*labels.shape, 1))
    return np.asarray(noisy.clip(0, 255).astype(np.uint8))
