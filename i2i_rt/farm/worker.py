"""The work of one process: a part of a video, or a few images, and then the next."""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from i2i_rt.errors import I2IError
from i2i_rt.farm.results import save
from i2i_rt.farm.work import ImageOutcome, ImagesWork, Job, Model, Outcome, VideoWork, Work
from i2i_rt.video.clip_translator import ClipTranslator
from i2i_rt.video.part import PartResult, translate_part
from i2i_rt.video.probe import probe
from i2i_rt.video.segments import Segments
from i2i_rt.video.translate_stills import translate_stills

MOST_TRIES = 3  # what kills three processes will kill the fourth


class Worker:
    """Holds the model, and does what it is given. A file that cannot be translated is an answer, not an exception."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._model: Model | None = None

    def __call__(self, work: Work) -> Outcome:
        started = time.perf_counter()
        tries = _count_try(self._job.folder / "tries" / str(work.number))
        outcome = Outcome(work.number, 0.0, tries)
        try:
            outcome = self._done(work, outcome)
        except I2IError as error:
            outcome = replace(outcome, error=str(error), fatal=self._model is None)
        except Exception as error:  # a fault that one file brings out must not end the others
            outcome = replace(outcome, error=f"{type(error).__name__}: {error}")
        return replace(outcome, seconds=time.perf_counter() - started)

    def _done(self, work: Work, outcome: Outcome) -> Outcome:
        if outcome.tries > MOST_TRIES:
            return replace(outcome, error=f"{MOST_TRIES} processes died while they translated it")
        if self._model is None:
            model = self._job.open_model(self._job.backend, self._job.precision)
            if model.styles:
                model.translator.current_style = model.styles[0]
            self._model = model
        if isinstance(work, ImagesWork):
            return replace(outcome, images=self._images(self._model, work))
        return replace(outcome, result=self._video(self._model, work))

    def _video(self, model: Model, work: VideoWork) -> PartResult:
        options = replace(self._job.options, fixed=model.translator.fixed_size)
        translate = ClipTranslator(model.translator, stabilize=self._job.stabilize, styles=model.styles)
        with closing(Segments(work.output, {}, resume=True)) as segments:
            result = translate_part(
                translate,
                probe(work.task.source),
                segments,
                options,
                work.part,
                intake=model.intake,
                warm_up=translate.warm_up,
                begin=translate.begin,
            )
        if result.interrupted:
            raise KeyboardInterrupt
        save(result, work.output)
        return replace(result, times=None)

    def _images(self, model: Model, work: ImagesWork) -> tuple[ImageOutcome, ...]:
        options = self._job.options
        results = translate_stills(
            model.translator,
            work.tasks,
            size=options.size,
            max_pixels=options.max_pixels,
            compare=options.compare,
            fixed=model.translator.fixed_size,
            intake=model.intake,
        )
        return tuple(
            ImageOutcome(result.task, "" if result.error is None else str(result.error), result.notes)
            for result in results
        )


def _count_try(file: Path) -> int:
    """Notes that work begins, where a process that dies cannot take it along, and gives how often it has."""
    with file.open("a+b") as notes:
        notes.write(b".")
        notes.flush()
        return notes.tell()
