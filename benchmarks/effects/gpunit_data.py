"""Pictures of six classes that are drawn from a pose, which classes can share, and a look, which is the class's own.

A pose is where an oblong object lies, how it is turned and how long it is. Half of the classes are dark on light
ground, the others light on dark; and beside every object lies a disc, anywhere, which is nearly as large as the
object in the former and small in the latter. So neither brightness nor size says which thing of the one class is
which of the other.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, FINE = 32, 4  # pixels of a side; samples of each, for smooth edges
APART = 100.0  # least distance of the object's mean colour to those of ground, disc and the disc's edge, in levels
LENGTHS = tuple(share * SIDE for share in (0.22, 0.25, 0.28))  # half an object's, that are looked for
FOUND = (12, SIDE * SIDE // 2)  # pixels that an object has, at least and at most

# where an object is: `u` along its axis and `v` across, both in half its length
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "bar": lambda u, v: (abs(u) < 0.9) & (abs(v) < 0.32),
    "dagger": lambda u, v: (abs(u) < 1) & (abs(v) < 0.22) | (abs(u) < 0.2) & (abs(v) < 0.5),
    "leaf": lambda u, v: u**2 + (v / 0.42) ** 2 < 1,
    "peanut": lambda u, v: (abs(u) - 0.55) ** 2 + v**2 < 0.45**2,
    "rhombus": lambda u, v: abs(u) + abs(v) / 0.5 < 1,
    "ring": lambda u, v: (u**2 + (v / 0.55) ** 2 < 1) & (u**2 + (v / 0.55) ** 2 > 0.3),
}
LIGHT = ("leaf", "peanut", "ring")  # the ground; the others' is dark
DISCS = {name: 4.2 if name in LIGHT else 2.2 for name in SHAPES}  # radii in pixels
PATTERNS = dict(zip(SHAPES, ("across", "plain", "along", "plain", "across", "along"), strict=True))


@dataclass(frozen=True)
class Pose:
    """Centre in pixels, angle of the axis in radians from the columns' direction, and half the object's length."""

    y: float
    x: float
    angle: float
    length: float


@dataclass(frozen=True)
class Look:
    """A class with the colours `[3]`, in levels, of a picture's ground, of its object's two tones and of its disc."""

    name: str
    ground: np.ndarray
    tones: tuple[np.ndarray, np.ndarray]
    disc: np.ndarray

    @property
    def object(self) -> np.ndarray:
        return np.asarray(self.tones[0] if PATTERNS[self.name] == "plain" else (self.tones[0] + self.tones[1]) / 2)


def draw_pose(generator: np.random.Generator) -> Pose:
    y, x = generator.uniform(0.3, 0.7, 2) * SIDE
    return Pose(y, x, generator.uniform(0, np.pi), generator.uniform(LENGTHS[0], LENGTHS[-1]))


def draw_look(name: str, generator: np.random.Generator) -> Look:
    """Draws colours: of one lightness in each class, and of any hue."""
    ground, bright = (0.9, 0.5) if name in LIGHT else (0.15, 0.95)
    while True:
        hue, other, third = generator.uniform(size=3)
        tones = _colour(other, 0.8, bright), _colour(other, 0.8, 0.7 * bright)
        look = Look(name, _colour(hue, 0.25, ground), tones, _colour(third, 0.8, bright))
        blends = [share * look.disc + (1 - share) * look.ground for share in (0, 0.25, 0.5, 0.75, 1)]
        if all(np.linalg.norm(look.object - blend) >= APART for blend in blends):
            return look


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    return 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))


def along(pose: Pose, fine: int = FINE) -> tuple[np.ndarray, np.ndarray]:
    """Gives the place of each of `fine`² samples a pixel along the object's axis and across it, in pixels."""
    rows, columns = (np.indices((fine * SIDE,) * 2) + 0.5) / fine - np.array([pose.y, pose.x])[:, None, None]
    cosine, sine = np.cos(pose.angle), np.sin(pose.angle)
    return cosine * columns + sine * rows, cosine * rows - sine * columns


def cover(name: str, pose: Pose) -> np.ndarray:
    """Gives the share of each pixel that the object covers, `[SIDE, SIDE]`."""
    u, v = along(pose)
    inside = SHAPES[name](u / pose.length, v / pose.length)
    return np.asarray(inside.reshape(SIDE, FINE, SIDE, FINE).mean((1, 3)))


