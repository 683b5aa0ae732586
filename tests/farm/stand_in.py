"""A model that workers open without a backend: it inverts pictures, as slowly as the test asks."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from i2i_rt.farm.work import Job, Model, Outcome, Work
from i2i_rt.farm.worker import Worker
from i2i_rt.testing import FakeSession
from i2i_rt.translator import Translator
from i2i_rt.video.intake import Pictures

SECONDS_PER_FRAME = "STAND_IN_SECONDS"  # an environment variable


def open_model(backend: str, precision: str) -> Model:
    seconds = float(os.environ.get(SECONDS_PER_FRAME, "0"))

    def inverted(frames: np.ndarray) -> np.ndarray:
        time.sleep(seconds * len(frames))
        return 255 - frames

    return Model(Translator(FakeSession(inverted)), Pictures())


class InThisProcess:
    """Workers without processes: one does all.

    Attributes:
        done: what was asked of it.
    """

    description = "this process"

    def __init__(self, *, interrupted_after: int | None = None) -> None:
        self.done: list[Work] = []
        self._interrupted_after = interrupted_after

    def choose(self, folder: Path) -> tuple[str, str]:
        assert folder.is_dir()
        return "fake", "fp32"

    def run(self, job: Job, work: Sequence[Work]) -> Iterator[Outcome]:
        worker = Worker(job)
        for piece in work:
            if len(self.done) == self._interrupted_after:
                raise KeyboardInterrupt
            self.done.append(piece)
            yield worker(piece)

    @contextmanager
    def connect(self) -> Iterator["InThisProcess"]:
        yield self


class Silent:
    """Watches, and remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.written = lambda: (0, 0)

    def started(self, workers: str, written: object) -> None:
        self.lines.append(workers)
        self.written = written  # type: ignore[assignment]

    def finished(self, result: object) -> None:
        self.lines.append(str(result))
