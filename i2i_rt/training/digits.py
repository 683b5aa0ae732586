"""MNIST-Single and MNIST-Multiple (Ma et al. 2019, section 4): digits in colours, unpaired, with known answers.

Writes a training set of `trainA` and `trainB` once, from any pictures of digits: domain A is black and white, domain B
has colours. Of the held-out pictures `testA` and `testB` the translations are known: `answersAB` and `answersBA` hold
`testA/N.png` as it looks in the style of `testB/N.png`, and the other way round.
"""

import gzip
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from i2i_rt.errors import I2IError
from i2i_rt.training.files import SUFFIXES

Kind = Literal["single", "multiple"]
CLASSES = 10
GRID = 4  # cells a side of a picture with several digits
THRESHOLD = 127.5
RARE = 5  # in training, digits from here on have only one of B's colours
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
PAIRS = tuple(permutations(COLOURS.values(), 2))  # of digit and background
COMMON = (COLOURS["red"], COLOURS["green"])
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
DRAWS = {"A": 100, "B": 200}  # among which the digits of a picture with several are found

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Digits:
    """Pictures `[N, S, S]` bool, true where a stroke is, and which digits they show, `[N]`."""

    strokes: np.ndarray
    labels: np.ndarray

    def split(self, held_out: int, generator: np.random.Generator) -> tuple["Digits", "Digits"]:
        """Gives two sets, of which the second has `held_out` pictures.

        Raises:
            I2IError: where nothing is left for training.
        """
        if not 0 < held_out < len(self.labels):
            raise I2IError(f"there are {len(self.labels)} digits, of which {held_out} cannot be held out")
        order = generator.permutation(len(self.labels))
        parts = order[held_out:], order[:held_out]
        train, test = (Digits(self.strokes[part], self.labels[part]) for part in parts)
        return train, test


@dataclass(frozen=True)
class Style:
    """The colour of the background and of each digit, `[10]`."""

    background: Colour
    digits: tuple[Colour, ...]


def read_digits(path: Path, side: int = 28) -> Digits:
    """Reads digits and puts each into the middle of `side` by `side` pixels, enlarged where it is small.

    `path` is a folder with a folder of pictures, white on black, for each digit from 0 to 9, or one with IDX files,
    as MNIST's are: `…images…idx3-ubyte` and `…labels…idx1-ubyte`, packed with gzip or not.

    Raises:
        I2IError: where there is neither, or a file is damaged.
    """
    if not path.is_dir():
        raise I2IError(f"there is no folder {path}; name one with folders 0 to 9, or with IDX files")
    idx = sorted(path.glob("*idx3-ubyte*"))
    images, labels = _read_idx(idx) if idx else _read_folders(path)
    if not images:
        raise I2IError(f"the IDX files in {path} hold no pictures")
    return Digits(np.stack([placed(image, side) > THRESHOLD for image in images]), np.asarray(labels))


