"""What is done, on disk: results of parts for a run that goes on, and finished files for one that comes again."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from i2i_rt.bundle import write_json
from i2i_rt.video.part import PartResult
from i2i_rt.video.writer import Segment


def save(result: PartResult, output: Path) -> None:
    """Records that a part is complete."""
    content = asdict(replace(result, times=None))
    segments = [{**asdict(segment), "path": str(segment.path)} for segment in result.segments]
    write_json(_file(output), content | {"segments": segments})


def load(output: Path) -> PartResult | None:
    """Gives the result of a part that an earlier run completed; None where there is none."""
    try:
        content = json.loads(_file(output).read_text())
        segments = tuple(Segment(**{**entry, "path": Path(entry["path"])}) for entry in content["segments"])
        result = PartResult(
            **{**content, "segments": segments, "steps": tuple(content["steps"]), "readers": tuple(content["readers"])}
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return replace(result, new_frames=0) if all(segment.path.is_file() for segment in segments) else None


def _file(output: Path) -> Path:
    return output.with_name(f"{output.name}.json")


class Ledger:
    """The files that are complete, one JSON object a line: a line that was cut off is of no file."""

    def __init__(self, path: Path) -> None:
        self._entries: dict[str, dict[str, Any]] = {}
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        for line in lines:
            try:
                entry = json.loads(line)
                self._entries[entry["output"]] = entry
            except (ValueError, KeyError, TypeError):
                continue
        self._file: IO[str] = path.open("a")
        if lines:
            self._file.write("\n")  # after a line that was cut off

    def has(self, output: Path, identity: str) -> bool:
        """Says whether a result is there, was made of the same input in the same way, and was not replaced since."""
        entry = self._entries.get(output.name)
        return entry is not None and entry["identity"] == identity and entry["stamp"] == _stamp(output)

    def add(self, output: Path, identity: str) -> None:
        """Notes that a result is complete."""
        entry = {"output": output.name, "identity": identity, "stamp": _stamp(output)}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _stamp(file: Path) -> list[int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
