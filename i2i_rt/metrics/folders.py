"""Folders of pictures that are measured: one by one, or each beside the one of the same name."""

from collections.abc import Collection
from pathlib import Path

from i2i_rt.errors import I2IError
from i2i_rt.video.inputs import natural
from i2i_rt.video.stills import SUFFIXES


def pictures(folder: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """Gives the files of a folder, in the order of their names.

    Raises:
        I2IError: where there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise I2IError(f"there is no folder {folder}")
    files = sorted((file for file in folder.iterdir() if file.suffix.lower() in suffixes), key=natural)
    if not files:
        raise I2IError(f"{folder} has no pictures; they end in {', '.join(sorted(suffixes))}")
    return files


def pairs(first: Path, second: Path, suffixes: Collection[str] = SUFFIXES) -> list[tuple[Path, Path]]:
    """Gives the files of two folders that have the same name, whatever their endings; or two files as the one pair.

    Raises:
        I2IError: where a file has no counterpart, or two.
    """
    if first.is_file() and second.is_file():
        return [(first, second)]
    ours, theirs = _by_name(first, suffixes), _by_name(second, suffixes)
    for folder, names, other, others in ((first, ours, second, theirs), (second, theirs, first, ours)):
        if alone := [file for name, file in names.items() if name not in others]:
            raise I2IError(
                f"{folder} has {len(names)} pictures and {other} {len(others)}, and {alone[0].name} of {folder} has no "
                f"counterpart in {other}; pictures are compared by their names"
            )
    return [(file, theirs[name]) for name, file in ours.items()]


def _by_name(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    names: dict[str, Path] = {}
    for file in pictures(folder, suffixes):
        if file.stem in names:
            raise I2IError(f"{names[file.stem].name} and {file.name} of {folder} have the same name; keep one of them")
        names[file.stem] = file
    return names
