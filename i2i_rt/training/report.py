"""What training shows: a progress bar or lines, TensorBoard scalars, and grids of samples."""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from i2i_rt.stages.single import Translate
from i2i_rt.systems.base import System
from i2i_rt.training.sampler import Crops

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

    def losses(self, step: int, losses: dict[str, float], *, images_per_s: float, waited: float, rate: float) -> None:
        """Shows the losses after `step` steps; `waited` is the share of the time spent waiting for data."""
        for name, loss in losses.items():
            self._writer.add_scalar(f"loss/{name}", loss, step)
        self._writer.add_scalar("speed/images_per_s", images_per_s, step)
        self._writer.add_scalar("speed/data_wait_share", waited, step)
        self._writer.add_scalar("learning_rate", rate, step)
        words = "  ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
        text = f"{images_per_s:.2f} images/s  {words}"
        self._progress.update(self._task, completed=step, description=text)
        now = time.monotonic()
        if self._lines and (now - self._line_at > LINE_EVERY_S or step == self._total):
            self._line_at = now
            print(f"step {step}/{self._total}  {text}  waiting for data {waited:.1%}", file=sys.stderr, flush=True)

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


def sample_grid(system: System, crops: Crops, device: torch.device) -> np.ndarray:
    """Gives a picture of rows A, G(A), then B or, in CycleGAN, B and its way back."""
    columns: list[Any] = []
    with torch.no_grad():
        for generator, frames in zip(system.translators().values(), crops, strict=False):
            module = Translate(generator).eval()
            # one image at a time: the memory of a training step is all there may be
            translated = [module(torch.from_numpy(frame[None].copy()).to(device)).cpu().numpy()[0] for frame in frames]
            columns += [frames, np.stack(translated)]
    system.train()
    if len(columns) == 2:
        columns.append(crops[1])
    rows = min(len(column) for column in columns)
    high, wide = (max(column.shape[axis] for column in columns) for axis in (1, 2))
    grid = np.full((rows * high, len(columns) * wide, 3), 255, np.uint8)
    for place, column in enumerate(columns):
        for row in range(rows):
            image = column[row]
            grid[row * high :, place * wide :][: image.shape[0], : image.shape[1]] = image
    return grid
