"""One video on its way through a farm: its parts, what came of them, and whether they fit together."""

import glob
import json
import shutil
from itertools import pairwise
from pathlib import Path

from i2i_rt.farm.results import load
from i2i_rt.farm.work import Outcome
from i2i_rt.video.inputs import Task
from i2i_rt.video.part import Part, PartResult, VideoOptions
from i2i_rt.video.probe import Clip
from i2i_rt.video.translate import VideoSummary, finish


class FarmClip:
    """Keeps its parts in a folder of its own, whose name says what decides the result; another run finds them there.

    Attributes:
        results: of the parts that are complete, by their place in `parts`.
        seconds, retries: how long workers took in this run, all together, and how often one died.
        found: how many frames an earlier run had written.
    """

    def __init__(self, task: Task, clip: Clip, parts: list[Part], folder: Path) -> None:
        self.task, self.clip, self.parts, self._folder = task, clip, parts, folder
        self.results: dict[int, PartResult] = {}
        self.seconds, self.retries, self.found = 0.0, 0, 0

    def begin(self) -> None:
        """Finds what an earlier run left, and removes what was made of another input or in another way."""
        name, _, _ = self._folder.name.rpartition("-")
        for other in self._folder.parent.glob(f"{glob.escape(name)}-*"):
            if other.name.rpartition("-")[0] == name and other != self._folder:
                shutil.rmtree(other, ignore_errors=True)
        self._folder.mkdir(exist_ok=True)
        for number in range(len(self.parts)):
            result = load(self.output(number))
            if result is not None:
                self.results[number] = result
        self.found = self.written_frames

    def output(self, number: int) -> Path:
        """Names the segments of a part."""
        kind = "whole" if len(self.parts) == 1 else "part"
        return self._folder / f"{kind}-{number:05}"

    def add(self, number: int, outcome: Outcome) -> None:
        """Takes what came of a part."""
        self.seconds += outcome.seconds
        self.retries += outcome.tries - 1
        if outcome.result is not None:
            self.results[number] = outcome.result

    @property
    def is_complete(self) -> bool:
        return len(self.results) == len(self.parts)

    @property
    def fits(self) -> bool:
        """Says whether the parts join to what one part would be: none is damaged, and each saw the next one begin."""
        results = [self.results[number] for number in range(len(self.parts))]
        if len(results) == 1:
            return True
        return (
            not any(result.damaged or result.missing for result in results)
            and len({result.readers for result in results}) == len(results[0].readers) == 1
            and all(result.frames == part.frames for result, part in zip(results[:-1], self.parts, strict=False))
            and all(one.next_seen == other.first_seen for one, other in pairwise(results))
        )

    def make_whole(self) -> None:
        """Makes one part of all, because the file cannot be decoded from its middle."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        self.parts, self.results, self.found = [Part()], {}, 0

    def finish(self, options: VideoOptions) -> VideoSummary:
        """Joins the parts into the result.

        Raises:
            MediaError: where it cannot be written.
        """
        results = [self.results[number] for number in range(len(self.parts))]
        summary = finish(self.clip, self.task.output, options, results)
        shutil.rmtree(self._folder, ignore_errors=True)
        return summary

    @property
    def expected_frames(self) -> int:
        return self.clip.expected_frames or 0

    @property
    def written_frames(self) -> int:
        """Counts the frames that are written, those of the parts that are being translated among them."""
        frames = sum(result.frames for result in list(self.results.values()))
        for number in range(len(self.parts)):
            if number not in self.results:
                output = self.output(number)
                record = output.with_name(f".{output.name}.segments") / "progress.json"
                try:
                    frames += sum(entry["frames"] for entry in json.loads(record.read_text())["segments"])
                except (OSError, ValueError, KeyError):
                    continue
        return frames
