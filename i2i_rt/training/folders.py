"""Finds a training set's pictures and refuses what cannot be trained on, before any time is spent."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from i2i_rt.errors import I2IError, MediaError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
SMALLEST_SIDE = 16
HELD_OUT = ("val", "test")

Arrangement = Literal["unpaired", "paired", "single"]


@dataclass(frozen=True)
class ImageSet:
    """The files of both domains; `joined` pictures hold both sides and are in both lists.

    Their left half is A and their right half is B, the other way round where they are `turned`.
    """

    a: tuple[Path, ...]
    b: tuple[Path, ...]
    joined: bool = False
    turned: bool = False

    def swapped(self) -> "ImageSet":
        return ImageSet(self.b, self.a, self.joined, not self.turned)


def find_held_out(folder: str | Path, arrangement: Arrangement) -> ImageSet | None:
    """Lists the pictures that are not trained on, of `val` or else of `test`; None where a folder has none."""
    for split in HELD_OUT:
        if (Path(folder) / split).is_dir() or (Path(folder) / f"{split}A").is_dir():
            return find_images(folder, arrangement, split)
    return None


def find_images(folder: str | Path, arrangement: Arrangement, split: str = "train") -> ImageSet:
    """Lists a folder's `trainA/` and `trainB/`, or `train/` with pictures A|B, in the order of their names.

    Raises:
        I2IError: where a folder is missing or empty, or pairs are incomplete.
        MediaError: where a picture cannot be read or is too small.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise I2IError(f"there is no folder {folder}; --data names one that holds {_wanted(arrangement)}")
    if arrangement == "paired" and (folder / split).is_dir():
        files = _listed(folder / split)
        _check(files, joined=True)
        return ImageSet(files, files, joined=True)
    sides = [folder / f"{split}A", folder / f"{split}B"]
    for side in sides:
        if not side.is_dir():
            raise I2IError(f"{folder} has no folder {side.name}; --data names one that holds {_wanted(arrangement)}")
    a, b = (_listed(side) for side in sides)
    if arrangement == "paired":
        _check_pairs(a, b)
    if arrangement == "single" and (len(a), len(b)) != (1, 1):
        raise I2IError(
            f"{folder} has {len(a)} pictures in trainA and {len(b)} in trainB; SinCUT learns from one picture each"
        )
    _check([*a, *b], joined=False)
    return ImageSet(a, b)


def _wanted(arrangement: Arrangement) -> str:
    if arrangement == "paired":
        return "train/ with pictures A|B side by side, or trainA/ and trainB/ with equal file names"
    return "trainA/ and trainB/"


def _listed(folder: Path) -> tuple[Path, ...]:
    files = tuple(sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()))
    if not files:
        raise I2IError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return files


def _check_pairs(a: Sequence[Path], b: Sequence[Path]) -> None:
    lonely = {file.stem for file in a} ^ {file.stem for file in b}
    if lonely:
        raise I2IError(
            f"{min(lonely)!r} is in only one of {a[0].parent} and {b[0].parent}; a pair has the same name in both"
        )


def _check(files: Sequence[Path], *, joined: bool) -> None:
    """Reads every picture's header; a damaged body is found when it is decoded."""
    with ThreadPoolExecutor() as pool:
        sizes = list(pool.map(_size, files))
    for file, (width, height) in zip(files, sizes, strict=True):
        if joined:
            width //= 2
        if min(width, height) < SMALLEST_SIDE:
            raise MediaError(
                f"{file} is too small: {width}x{height} pixels{' a half' if joined else ''}; "
                f"pictures to train on have at least {SMALLEST_SIDE} a side"
            )


def _size(file: Path) -> tuple[int, int]:
    try:
        with Image.open(file) as picture:
            return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable(file, error) from error


def unreadable(file: Path, error: Exception) -> MediaError:
    return MediaError(f"the picture {file} cannot be read ({type(error).__name__}); repair it or take it away")