def draw_disc(name: str, pose: Pose, generator: np.random.Generator) -> np.ndarray:
    """Gives the share of each pixel that a disc beside the object covers, `[SIDE, SIDE]`."""
    taken, radius = cover(name, pose) > 0, DISCS[name]
    while True:
        y, x = generator.uniform(radius, SIDE - radius, 2)
        rows, columns = (np.indices((FINE * SIDE,) * 2) + 0.5) / FINE - np.array([y, x])[:, None, None]
        distance = np.hypot(rows, columns)
        near, inside = ((distance < limit).reshape(SIDE, FINE, SIDE, FINE) for limit in (radius + 1, radius))
        if not (near.any((1, 3)) & taken).any():
            return np.asarray(inside.mean((1, 3)))


def render(pose: Pose, look: Look, generator: np.random.Generator) -> np.ndarray:
    """Gives a picture `[SIDE, SIDE, 3]` uint8; where its disc is, the generator says."""
    u, v = along(pose, 1)
    stripes = {"plain": np.zeros_like(u), "across": u // 2 % 2, "along": v // 2 % 2}[PATTERNS[look.name]]
    painted = np.where(stripes[..., None] == 0, *look.tones)
    share = cover(look.name, pose)[..., None]
    disc = draw_disc(look.name, pose, generator)[..., None]
    picture = share * painted + disc * look.disc + (1 - share - disc) * look.ground
    picture = picture + generator.normal(0, 3, painted.shape)
    return np.asarray(picture.clip(0, 255).round().astype(np.uint8))


def found(picture: np.ndarray, look: Look) -> np.ndarray:
    """Says where a picture is closer to a look's object than to its ground and its disc, `[SIDE, SIDE]` bool."""
    gaps = [np.linalg.norm(picture - colour, axis=-1) for colour in (look.object, look.ground, look.disc)]
    return np.asarray(np.argmin(gaps, 0) == 0)


@cache
def templates(name: str) -> tuple[list[float], np.ndarray]:
    """Gives angles, and the spectra of a class's shape at each of them and in three lengths, each of length 1."""
    angles = [float(angle) for angle in np.arange(0, np.pi, np.pi / 36) for _ in LENGTHS]
    poses = [Pose(SIDE / 2, SIDE / 2, angle, length) for angle, length in zip(angles, LENGTHS * 36, strict=True)]
    shapes = [cover(name, pose) for pose in poses]
    # as large as two pictures, so that nothing that leaves on one side comes back on the other
    return angles, np.conj(np.fft.rfft2([shape / np.linalg.norm(shape) for shape in shapes], (2 * SIDE, 2 * SIDE)))


def pose_errors(mask: np.ndarray, name: str, pose: Pose) -> tuple[float, float]:
    """Gives how far an object's centre is from a pose's, in pixels, and how far its axis is turned, in degrees.

    The object is where the class's shape fits the mask best, moved by whole pixels and turned by 5 degrees: what else
    the mask has does not count. Where there is no object, or nearly everywhere, it counts as one in the middle that is
    turned by 45 degrees, which is chance.
    """
    if not FOUND[0] <= mask.sum() <= FOUND[1]:
        return float(np.hypot(pose.y - SIDE / 2, pose.x - SIDE / 2)), 45.0
    angles, spectra = templates(name)
    overlaps = np.fft.irfft2(np.fft.rfft2(mask, (2 * SIDE, 2 * SIDE)) * spectra, (2 * SIDE, 2 * SIDE))
    best, *moved = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
    y, x = ((int(shift) + SIDE) % (2 * SIDE) - SIDE / 2 for shift in moved)
    turned = np.degrees(angles[int(best)] - pose.angle) % 180
    return float(np.hypot(y - pose.y, x - pose.x)), float(min(turned, 180 - turned))


def write_linked(folder: Path, codes: int, seed: int, split: str = "train") -> None:
    """Draws every class in each of `codes` poses, with looks of their own, once."""
    if (folder / f"{split}_shape" / f"{codes - 1:04}" / "ring.png").is_file():
        return
    for code in range(codes):
        generator = np.random.default_rng((seed, code))
        pose = draw_pose(generator)
        for name in SHAPES:
            picture = render(pose, draw_look(name, generator), generator)
            for place, image in ((split, picture), (f"{split}_shape", (255 * cover(name, pose)).astype(np.uint8))):
                (folder / place / f"{code:04}").mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / place / f"{code:04}" / f"{name}.png")


def write_pictures(folder: Path, name: str, count: int, seed: int) -> None:
    """Draws `count` pictures of a class, each in a pose of its own, once."""
    if (folder / f"{count - 1:04}.png").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        generator = np.random.default_rng((seed, number))
        picture = render(draw_pose(generator), draw_look(name, generator), generator)
        Image.fromarray(picture).save(folder / f"{number:04}.png")
