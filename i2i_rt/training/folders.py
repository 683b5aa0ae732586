"""Finds a training set's files by the names of its folders, and refuses what is missing or does not match."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from i2i_rt.errors import I2IError
from i2i_rt.training.files import SUFFIXES, File, Files, FolderFiles
from i2i_rt.training.shards import FOLDERS, ShardFiles, expand

HELD_OUT = ("val", "test")


def open_files(data: str | Path) -> Files:
    """Finds what `--data` names: a folder, a `.tar`, a folder of these, or a pattern like `train-{000..011}.tar`.

    Raises:
        I2IError: where there is nothing of that name, or a shard cannot be read.
    """
    path = Path(data)
    if path.is_dir():
        shards, files = sorted(path.glob("*.tar")), FolderFiles(path)
        # a tar beside the folders may be what they were unpacked from
        return ShardFiles(str(data), shards) if shards and not any(name in files for name in FOLDERS) else files
    shards = [Path(name) for name in expand(str(data))]
    for shard in shards:
        if not shard.is_file():
            raise I2IError(
                f"there is no folder or shard {shard}; --data names a folder with pictures, a .tar or a folder of these"
            )
    return ShardFiles(str(data), shards)


def listed(files: Files, folder: str, wanted: str) -> tuple[File, ...]:
    """Lists a folder's pictures in the order of their names; `wanted` says which folders a set should have.

    Raises:
        I2IError: where it is missing or empty.
    """
    if folder not in files:
        raise I2IError(f"{files} has no folder {folder}; --data names one that holds {wanted}")
    found = files.folder(folder)
    if not found:
        raise I2IError(f"the folder {folder} of {files} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return found


def check_partners(a: Sequence[File], b: Sequence[File], folders: tuple[str, str]) -> None:
    """Refuses two folders where a file has no partner of the same name, or more than one.

    Raises:
        I2IError: It names the first one.
    """
    for files, folder in zip((a, b), folders, strict=True):
        for file, after in pairwise(files):
            if file.key == after.key:
                raise I2IError(f"{folder} has {file.name!r} and {after.name!r}; a name belongs to one picture")
    lonely = {file.key for file in a} ^ {file.key for file in b}
    if lonely:
        raise I2IError(
            f"{min(lonely)!r} is in only one of {folders[0]} and {folders[1]}; what belongs together has the same name"
        )


@dataclass(frozen=True)
class ImageSet:
    """The files of both domains; `joined` pictures hold both sides and are in both lists.

    Their left half is A and their right half is B, the other way round where they are `turned`.
    """

    a: tuple[File, ...]
    b: tuple[File, ...]
    joined: bool = False
    turned: bool = False

    def swapped(self) -> "ImageSet":
        return ImageSet(self.b, self.a, self.joined, not self.turned)


def held_out_split(files: Files, folders: Sequence[str]) -> str | None:
    """Gives `val` or else `test`, whichever has one of the folders, named by what follows the split's name."""
    return next((split for split in HELD_OUT if any(split + rest in files for rest in folders)), None)


def find_images(files: Files, arrangement: Literal["unpaired", "paired", "single"], split: str = "train") -> ImageSet:
    """Lists `trainA/` and `trainB/`, or `train/` with pictures A|B, in the order of their names.

    Raises:
        I2IError: where a folder is missing or empty, or pairs are incomplete.
    """
    wanted = "trainA/ and trainB/"
    if arrangement == "paired":
        wanted = "train/ with pictures A|B side by side, or trainA/ and trainB/ with equal file names"
        if split in files:
            joined = listed(files, split, wanted)
            return ImageSet(joined, joined, joined=True)
    sides = (f"{split}A", f"{split}B")
    a, b = (listed(files, side, wanted) for side in sides)
    if arrangement == "paired":
        check_partners(a, b, sides)
    if arrangement == "single" and (len(a), len(b)) != (1, 1):
        raise I2IError(
            f"{files} has {len(a)} pictures in trainA and {len(b)} in trainB; SinCUT learns from one picture each"
        )
    return ImageSet(a, b)


def find_held_out(files: Files, arrangement: Literal["unpaired", "paired"]) -> ImageSet | None:
    """Lists the pictures that are not trained on, of `val` or else of `test`; None where a set has none."""
    folders = ("", "A") if arrangement == "paired" else ("A",)
    split = held_out_split(files, folders)
    return None if split is None else find_images(files, arrangement, split)
