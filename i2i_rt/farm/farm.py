"""Translates many files with many workers, each result once, and goes on where an earlier run stopped."""

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from i2i_rt.errors import I2IError, MediaError
from i2i_rt.farm.clip import FarmClip
from i2i_rt.farm.results import Ledger
from i2i_rt.farm.split import parts_of
from i2i_rt.farm.work import ImageOutcome, ImagesWork, Job, Outcome, VideoWork, Work
from i2i_rt.farm.worker import MOST_TRIES
from i2i_rt.video import mux
from i2i_rt.video.inputs import Task
from i2i_rt.video.part import Part
from i2i_rt.video.probe import Clip, probe
from i2i_rt.video.segments import locked

IMAGES_AT_ONCE = 16

State = Literal["done", "earlier", "failed", "interrupted"]


@dataclass(frozen=True)
class FileResult:
    """What came of one file.

    Attributes:
        frames: how many this run translated.
        seconds: how long its workers worked, all together.
        retries: how often a worker died over it.
        error: why it failed, in one sentence.
        notes: what was not kept, or is not as it should be.
    """

    task: Task
    state: State
    frames: int = 0
    seconds: float = 0.0
    retries: int = 0
    error: str = ""
    notes: tuple[str, ...] = ()


class Workers(Protocol):
    """Processes that work at the same time."""

    description: str

    def choose(self, folder: Path) -> tuple[str, str]:
        """Chooses the backend and the precision that all of them translate with; `folder` must be theirs, too."""

    def run(self, job: Job, work: Sequence[Work]) -> Iterator[Outcome]:
        """Does the work; outcomes come as they are ready."""


class Watcher(Protocol):
    """Is shown how the farm gets on."""

    def started(self, workers: str, written: Callable[[], tuple[int, int]]) -> None:
        """Work begins; `written` counts the frames and images that are written, and those that are expected."""

    def finished(self, result: FileResult) -> None: ...


