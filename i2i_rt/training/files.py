"""The files of a training set, by the names of its folders: on the disk, or inside WebDataset shards."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})


@dataclass(frozen=True)
class File:
    """A picture of a set, in a file of its own or inside a tar."""

    name: str  # below its folder: `cats/7.jpg`
    path: Path  # its file, or the tar
    member: str = ""  # its name in the tar
    offset: int = 0  # bytes
    size: int = -1  # bytes; -1: up to the end

    @property
    def key(self) -> str:
        """The name without its ending: what it has in common with its partners in other folders."""
        return self.name.rpartition(".")[0]

    def read(self) -> bytes:
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)


class Files(Protocol):
    """Where a training set's files are."""

    def __contains__(self, folder: str) -> bool: ...

    def folder(self, name: str) -> tuple[File, ...]:
        """Lists the pictures in and below a folder in the order of their names; none where there is no such folder."""
        ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class FolderFiles:
    """Files below a folder; names that begin with a dot are left out."""

    path: Path

    def __contains__(self, folder: str) -> bool:
        return (self.path / folder).is_dir()

    def folder(self, name: str) -> tuple[File, ...]:
        root, files = self.path / name, list[File]()
        for place, folders, names in os.walk(root, followlinks=True):
            folders[:] = [folder for folder in folders if not folder.startswith(".")]
            below = Path(place).relative_to(root).as_posix()
            prefix = "" if below == "." else f"{below}/"
            files += [File(prefix + name, Path(place, name)) for name in names if is_picture(name)]
        return tuple(sorted(files, key=lambda file: file.name))

    def __str__(self) -> str:
        return str(self.path)


def is_picture(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
