"""WebDataset shards: tar files whose members with the same name up to the first dot are one sample.

`cats/7.a.jpg` and `cats/7.b.jpg` are the parts `a` and `b` of the sample `cats/7`: what the folders hold as
`trainA/cats/7.jpg` and `trainB/cats/7.jpg`. The shard's own name says whether it is for `train` (also when it says
nothing), `val` or `test`: `val-000003.tar`. Members are read at their places, which are looked up once, so samples
come in any order: a run sees what it would see if the shards were unpacked.
"""

import io
import itertools
import posixpath
import re
import tarfile
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from i2i_rt.errors import I2IError
from i2i_rt.training.files import File, FolderFiles, is_picture

SPLITS = ("train", "val", "test")
# a sample's part -> what the split's name is followed by in the name of the folder
PARTS = {
    "": "",
    "a": "A",
    "b": "B",
    "img": "_img",
    "label": "_label",
    "inst": "_inst",
    "target": "_target",
    "shape": "_shape",
}
FOLDERS = {split + suffix: (split, part) for split in SPLITS for part, suffix in PARTS.items()}
PATTERN = re.compile(r"\{([^{}]*)\}")


class ShardFiles:
    """The files of a set of shards, as if they were in folders."""

    def __init__(self, name: str, shards: Sequence[Path]) -> None:
        self._name = name
        self._folders: dict[str, list[File]] = defaultdict(list)
        for shard in shards:
            for folder, file in _indexed(shard):
                self._folders[folder].append(file)

    def __contains__(self, folder: str) -> bool:
        return folder in self._folders

    def folder(self, name: str) -> tuple[File, ...]:
        return tuple(sorted(self._folders.get(name, ()), key=lambda file: file.name))

    def __str__(self) -> str:
        return self._name


def _indexed(shard: Path) -> Iterator[tuple[str, File]]:
    """Gives the pictures in a shard and the folders that they belong to.

    Raises:
        I2IError: where it is no tar, is compressed, or is cut short.
    """
    split = shard.name.partition("-")[0]
    split = split if split in SPLITS else "train"
    pictures: list[tuple[str, str, tarfile.TarInfo]] = []
    classes: dict[str, str] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                name = posixpath.normpath(member.name)
                if not member.isreg():
                    continue
                if name.endswith(".cls"):
                    stream = archive.extractfile(member)
                    assert stream is not None  # it is a regular file
                    classes[name[: -len(".cls")]] = stream.read().decode().strip()
                elif is_picture(posixpath.basename(name)):
                    pictures.append((*_place(name, split), member))
    except (tarfile.TarError, OSError, UnicodeDecodeError) as error:
        raise I2IError(
            f"the shard {shard} cannot be read ({error}); shards are complete tar files, not compressed"
        ) from error
    for folder, name, member in pictures:
        key = name.rpartition(".")[0]
        name = f"{classes[key]}/{name}" if key in classes and "/" not in key else name
        yield folder, File(name, shard, member.name, member.offset_data, member.size)


def _place(name: str, split: str) -> tuple[str, str]:
    """Gives the folder that a member belongs to, and its name there; a plain tar of folders has both in its name."""
    first, _, rest = name.partition("/")
    if first in FOLDERS and rest:
        return first, rest
    place, base = posixpath.split(name)
    stem, *part, ending = base.split(".")
    folder = split + PARTS.get(".".join(part), "." + ".".join(part))  # no arrangement asks for an unknown part
    return folder, posixpath.join(place, f"{stem}.{ending}")


def expand(pattern: str) -> list[str]:
    """Gives the names that `{000..011}` and `{train,val}` in a pattern stand for."""
    texts, choices = [], []
    for index, piece in enumerate(PATTERN.split(pattern)):
        if index % 2 == 0:
            texts.append(piece)
            continue
        bounds = re.fullmatch(r"(\d+)\.\.(\d+)", piece)
        if bounds:
            first, last = bounds.groups()
            choices.append([f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)])
        else:
            choices.append(piece.split(","))
    return [
        texts[0] + "".join(choice + text for choice, text in zip(chosen, texts[1:], strict=True))
        for chosen in itertools.product(*choices)
    ]


def pack(folder: Path, output: Path, *, shard_bytes: int) -> list[Path]:
    """Packs the pictures of a training set's folders into shards of at least `shard_bytes`, the last one as it comes.

    Raises:
        I2IError: where there is nothing to pack, two files would get the same name, or shards cannot be written.
    """
    splits = {split: _samples(FolderFiles(folder), split) for split in SPLITS}
    if not any(splits.values()):
        raise I2IError(f"{folder} has no pictures in folders that systems train with: {', '.join(FOLDERS)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise I2IError(f"{output} exists and is not empty; name another folder with -o")
    try:
        output.mkdir(parents=True, exist_ok=True)
        return [shard for split, samples in splits.items() for shard in _written(split, samples, output, shard_bytes)]
    except OSError as error:
        raise I2IError(f"the shards in {output} cannot be written: {error}") from error


def _samples(files: FolderFiles, split: str) -> list[dict[str, File]]:
    """Gives a split's samples in the order of their names, each as its files by the names that they have in a shard."""
    samples: dict[str, dict[str, File]] = {}
    for part, suffix in PARTS.items():
        for file in files.folder(split + suffix):
            place, stem = posixpath.split(file.key)
            key = posixpath.join(place, stem.replace(".", "_"))  # a dot would end the sample's name
            member = ".".join(word for word in (key, part, file.name.rpartition(".")[2]) if word)
            sample = samples.setdefault(key, {})
            if member in sample:
                raise I2IError(f"{file} and {sample[member]} would both be called {member}; rename one of them")
            sample[member] = file
    return [samples[key] for key in sorted(samples)]


def _written(split: str, samples: list[dict[str, File]], output: Path, shard_bytes: int) -> Iterator[Path]:
    """Writes a split's shards; the same pictures give the same bytes."""
    left = deque(samples)
    for number in itertools.count():
        if not left:
            return
        shard = output / f"{split}-{number:06}.tar"
        temporary = shard.with_name(f".{shard.name}.part")
        try:
            with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
                while left and archive.offset < shard_bytes:
                    for member, file in left.popleft().items():
                        content = file.read()
                        info = tarfile.TarInfo(member)
                        info.size = len(content)
                        archive.addfile(info, io.BytesIO(content))
            temporary.rename(shard)
        finally:
            temporary.unlink(missing_ok=True)
        yield shard
