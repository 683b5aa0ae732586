"""Pictures of known style for StEP's experiment: any content in any style can be painted, so every answer is known.

A picture of A is a grey crop; its partner in B is painted with a style of seven numbers: the colours of shadows and of
highlights, and a gamma. `photographs` takes crops of the photographs that come with scikit-image and scikit-learn.
`drawings`, the other set, has drawn shapes on gradients, and a third colour for the middle tones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
TRAIN, HELD_OUT = 400, 64
PHOTOGRAPHS = (
    ("skimage/data", ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")),
    ("sklearn/datasets/images", ("china.jpg", "flower.jpg")),
)
Paint = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """Grey contents `[N, H, W]` in [0, 1] and as many styles `[N, S]` in [0, 1]; `paint` makes `[H, W, 3]` uint8."""

    contents: np.ndarray
    styles: np.ndarray
    paint: Paint

    def grey(self) -> np.ndarray:
        """Gives the inputs, `[N, H, W, 3]` uint8."""
        return np.repeat(np.round(self.contents * 255).astype(np.uint8)[..., None], 3, axis=3)

    def painted(self, shift: int = 0) -> np.ndarray:
        """Gives each content in its own style, or in that of the picture `shift` further on, `[N, H, W, 3]` uint8."""
        styles = np.roll(self.styles, -shift, axis=0)
        return np.stack([self.paint(*pair) for pair in zip(self.contents, styles, strict=True)])

    def save(self, folder: Path) -> None:
        """Writes the pairs side by side, the grey picture on the left."""
        folder.mkdir(parents=True)
        for index, pair in enumerate(np.concatenate([self.grey(), self.painted()], axis=2)):
            Image.fromarray(pair).save(folder / f"{index:04}.png")


def photographs() -> tuple[Pictures, Pictures]:
    """Gives pictures to train on and held-out ones; the latter come from the right quarter of each photograph."""
    import skimage
    import sklearn

    roots = {"skimage": Path(skimage.__file__).parents[1], "sklearn": Path(sklearn.__file__).parents[1]}
    greys = []
    for folder, names in PHOTOGRAPHS:
        for name in names:
            with Image.open(roots[folder.split("/")[0]] / folder / name) as picture:
                small = picture.convert("L").resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
            greys.append(np.asarray(small, np.float32) / 255)
    generator = np.random.default_rng(0)

    def cut(count: int, *, held_out: bool) -> np.ndarray:
        crops: list[np.ndarray] = []
        while len(crops) < count:
            grey = greys[int(generator.integers(len(greys)))]
            edge = grey.shape[1] * 3 // 4
            part = grey[:, edge:] if held_out else grey[:, :edge]
            top, left = (int(generator.integers(side - SIDE + 1)) for side in part.shape)
            crop = part[top : top + SIDE, left : left + SIDE]
            low, high = crop.min(), crop.max()
            if high - low > 0.25:  # an even patch of sky has no content
                crops.append((crop - low) / (high - low))
        return np.stack(crops)

    contents = cut(TRAIN, held_out=False), cut(HELD_OUT, held_out=True)
    train, held = (Pictures(part, generator.random((len(part), 7)), two_tones) for part in contents)
    return train, held


def drawings() -> tuple[Pictures, Pictures]:
    """Gives as many pictures of another kind: ellipses and stripes on gradients, in three tones."""
    generator = np.random.default_rng(1)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]

    def draw() -> np.ndarray:
        turn = generator.uniform(0, 2 * np.pi)
        grey = (np.cos(turn) * x + np.sin(turn) * y) * generator.uniform(0, 0.5)
        for _ in range(int(generator.integers(1, 5))):
            centre, size = generator.uniform(-1, 1, 2), generator.uniform(0.2, 0.7, 2)
            inside = ((x - centre[0]) / size[0]) ** 2 + ((y - centre[1]) / size[1]) ** 2 < 1
            grey = np.where(inside, generator.uniform(-1, 1), grey)
        across = np.sin(turn) * x - np.cos(turn) * y
        grey = grey + generator.uniform(0, 0.4) * np.sin(generator.uniform(5, 20) * across)
        result: np.ndarray = (grey - grey.min()) / (grey.max() - grey.min())
        return result

    contents = (np.stack([draw() for _ in range(count)]) for count in (TRAIN, HELD_OUT))
    train, held = (Pictures(part, generator.random((len(part), 9)), three_tones) for part in contents)
    return train, held


def two_tones(grey: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Paints with the colours `style[:3]` in the dark and `style[3:6]` in the light, and the gamma 0.5 to 2."""
    level = grey[..., None] ** (2.0 ** (2 * style[6] - 1))
    return _bytes(style[:3] + (style[3:6] - style[:3]) * level)


def three_tones(grey: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Paints with a colour for dark, middle and light tones."""
    dark, middle, light = style.reshape(3, 3)
    level = 2 * grey[..., None]
    return _bytes(np.where(level < 1, dark + (middle - dark) * level, middle + (light - middle) * (level - 1)))


def _bytes(colours: np.ndarray) -> np.ndarray:
    return np.round(colours.clip(0, 1) * 255).astype(np.uint8)
