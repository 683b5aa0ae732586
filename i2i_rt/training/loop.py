"""The training loop: batches in, checkpoints, bundles, samples and logs out. It knows `System`, not papers."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from i2i_rt.errors import I2IError
from i2i_rt.systems.table import find
from i2i_rt.training.data import open_sampler
from i2i_rt.training.feeder import Feeder, to_batch
from i2i_rt.training.interruption import Interruption
from i2i_rt.training.options import TrainingOptions
from i2i_rt.training.processes import Processes
from i2i_rt.training.provenance import provenance_of
from i2i_rt.training.report import Report, check_scores, held_out_scores, sample_grid
from i2i_rt.training.run_folder import RunFolder
from i2i_rt.training.sampler import Sampler
from i2i_rt.training.trainer import Trainer

PREVIEWS = 4


@dataclass(frozen=True)
class Schedule:
    """When a run ends and what it writes on the way; none of it changes the weights of a given step."""

    steps: int | None = None  # end here, although the learning rate would go on; None: after the last epoch
    save_every: int = 500
    sample_every: int = 500
    evaluate_every: int = 500
    workers: int = 2


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    total: int
    trained: int  # steps of this call
    seconds: float
    waited_s: float
    bad_files: int  # that were left out
    bundles: tuple[Path, ...]


Observer = Callable[[int, dict[str, float]], None]


def train(
    options: TrainingOptions,
    run: RunFolder,
    schedule: Schedule,
    processes: Processes,
    *,
    resume: bool = False,
    observe: Observer = lambda step, losses: None,
) -> Outcome:
    """Trains until the schedule ends or Ctrl-C; `observe` is told every step's losses.

    Raises:
        I2IError: where the data or the folder cannot be used, or the losses are no longer finite.
    """
    trainer, sampler = _prepare(options, run, processes, resume=resume)
    total = trainer.system.steps if schedule.steps is None else min(trainer.system.steps, schedule.steps)
    augmented = None if trainer.recipe.decay_augmented else options.epochs * sampler.steps_per_epoch
    begun, first = time.perf_counter(), trainer.step
    with ExitStack() as stack:
        interruption = stack.enter_context(Interruption())
        part = processes.part(options.batch)
        feeder = stack.enter_context(
            Feeder(sampler, first=first, part=part, workers=schedule.workers, augmented_until=augmented)
        )
        report = stack.enter_context(Report(run.path, first=first, total=total)) if processes.first else None
        pending: list[dict[str, Tensor]] = []
        stop = False
        while trainer.step < total and not stop:
            epoch = trainer.step // sampler.steps_per_epoch
            pending.append(trainer.train(to_batch(sampler.kind, feeder.next(), processes.device), epoch))
            saves = trainer.step % schedule.save_every == 0 or trainer.step == total
            samples = trainer.step % schedule.sample_every == 0 or trainer.step == total
            evaluates = trainer.step % schedule.evaluate_every == 0 or trainer.step == total
            if not (saves or samples or evaluates or trainer.step % _read_every(processes) == 0):
                continue
            steps, stop = _read(pending, interruption, processes)
            for at, losses in enumerate(steps, trainer.step - len(steps) + 1):
                _refuse_divergence(losses, at, options, run)
                observe(at, losses)
            pending.clear()
            if saves or stop:  # before the scores, which may ask for weights that are not to be had
                save(run, trainer, sampler)
            if report is not None:
                seconds, done = time.perf_counter() - begun, trainer.step - first
                latest = {name: loss for losses in steps for name, loss in losses.items()}
                report.losses(
                    trainer.step,
                    latest,
                    images_per_s=done * options.batch / seconds,
                    waited=feeder.waited_s / seconds,
                    rates=trainer.learning_rates(),
                )
                if samples or stop:
                    report.sample(trainer.step, sample_grid(trainer, sampler, PREVIEWS))
                if evaluates and (scores := held_out_scores(trainer, sampler)):
                    report.scores(trainer.step, scores)
                    run.add_scores(trainer.step, scores)
        if trainer.step == first:
            save(run, trainer, sampler)
    return Outcome(
        step=trainer.step,
        total=total,
        trained=trainer.step - first,
        seconds=time.perf_counter() - begun,
        waited_s=feeder.waited_s,
        bad_files=len(set().union(*processes.gather(list(sampler.bad.files)))),
        bundles=tuple(run.path / name for name in trainer.system.products(trainer.system.networks)),
    )


def _prepare(
    options: TrainingOptions, run: RunFolder, processes: Processes, *, resume: bool
) -> tuple[Trainer, Sampler]:
    """Checks the data, makes or reads the run's folder, and gives all that a step needs."""
    _, recipe = find(options.system)
    # refuses a batch that cannot be shared out
    processes.part(options.batch, recipe.multiple * options.accumulate)
    sampler = open_sampler(options, recipe)
    steps = sampler.steps_per_epoch * (options.epochs + options.decay_epochs)
    trainer = Trainer(options, processes, domains=sampler.domains, steps=steps)
    if resume:
        trainer.load_state(run.read_state(processes.device))
        if processes.first:
            run.tidy()
        return trainer, sampler
    given = trainer.system.given()
    if options.start is not None:
        networks = RunFolder(Path(options.start)).networks(processes.device, averaged=given)
        trainer.begin_with(networks, options.start)
    elif given:
        raise I2IError(f"{options.system} takes {' and '.join(given)} from another run; name its folder with --from")
    if processes.first:
        check_scores(trainer, sampler)
        run.start(options)
    return trainer, sampler


def _read_every(processes: Processes) -> int:
    """Gives after how many steps losses are read: on a GPU, reading them makes it wait for the CPU."""
    return 10 if processes.device.type == "cuda" else 1


def _read(
    pending: list[dict[str, Tensor]], interruption: Interruption, processes: Processes
) -> tuple[list[dict[str, float]], bool]:
    """Gives the losses of the steps, averaged over the processes, and whether one of them was told to stop."""
    # a step may leave phases out, so each has losses of its own
    values = torch.stack([loss.float() for losses in pending for loss in losses.values()])
    stop = values.new_full((1,), float(interruption.requested))
    *means, flag = processes.mean(torch.cat([values, stop])).tolist()
    found = iter(means)
    return [{name: next(found) for name in losses} for losses in pending], flag > 0


def _refuse_divergence(losses: dict[str, float], step: int, options: TrainingOptions, run: RunFolder) -> None:
    wrong = [name for name, loss in losses.items() if not math.isfinite(loss)]
    if wrong:
        raise I2IError(
            f"training diverged: {wrong[0]} is {losses[wrong[0]]} at step {step}; the last checkpoint in {run.path} "
            f"is kept: try a --learning-rate below {options.learning_rate:g} or --precision fp32"
        )


def save(run: RunFolder, trainer: Trainer, sampler: Sampler) -> None:
    """Writes the checkpoint, then the bundles of its weights. Every process must call it; the first one writes."""
    state = trainer.state() | {"data": sampler.description}
    if not trainer.processes.first:
        return
    run.write_state(state)
    for name, product in trainer.system.products(trainer.networks()).items():
        run.write_bundle(name, product, trainer.options.system, provenance_of(trainer, sampler.description))