@dataclass
class Farm:
    """One run.

    Attributes:
        job: what all work has in common; its backend and precision are as they were asked for.
        settings: what decides results, besides the inputs; a result that was made with others is made again.
        connect: starts the workers, or finds them, for as long as it is entered.
        results: what came of the files so far.
    """

    job: Job
    settings: Mapping[str, Any]
    connect: Callable[[], AbstractContextManager[Workers]]
    watcher: Watcher
    results: list[FileResult] = field(default_factory=list)

    def run(self, tasks: Sequence[Task]) -> list[FileResult]:
        """Translates the files that are not yet; one that cannot be does not stop the others.

        Ctrl-C ends it early: what is complete stays, and the next run goes on from there.

        Raises:
            I2IError: where the results cannot be written, another run writes there, or no worker can translate.
        """
        folder = self.job.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("w")
        except OSError as error:
            raise MediaError(f"{folder} cannot be written: {error.strerror}") from error
        with closing(lock):
            if not locked(lock):
                raise MediaError(f"another farm is writing into {folder.parent}; wait for it, or name another folder")
            shutil.rmtree(folder / "tries", ignore_errors=True)
            (folder / "tries").mkdir()
            with closing(Ledger(folder / "done.jsonl")) as ledger:
                self._run(tasks, ledger)
            shutil.rmtree(folder / "tries", ignore_errors=True)
        order = {task: place for place, task in enumerate(tasks)}
        return sorted(self.results, key=lambda result: order[result.task])

    def _run(self, tasks: Sequence[Task], ledger: Ledger) -> None:
        identities = {task: self._identity(task) for task in tasks}
        rest = [task for task in tasks if not ledger.has(task.output, identities[task])]
        for task in tasks:
            if task not in rest:
                self.note(FileResult(task, "earlier"))
        videos = [planned for task in rest if task.is_video for planned in self._planned(task)]
        images = [task for task in rest if not task.is_video]
        if not videos and not images:
            return
        try:
            with self.connect() as workers:
                backend, precision = workers.choose(self.job.folder)
                self.job = replace(self.job, backend=backend, precision=precision)
                clips = [
                    FarmClip(task, clip, parts, self._folder(task, identities[task])) for task, clip, parts in videos
                ]
                rounds = _Rounds(self, clips, images, lambda task: ledger.add(task.output, identities[task]))
                self.watcher.started(f"{workers.description}: {backend} {precision}", rounds.written)
                while work := rounds.next():
                    for outcome in workers.run(self.job, work):
                        rounds.take(outcome)
        except KeyboardInterrupt:
            finished = {result.task for result in self.results}
            for task in tasks:
                if task not in finished:
                    self.note(FileResult(task, "interrupted"))

    def _identity(self, task: Task) -> str:
        status = task.source.stat()
        content = {
            **self.settings,
            "input": str(task.source.resolve()),
            "input's size": status.st_size,
            "input's time": status.st_mtime_ns,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _folder(self, task: Task, identity: str) -> Path:
        """Gives the folder of a video's parts: those of another backend or precision do not fit beside them."""
        text = f"{identity} {self.job.backend} {self.job.precision}"
        return self.job.folder / f"{task.output.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def _planned(self, task: Task) -> list[tuple[Task, Clip, list[Part]]]:
        try:
            clip = probe(task.source)
            mux.check_output(task.output)
            parts = parts_of(clip, self.job.options, self.job.stabilize)
        except I2IError as error:
            self.note(FileResult(task, "failed", error=str(error)))
            return []
        except Exception as error:  # as in a worker
            self.note(FileResult(task, "failed", error=f"{type(error).__name__}: {error}"))
            return []
        return [(task, clip, parts)]

    def note(self, result: FileResult) -> None:
        self.results.append(result)
        self.watcher.finished(result)


class _Rounds:
    """Hands out work and takes what comes of it; what must be done in another way comes in the next round."""

    def __init__(self, farm: Farm, clips: list[FarmClip], images: list[Task], complete: Callable[[Task], None]) -> None:
        self._farm, self._clips, self._images, self._complete = farm, clips, images, complete
        self._numbers = itertools.count()
        self._parts: dict[int, tuple[FarmClip, int]] = {}
        self._groups: dict[int, tuple[Task, ...]] = {}
        self._given_up: set[FarmClip] = set()
        self._again: list[FarmClip] = []
        self._images_done = 0
        self._work: list[Work] = []
        for clip in clips:
            clip.begin()
            self._hand_out(clip)
            self._finish_if_complete(clip)
        for first in range(0, len(images), IMAGES_AT_ONCE):
            number = next(self._numbers)
            self._groups[number] = tuple(images[first : first + IMAGES_AT_ONCE])
            self._work.append(ImagesWork(number, self._groups[number]))

    def written(self) -> tuple[int, int]:
        """Counts the frames and images that are written, and those that are expected."""
        written = sum(clip.written_frames for clip in self._clips) + self._images_done
        return written, sum(clip.expected_frames for clip in self._clips) + len(self._images)

    def take(self, outcome: Outcome) -> None:
        """Takes what came of a piece of work.

        Raises:
            I2IError: where no worker can translate anything.
        """
        if outcome.fatal:
            raise I2IError(outcome.error)
        if outcome.number in self._groups:
            self._take_images(self._groups[outcome.number], outcome)
            return
        clip, place = self._parts[outcome.number]
        clip.add(place, outcome)
        if clip in self._given_up or clip in self._again:
            return
        if not outcome.error:
            self._finish_if_complete(clip)
        elif clip.parts[place].place is not None and outcome.tries <= MOST_TRIES:
            self._again.append(clip)
        else:
            self._give_up(clip, outcome.error)

    def next(self) -> list[Work]:
        """Gives the work of the next round; none where all is done."""
        for clip in self._again:
            clip.make_whole()
            self._hand_out(clip)
        self._again = []
        work, self._work = self._work, []
        return work

    def _hand_out(self, clip: FarmClip) -> None:
        for place, part in enumerate(clip.parts):
            if place not in clip.results:
                number = next(self._numbers)
                self._parts[number] = clip, place
                self._work.append(VideoWork(number, clip.task, part, clip.output(place)))

    def _finish_if_complete(self, clip: FarmClip) -> None:
        if not clip.is_complete:
            return
        if not clip.fits:
            self._again.append(clip)
            return
        try:
            summary = clip.finish(self._farm.job.options)
        except I2IError as error:
            self._give_up(clip, str(error))
            return
        self._complete(clip.task)
        notes, frames = summary.warnings + summary.changed, summary.frames - clip.found
        self._farm.note(FileResult(clip.task, "done", frames, clip.seconds, clip.retries, notes=notes))

    def _give_up(self, clip: FarmClip, error: str) -> None:
        self._given_up.add(clip)
        self._farm.note(FileResult(clip.task, "failed", 0, clip.seconds, clip.retries, error=error))

    def _take_images(self, tasks: tuple[Task, ...], outcome: Outcome) -> None:
        self._images_done += len(tasks)
        each_s = outcome.seconds / len(tasks)
        images = outcome.images or tuple(ImageOutcome(task, outcome.error) for task in tasks)
        for image in images:
            if not image.error:
                self._complete(image.task)
            self._farm.note(
                FileResult(
                    image.task,
                    "failed" if image.error else "done",
                    0 if image.error else 1,
                    each_s,
                    outcome.tries - 1,
                    image.error,
                    image.notes,
                )
            )