def placed(image: np.ndarray, side: int) -> np.ndarray:
    """Puts a grey picture `[h, w]` uint8 into the middle of `[side, side]`.

    One that is larger, or smaller by a quarter, is first made to fill seven eighths, as MNIST's 28 pixels fill 32.
    """
    longest = max(image.shape)
    if not side * 3 / 4 <= longest <= side:
        scale = side * 7 / 8 / longest
        size = tuple(max(1, round(length * scale)) for length in image.shape[::-1])
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    canvas = np.zeros((side, side), np.uint8)
    top, left = ((side - length) // 2 for length in image.shape)
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def _read_folders(path: Path) -> tuple[list[np.ndarray], list[int]]:
    images, labels = [], []
    for digit in range(CLASSES):
        files = sorted(file for file in (path / str(digit)).glob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise I2IError(f"{path} has no pictures in a folder {digit}; it needs folders 0 to 9, or IDX files")
        for file in files:
            try:
                with Image.open(file) as image:
                    images.append(np.asarray(image.convert("L")))
            except OSError as error:
                raise I2IError(f"{file} cannot be read as a picture") from error
            labels.append(digit)
    return images, labels


def _read_idx(files: Iterable[Path]) -> tuple[list[np.ndarray], list[int]]:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for file in files:
        partner = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
        if not partner.is_file():
            raise I2IError(f"{file} has no labels beside it; {partner.name} is missing")
        pictures, classes = read_idx(file, 3), read_idx(partner, 1)
        if len(pictures) != len(classes) or classes.max(initial=0) >= CLASSES:
            raise I2IError(f"{partner} does not hold a digit from 0 to 9 for each picture of {file.name}")
        images.extend(pictures)
        labels.extend(classes.tolist())
    return images, labels


def read_idx(file: Path, axes: int) -> np.ndarray:
    """Reads an IDX file of bytes: two zeros, the type 8, the number of axes, their lengths, then the values.

    Raises:
        I2IError: where it is something else, or not complete.
    """
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        zero, kind, found, *lengths = struct.unpack_from(f">HBB{axes}I", content)
        if (zero, kind, found) != (0, 8, axes):
            raise ValueError(content[:4])
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(lengths)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise I2IError(f"{file} is no complete IDX file of bytes with {axes} axes") from error


def write(digits: Digits, folder: Path, kind: Kind, *, train: int, test: int, seed: int = 0) -> None:
    """Writes a set of `train` pictures a domain and `test` held-out ones with their answers; all follow from `seed`.

    A held-out digit is in no training picture. File names end in the digit, or digits, that a picture shows. The
    folder is there once the set is complete.

    Raises:
        I2IError: where the folder holds a set, or there are too few digits.
    """
    if folder.exists() and any(folder.iterdir()):
        raise I2IError(f"{folder} is not empty; name another folder for the digits")
    if min(train, test) < 1:
        raise I2IError(f"there would be {train} pictures to train with and {test} to test; both need at least one")
    generator = np.random.Generator(np.random.PCG64(seed))
    learned, held_out = digits.split(max(len(digits.labels) // 6, 1), generator)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        fresh = Path(name) / "new"
        _write_training(learned, fresh, kind, train, generator)
        _write_answers(held_out, fresh, kind, test, generator)
        fresh.rename(folder)


def _write_training(digits: Digits, folder: Path, kind: Kind, count: int, generator: np.random.Generator) -> None:
    content, styles = KINDS[kind]
    for domain in "AB":
        for number in range(count):
            cells = content(digits, domain, generator)
            style = styles[domain](int(cells.labels.max()), True, generator)
            _save(folder / f"train{domain}", number, cells, style)


def _write_answers(digits: Digits, folder: Path, kind: Kind, count: int, generator: np.random.Generator) -> None:
    content, styles = KINDS[kind]
    for number in range(count):
        drawn = {domain: content(digits, domain, generator) for domain in "AB"}
        looks = {domain: styles[domain](int(drawn[domain].labels.max()), False, generator) for domain in "AB"}
        for domain, other in ("AB", "BA"):
            _save(folder / f"test{domain}", number, drawn[domain], looks[domain])
            _save(folder / f"answers{domain}{other}", number, drawn[domain], looks[other])


def single_content(digits: Digits, domain: str, generator: np.random.Generator) -> Digits:
    """Draws a digit."""
    chosen = generator.integers(len(digits.labels), size=1)
    return Digits(digits.strokes[chosen], digits.labels[chosen])


def multiple_content(digits: Digits, domain: str, generator: np.random.Generator) -> Digits:
    """Draws up to ten digits, each class once, into 16 cells in no order; the label of an empty cell is -1."""
    drawn = generator.integers(len(digits.labels), size=DRAWS[domain])
    _, first = np.unique(digits.labels[drawn], return_index=True)
    chosen = drawn[generator.permutation(first)]
    places = generator.permutation(GRID**2)[: len(chosen)]
    labels = np.full(GRID**2, -1)
    strokes = np.zeros((GRID**2, *digits.strokes.shape[1:]), bool)
    labels[places], strokes[places] = digits.labels[chosen], digits.strokes[chosen]
    return Digits(strokes, labels)


def black_or_white(label: int, training: bool, generator: np.random.Generator) -> Style:
    """Gives A's style: black on white or white on black, either half the time."""
    ink, background = (BLACK, WHITE) if generator.integers(2) else (WHITE, BLACK)
    return Style(background, (ink,) * CLASSES)


def pure_colours(label: int, training: bool, generator: np.random.Generator) -> Style:
    """Gives B's style of a single digit: one of six pairs of colours, but in training 5 to 9 are red on green."""
    pair = PAIRS[generator.integers(len(PAIRS))]
    ink, background = COMMON if training and label >= RARE else pair
    return Style(background, (ink,) * CLASSES)


def rainbow(label: int, training: bool, generator: np.random.Generator) -> Style:
    """Gives B's style of several digits: each class has a hue of its own, more or less strong, on white or black."""
    background = WHITE if generator.integers(2) else BLACK
    strengths = 0.5 * generator.uniform(0.6, 1.4, (CLASSES, 2))
    inks = [_rgb(digit / CLASSES, *strength) for digit, strength in enumerate(strengths.tolist())]
    return Style(background, tuple(inks))


Content = Callable[[Digits, str, np.random.Generator], Digits]
Styles = dict[str, Callable[[int, bool, np.random.Generator], Style]]
KINDS: dict[Kind, tuple[Content, Styles]] = {
    "single": (single_content, {"A": black_or_white, "B": pure_colours}),
    "multiple": (multiple_content, {"A": black_or_white, "B": rainbow}),
}


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    from colorsys import hsv_to_rgb

    red, green, blue = (round(255 * level) for level in hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def painted(cells: Digits, style: Style) -> np.ndarray:
    """Gives the picture `[H, W, 3]` uint8 of one cell, or of cells in rows of four."""
    inks = np.array([style.digits[label] for label in cells.labels], np.uint8)[:, None, None]
    pictures = np.where(cells.strokes[..., None], inks, np.array(style.background, np.uint8))
    rows = int(len(pictures) ** 0.5)
    side = pictures.shape[1]
    grid = pictures.reshape(rows, rows, side, side, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * side, rows * side, 3)


def _save(folder: Path, number: int, cells: Digits, style: Style) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shown = "".join(str(label) for label in cells.labels if label >= 0)
    Image.fromarray(painted(cells, style)).save(folder / f"{number:05d}_{shown}.png")


def colour_shares(images: np.ndarray) -> dict[str, float]:
    """Gives how often each of the six pairs is the nearest to pictures `[N, H, W, 3]` uint8 of single digits, in B.

    A picture's colours are the means of its border and of the tenth of its pixels that differ most from them.
    """
    names = {colour: name for name, colour in COLOURS.items()}
    found = dict.fromkeys((f"{names[ink]} on {names[background]}" for ink, background in PAIRS), 0)
    for image in images.astype(np.float64):
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).mean(0)
        pixels = image.reshape(-1, 3)
        far = np.argsort(((pixels - border) ** 2).sum(1))[-max(len(pixels) // 10, 1) :]
        seen = np.concatenate([pixels[far].mean(0), border])
        ink, background = PAIRS[int(((np.array(PAIRS).reshape(-1, 6) - seen) ** 2).sum(1).argmin())]
        found[f"{names[ink]} on {names[background]}"] += 1
    return {name: count / len(images) for name, count in found.items()}
