"""A long result in short pieces, so that a run that was killed can go on where it stopped.

`.<name>.segments/` beside the output holds finished pieces and `progress.json`, which names them; a piece that is
not in it was cut off and is made again.
"""

import json
import shutil
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from i2i_rt.bundle import write_json
from i2i_rt.errors import MediaError
from i2i_rt.video.writer import TICKS_PER_SECOND, Encoding, FragmentWriter, Segment

FRAMES_PER_SEGMENT = 60  # what a kill costs at most


class Segments:
    """Writes frames into segments.

    Attributes:
        kept: how many frames an earlier run finished; writing goes on with the frame after them.
        frames: how many frames there are in all, the kept ones among them.
    """

    def __init__(self, output: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Opens the folder.

        Args:
            output: the final file.
            identity: what decides the result, as JSON; a run is only continued with the same.
            resume: go on with what an earlier run left; otherwise that is removed.

        Raises:
            MediaError: where the earlier run had another input or other settings, where another run is writing the
                same file, or where the folder cannot be written.
        """
        self.folder = output.with_name(f".{output.name}.segments")
        self._identity = json.loads(json.dumps(identity))
        self._finished: list[dict[str, Any]] = []
        self._writer: FragmentWriter | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise MediaError(f"{output} cannot be written: {error.strerror}") from error
        if not locked(self._lock):
            self._lock.close()
            raise MediaError(f"another run is writing {output}; wait for it, or name another file with -o")
        if resume:
            try:
                self._finished = self._earlier(output)
            except MediaError:
                self._lock.close()
                raise
        else:
            for file in self.folder.iterdir():
                if file.name != "lock":
                    file.unlink()
        self.kept = self.frames = sum(entry["frames"] for entry in self._finished)

    def _earlier(self, output: Path) -> list[dict[str, Any]]:
        record = self.folder / "progress.json"
        if not record.is_file():
            return []
        try:
            progress = json.loads(record.read_text())
            earlier, finished = progress["identity"], progress["segments"]
        except (OSError, ValueError, KeyError) as error:
            raise MediaError(f"{record} cannot be read ({error}); leave --resume out to start again") from error
        for key, value in self._identity.items():
            if earlier.get(key) != value:
                raise MediaError(
                    f"{output} was begun with {key} {earlier.get(key)}, and now it is {value}; "
                    "use the same, or leave --resume out to start again"
                )
        entries: list[dict[str, Any]] = []
        for entry in finished:
            if not (self.folder / entry["file"]).is_file():
                break
            entries.append(entry)
        return entries

    def write(
        self,
        image: np.ndarray,
        time_s: float,
        duration_s: float,
        *,
        encoding: Encoding,
        sample_aspect_ratio: Fraction = Fraction(1),
    ) -> None:
        """Writes the next frame, `[H, W, 3]` uint8 RGB."""
        if self._writer is None:
            self._writer = FragmentWriter(
                self.folder / f"segment-{len(self._finished):05}.mp4",
                *image.shape[:2],
                encoding=encoding,
                sample_aspect_ratio=sample_aspect_ratio,
            )
        self._writer.write(image, time_s, duration_s)
        self.frames += 1
        if self._writer.frames == FRAMES_PER_SEGMENT:
            self.finish()

    def finish(self) -> None:
        """Completes the segment that is being written and records it."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        segment = writer.segment
        self._finished.append(
            {
                "file": segment.path.name,
                "first_ticks": segment.first_ticks,
                "end_ticks": segment.end_ticks,
                "frames": writer.frames,
            }
        )
        write_json(self.folder / "progress.json", {"identity": self._identity, "segments": self._finished})

    def finished(self) -> list[Segment]:
        """Lists the finished segments in order."""
        return [
            Segment(self.folder / entry["file"], entry["first_ticks"], entry["end_ticks"]) for entry in self._finished
        ]

    @property
    def end_s(self) -> float:
        """The time at which the last finished segment ends."""
        return self._finished[-1]["end_ticks"] / TICKS_PER_SECOND if self._finished else 0.0

    def remove(self) -> None:
        """Removes the folder."""
        if self._writer is not None:
            self._writer.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Lets other runs write the same output."""
        self._lock.close()


def locked(file: IO[str]) -> bool:
    """Takes the lock, which the system lets go with the process, however it ends; False where another one has it."""
    try:
        import fcntl
    except ImportError:  # Windows; there an open file cannot be replaced, so the second run fails by itself
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
