"""The training loop: batches in, checkpoints, bundles, samples and logs out. It knows `System`, not papers."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from i2i_rt.bundle import Provenance
from i2i_rt.errors import I2IError
from i2i_rt.systems.base import Recipe
from i2i_rt.systems.table import find
from i2i_rt.training.crops import Cropping
from i2i_rt.training.feeder import Feeder, to_images
from i2i_rt.training.folders import ImageSet, find_images
from i2i_rt.training.interruption import Interruption
from i2i_rt.training.options import TrainingOptions
from i2i_rt.training.processes import Processes
from i2i_rt.training.report import Report, sample_grid
from i2i_rt.training.run_folder import RunFolder
from i2i_rt.training.sampler import FolderSampler, Sampler, SingleImageSampler
from i2i_rt.training.trainer import Trainer

PREVIEWS = 4


@dataclass(frozen=True)
class Schedule:
    """When a run ends and what it writes on the way; none of it changes the weights of a given step."""

    steps: int | None = None  # end here, although the learning rate would go on; None: after the last epoch
    save_every: int = 500
    sample_every: int = 500
    workers: int = 2


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    total: int
    trained: int  # steps of this call
    seconds: float
    waited_s: float
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
    trainer, images, sampler = _prepare(options, run, processes, resume=resume)
    total = sampler.steps_per_epoch * (options.epochs + options.decay_epochs)
    total = total if schedule.steps is None else min(total, schedule.steps)
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
            pending.append(trainer.train(to_images(feeder.next(), processes.device), epoch))
            saves = trainer.step % schedule.save_every == 0 or trainer.step == total
            samples = trainer.step % schedule.sample_every == 0 or trainer.step == total
            if not (saves or samples or trainer.step % _read_every(processes) == 0):
                continue
            steps, stop = _read(pending, interruption, processes)
            for at, losses in enumerate(steps, trainer.step - len(steps) + 1):
                _refuse_divergence(losses, at, options, run)
                observe(at, losses)
            pending.clear()
            if report is not None:
                seconds, done = time.perf_counter() - begun, trainer.step - first
                report.losses(
                    trainer.step,
                    steps[-1],
                    images_per_s=done * options.batch / seconds,
                    waited=feeder.waited_s / seconds,
                    rate=trainer.learning_rate(epoch),
                )
                if samples or stop:
                    report.sample(
                        trainer.step, sample_grid(trainer.system, sampler.preview(PREVIEWS), processes.device)
                    )
            if saves or stop:
                save(run, trainer, images)
        if trainer.step == first:
            save(run, trainer, images)
    return Outcome(
        step=trainer.step,
        total=total,
        trained=trainer.step - first,
        seconds=time.perf_counter() - begun,
        waited_s=feeder.waited_s,
        bundles=tuple(run.path / name for name in trainer.system.translators()),
    )


def _prepare(
    options: TrainingOptions, run: RunFolder, processes: Processes, *, resume: bool
) -> tuple[Trainer, ImageSet, Sampler]:
    """Checks the data, makes or reads the run's folder, and gives all that a step needs."""
    _, recipe = find(options.system)
    processes.part(options.batch)  # refuses a batch that cannot be shared out
    images = find_images(options.data, recipe.data)
    images = images if options.direction == "AtoB" else images.swapped()
    sampler = make_sampler(options, recipe, images)
    trainer = Trainer(options, processes)
    if resume:
        trainer.load_state(run.read_state(processes.device))
        if processes.first:
            run.tidy()
    elif processes.first:
        run.start(options)
    return trainer, images, sampler


def _read_every(processes: Processes) -> int:
    """Gives after how many steps losses are read: on a GPU, reading them makes it wait for the CPU."""
    return 10 if processes.device.type == "cuda" else 1


def _read(
    pending: list[dict[str, Tensor]], interruption: Interruption, processes: Processes
) -> tuple[list[dict[str, float]], bool]:
    """Gives the losses of the steps, averaged over the processes, and whether one of them was told to stop."""
    names = list(pending[0])
    table = torch.stack([torch.stack([losses[name].float() for name in names]) for losses in pending])
    stop = torch.full_like(table[:1], float(interruption.requested))
    *rows, flags = processes.mean(torch.cat([table, stop])).tolist()
    return [dict(zip(names, row, strict=True)) for row in rows], flags[0] > 0


def _refuse_divergence(losses: dict[str, float], step: int, options: TrainingOptions, run: RunFolder) -> None:
    wrong = [name for name, loss in losses.items() if not math.isfinite(loss)]
    if wrong:
        raise I2IError(
            f"training diverged: {wrong[0]} is {losses[wrong[0]]} at step {step}; the last checkpoint in {run.path} "
            f"is kept: try a --learning-rate below {options.learning_rate:g} or --precision fp32"
        )


def make_sampler(options: TrainingOptions, recipe: Recipe, images: ImageSet) -> Sampler:
    """Makes what cuts a system's batches from its pictures."""
    if recipe.data == "single":
        return SingleImageSampler(
            images,
            crop_size=options.crop_size,
            batch=options.batch,
            epoch_images=recipe.epoch_images or options.batch,
            seed=options.seed,
        )
    cropping = Cropping(options.resize, options.load_size, options.crop_size)
    return FolderSampler(images, cropping, paired=recipe.data == "paired", batch=options.batch, seed=options.seed)


def save(run: RunFolder, trainer: Trainer, images: ImageSet) -> None:
    """Writes the checkpoint, then the bundles of its weights. Every process must call it; the first one writes."""
    options, state = trainer.options, trainer.state()
    if not trainer.processes.first:
        return
    run.write_state(state)
    provenance = Provenance(
        source=f"trained by i2i-rt train {options.system}, {trainer.step} steps, seed {options.seed}",
        sha256="",
        notes=(
            f"data: {Path(options.data).resolve().name}, {len(images.a)} pictures of A and {len(images.b)} of B, "
            f"{options.direction}",
            f"options: batch {options.batch}, crops {options.crop_size} of {options.load_size} ({options.resize}), "
            f"{options.epochs} + {options.decay_epochs} epochs, {options.precision}",
        ),
    )
    for name, generator in trainer.system.translators().items():
        run.write_bundle(name, generator, options.system, provenance)
