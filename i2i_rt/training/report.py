"""What training shows: a progress bar or lines, TensorBoard scalars, and grids of samples."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from torch import Tensor

from i2i_rt.stages.base import to_frames
from i2i_rt.training.feeder import to_batch
from i2i_rt.training.sampler import Arrays, Sampler
from i2i_rt.training.trainer import Trainer

LINE_EVERY_S = 15.0


class Report:
    """Shows a run on stderr and writes its logs; of several processes only the first has one."""

    def __init__(self, folder: Path, *, first: int, total: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first + 1)
        self._samples = folder / "samples"
        self._total = total
        self._line_at = 0.0
        console = Console(file=sys.stderr)
        self._lines = not console.is_terminal
        self._progress = Progress(
            BarColumn(bar_width=16),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            # what does not fit into a narrow terminal is in TensorBoard
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            expand=True,
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=total, completed=first)

    def losses(
        self, step: int, losses: dict[str, float], *, images_per_s: float, waited: float, rates: dict[str, float]
    ) -> None:
        """Shows the losses after `step` steps.

        `waited` is the share of the time spent waiting for data, `rates` are the networks' learning rates.
        """
        for name, loss in losses.items():
            self._writer.add_scalar(f"loss/{name}", loss, step)
        self._writer.add_scalar("speed/images_per_s", images_per_s, step)
        self._writer.add_scalar("speed/data_wait_share", waited, step)
        for name, rate in rates.items():
            self._writer.add_scalar(f"learning_rate/{name}", rate, step)
        words = "  ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
        text = f"{images_per_s:.2f} images/s  {words}"
        self._progress.update(self._task, completed=step, description=text)
        now = time.monotonic()
        if self._lines and (now - self._line_at > LINE_EVERY_S or step == self._total):
            self._line_at = now
            print(f"step {step}/{self._total}  {text}  waiting for data {waited:.1%}", file=sys.stderr, flush=True)

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """Shows the scores of held-out pictures after `step` steps."""
        for name, score in scores.items():
            self._writer.add_scalar(f"held-out/{name}", score, step)
        words = "  ".join(f"{name} {score:.4g}" for name, score in scores.items())
        self._progress.console.print(f"step {step}/{self._total}  held out: {words}", highlight=False)

    def sample(self, step: int, grid: np.ndarray) -> None:
        """Writes a grid `[H, W, 3]` as PNG and into TensorBoard."""
        file = self._samples / f"step-{step:07d}.png"
        temporary = file.with_name(f".{file.name}.part")
        Image.fromarray(grid).save(temporary, format="PNG")
        temporary.replace(file)
        self._writer.add_image("samples", grid, step, dataformats="HWC")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._writer.close()


def sample_grid(trainer: Trainer, sampler: Sampler, images: int) -> np.ndarray:
    """Gives a picture `[H, W, 3]` uint8 of what the networks make of a few items, a row each."""
    networks, arrays = trainer.networks(), sampler.preview(images)
    torch.manual_seed(trainer.options.seed)  # the next step draws its own numbers anew
    rows = []
    with torch.no_grad():
        for index in range(min(len(array) for array in arrays if array is not None)):
            # one item at a time: the memory of a training step is all there may be
            one = tuple(None if array is None else array[index : index + 1].copy() for array in arrays)
            batch = to_batch(sampler.kind, one, trainer.processes.device)
            rows.append([_frame(column[0]) for column in trainer.system.samples(batch, networks)])
    high, wide = (max(image.shape[axis] for row in rows for image in row) for axis in (0, 1))
    grid = np.full((len(rows) * high, len(rows[0]) * wide, 3), 255, np.uint8)
    for top, row in enumerate(rows):
        for place, image in enumerate(row):
            grid[top * high :, place * wide :][: image.shape[0], : image.shape[1]] = image
    return grid


def _frame(image: Tensor) -> np.ndarray:
    """Gives `[3, H, W]` in [-1, 1] as `[H, W, 3]` uint8."""
    return to_frames(image[None])[0].cpu().numpy()


def check_scores(trainer: Trainer, sampler: Sampler) -> None:
    """Scores one held-out item: what is missing for it ends a run before its first step, not at its first scores.

    Raises:
        I2IError: as the system's scores do, or where the held-out pictures cannot be used.
    """
    arrays = next(sampler.held_out(), None)
    if arrays is not None:
        _scores(trainer, sampler, [tuple(None if array is None else array[:1] for array in arrays)])


def held_out_scores(trainer: Trainer, sampler: Sampler) -> dict[str, float]:
    """Gives a system's figures of all held-out pictures; none where there are no such pictures."""
    return _scores(trainer, sampler, sampler.held_out())


def _scores(trainer: Trainer, sampler: Sampler, batches: Iterable[Arrays]) -> dict[str, float]:
    networks, found = trainer.networks(), dict[str, list[Tensor]]()
    torch.manual_seed(trainer.options.seed)
    with torch.no_grad():
        for arrays in batches:
            batch = to_batch(sampler.kind, arrays, trainer.processes.device)
            for name, values in trainer.system.scores(batch, networks).items():
                found.setdefault(name, []).append(values.double().cpu())
    return trainer.system.figures({name: torch.cat(values).mean(0) for name, values in found.items()}) if found else {}
