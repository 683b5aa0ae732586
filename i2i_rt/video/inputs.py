"""What `translate` is given: one file, a folder or a pattern; and the name of the result for each."""

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from i2i_rt.errors import MediaError
from i2i_rt.video import mux, stills

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp"}
)


@dataclass(frozen=True)
class Task:
    """A file to translate and where the result goes."""

    source: Path
    output: Path
    is_video: bool


@dataclass(frozen=True)
class Tasks:
    """All that is to be done; `many`: the output is a folder, and one bad file does not stop the others."""

    tasks: tuple[Task, ...]
    many: bool
    ignored: int  # files of a folder that are neither images nor videos


def find(pattern: str, output: str, still_suffixes: frozenset[str] = stills.SUFFIXES) -> Tasks:
    """Finds what a file, folder or pattern means; files of `still_suffixes` hold one picture or label map.

    Raises:
        MediaError: where nothing is there, or a result would take the place of an input.
    """
    path, target = Path(pattern), Path(output)
    if path.is_dir():
        files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
        known = [file for file in files if file.suffix.lower() in still_suffixes | VIDEO_SUFFIXES]
        if not known:
            raise MediaError(f"the folder {path} holds no image and no video (folders in it are not searched)")
        tasks = _into_folder(known, target, still_suffixes)
        return Tasks(tasks, many=True, ignored=len(files) - len(known))
    if not path.exists() and glob.has_magic(pattern):
        files = [Path(name) for name in glob.glob(pattern, recursive=True) if Path(name).is_file()]
        if not files:
            raise MediaError(f"no file matches {pattern!r}")
        return Tasks(_into_folder(files, target, still_suffixes), many=True, ignored=0)
    if not path.exists():
        raise MediaError(f"there is no file or folder {path}")
    is_video = _is_video(path, still_suffixes)
    if target.is_dir() or output.endswith("/"):
        target = target / _result_name(path, is_video)
    if is_video:
        mux.check_output(target)
    else:
        stills.output_format(target)
    if target.exists() and target.samefile(path):
        raise MediaError(f"{target} is the input itself; name another file with -o")
    return Tasks((Task(path, target, is_video),), many=False, ignored=0)


def _into_folder(files: Iterable[Path], folder: Path, still_suffixes: frozenset[str]) -> tuple[Task, ...]:
    if folder.is_file() or folder.suffix.lower() in stills.SUFFIXES | VIDEO_SUFFIXES:
        raise MediaError(f"many files go into a folder, and {folder} is the name of a file; name a folder with -o")
    tasks: dict[Path, Task] = {}
    for file in sorted(files, key=natural):
        is_video = _is_video(file, still_suffixes)
        output = folder / _result_name(file, is_video)
        if output in tasks:  # a.mov beside a.mp4, or the same name in two folders
            raise MediaError(f"{tasks[output].source} and {file} would both become {output}; rename one of them")
        if output.exists() and output.samefile(file):
            raise MediaError(f"{output} is an input itself; name another folder with -o")
        tasks[output] = Task(file, output, is_video)
    return tuple(tasks.values())


def _is_video(path: Path, still_suffixes: frozenset[str]) -> bool:
    """Goes by the content; the suffix decides what a file that is neither is told to be."""
    if stills.is_still(path):
        return False
    return path.suffix.lower() == ".gif" or path.suffix.lower() not in still_suffixes


def _result_name(source: Path, is_video: bool) -> str:
    if is_video:
        return f"{source.stem}.mp4"
    return source.name if source.suffix.lower() in stills.WRITABLE else f"{source.name}.png"


def natural(path: Path) -> list[tuple[int, str]]:
    """Orders frame10 after frame9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]
