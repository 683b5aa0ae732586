"""Street scenes with known labels in two looks: a game's bright colours, and a camera's on an overcast day.

Everything is drawn from a seed: where things stand, by the same rule in both looks, and what they look like there. So
a network that learns to label one look is judged on the other with labels that are true by construction.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 64
CLASSES = ("sky", "building", "road", "sidewalk", "vegetation", "car", "pole")
SKY, BUILDING, ROAD, SIDEWALK, VEGETATION, CAR, POLE = range(len(CLASSES))


@dataclass(frozen=True)
class Look:
    """How a domain's scenes are drawn; colours are RGB in [0, 255].

    Attributes:
        colours: of each class, in the order of `CLASSES`.
        spread: by which the colour of one thing differs from its class's, in levels.
        speckle: of each class's surface, in levels.
        light: brightness at the left edge, at the right one, and how far the scene fades with the distance to grey.
        noise: of the sensor, in levels.
        blur: radius of the lens's, in pixels.
    """

    colours: tuple[tuple[int, int, int], ...]
    spread: float
    speckle: tuple[float, ...]
    light: tuple[float, float, float]
    noise: float
    blur: float


GAME = Look(
    colours=(
        (90, 170, 250),
        (190, 120, 90),
        (105, 105, 115),
        (205, 195, 175),
        (60, 170, 50),
        (220, 40, 40),
        (245, 215, 60),
    ),
    spread=14.0,
    speckle=(0.0, 3.0, 16.0, 3.0, 8.0, 0.0, 0.0),
    light=(1.0, 1.0, 0.0),
    noise=0.0,
    blur=0.0,
)
CAMERA = Look(
    colours=(
        (196, 200, 196),
        (112, 108, 112),
        (82, 84, 94),
        (132, 112, 104),
        (84, 88, 52),
        (58, 66, 104),
        (168, 166, 150),
    ),
    spread=8.0,
    speckle=(3.0, 9.0, 3.0, 8.0, 18.0, 4.0, 0.0),
    light=(1.05, 0.75, 0.2),
    noise=6.0,
    blur=0.5,
)


def scene(look: Look, generator: np.random.Generator, size: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Draws one scene: `[size, size, 3]` uint8, and its labels `[size, size]` uint8."""
    labels = Image.new("L", (size, size), SKY)
    things = Image.new("I", (size, size), 0)  # a number for each thing, so that each has a colour of its own
    shown = [SKY]

    def put(kind: int, shape: Callable[[ImageDraw.ImageDraw, int], None]) -> None:
        for picture, value in ((labels, kind), (things, len(shown))):
            shape(ImageDraw.Draw(picture), value)
        shown.append(kind)

    def box(kind: int, left: float, top: float, right: float, bottom: float) -> None:
        corners = [round(size * place) for place in (left, top, right, bottom)]
        put(kind, lambda draw, value: draw.rectangle(corners, fill=value))

    def polygon(kind: int, *corners: tuple[float, float]) -> None:
        places = [(size * x, size * y) for x, y in corners]
        put(kind, lambda draw, value: draw.polygon(places, fill=value))

    def blob(kind: int, x: float, y: float, wide: float, high: float) -> None:
        corners = [size * (x - wide), size * (y - high), size * (x + wide), size * (y + high)]
        put(kind, lambda draw, value: draw.ellipse(corners, fill=value))

    uniform = generator.uniform
    horizon, vanish = uniform(0.42, 0.55), uniform(0.35, 0.65)
    left = -0.05
    while left < 1:
        wide = uniform(0.12, 0.3)
        if uniform() < 0.75:
            box(BUILDING, left, horizon - uniform(0.1, 0.4), left + wide, 1)
        left += wide
    box(SIDEWALK, 0, horizon, 1, 1)
    for _ in range(generator.integers(2, 6)):
        blob(VEGETATION, uniform(), horizon - uniform(-0.02, 0.08), uniform(0.05, 0.14), uniform(0.05, 0.12))
    reach = uniform(0.03, 0.06), uniform(0.3, 0.5)  # half of the road's width, far and near
    polygon(ROAD, (vanish - reach[0], horizon), (vanish + reach[0], horizon), (0.5 + reach[1], 1), (0.5 - reach[1], 1))
    for distance in sorted(uniform(0.25, 0.9, generator.integers(1, 4))):
        bottom = horizon + distance * (1 - horizon)
        middle = vanish + (0.5 - vanish) * distance + uniform(-0.6, 0.6) * distance * reach[1]
        wide, high = 0.05 + 0.13 * distance, 0.04 + 0.13 * distance
        box(CAR, middle - wide / 2, bottom - high, middle + wide / 2, bottom)
    for _ in range(generator.integers(1, 4)):
        x, foot, top = uniform(0.03, 0.97), horizon + uniform(0.05, 0.3), horizon - uniform(0.15, 0.35)
        box(POLE, x - 0.02, top, x + 0.02, foot)
        box(POLE, x - 0.05, top - 0.05, x + 0.05, top + 0.04)
    known = np.asarray(labels)
    return _painted(look, known, np.asarray(things), shown, horizon, generator), known


def _painted(
    look: Look,
    labels: np.ndarray,
    things: np.ndarray,
    shown: list[int],
    horizon: float,
    generator: np.random.Generator,
) -> np.ndarray:
    size = len(labels)
    colours = np.asarray(look.colours, float)[shown] + generator.normal(0, look.spread, (len(shown), 3))
    picture = colours[things]
    picture += generator.normal(0, 1, (size, size, 1)) * np.asarray(look.speckle)[labels][..., None]
    across, down = np.arange(size) / (size - 1), np.arange(size) / size
    left, right, haze = look.light
    picture *= (left + (right - left) * across)[:, None]
    # the farther, the nearer to the horizon's line
    far = haze * (1 - np.abs(down - horizon) / max(horizon, 1 - horizon))
    picture += far[:, None, None] * (190 - picture)
    picture = np.asarray(_image(picture).filter(ImageFilter.GaussianBlur(look.blur)), float)
    picture += generator.normal(0, 1, picture.shape) * look.noise
    return np.asarray(_image(picture))


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture.clip(0, 255).round().astype(np.uint8))
