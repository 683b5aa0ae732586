"""What `translate` shows: a progress bar while it runs, and afterwards what was kept, what was not, and the times."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from i2i_rt.video.translate import VideoSummary
from i2i_rt.video.translate_stills import StillResult


class _Rate(ProgressColumn):
    """How many a second were done in the last seconds."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "–/s")


class Bar:
    """A progress bar whose length is learnt when work begins; it can start with a part done by an earlier run."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=None)

    def begin(self, expected: int | None, done: int = 0) -> None:
        self._progress.update(self._task, total=expected, completed=done)

    def advance(self, count: int) -> None:
        self._progress.advance(self._task, count)


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Bar]:
    """Shows done and expected items, items a second, and the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress, what)


def print_video(say: Callable[..., None], summary: VideoSummary) -> None:
    """Says what came of a video, and where the time went."""
    size = size_in_words(summary.output.stat().st_size)
    rate = summary.new_frames / summary.seconds
    say(
        f"{summary.output}: {summary.frames} frames, {summary.duration_s:.2f} s, "
        f"{summary.height}x{summary.width}, {size}, in {summary.seconds:.1f} s ({rate:.1f} frames/s)"
    )
    for heading, entries in (("kept", summary.kept), ("changed", summary.changed), ("warning", summary.warnings)):
        for entry in entries:
            say(f"  {heading:<8} {entry}")
    if not summary.stages:
        return
    table = Table("stage", *(("total s", "p50 ms", "p90 ms", "p99 ms")), title="time per frame", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for stage, times in summary.stages.items():
        table.add_row(stage, *(f"{times[key]:.2f}" for key in ("total_s", "p50_ms", "p90_ms", "p99_ms")))
    say(table)


def print_still(say: Callable[..., None], result: StillResult) -> None:
    """Says what came of one image."""
    say(f"{result.task.output}: {result.height}x{result.width}, {size_in_words(result.task.output.stat().st_size)}")
    for note in result.notes:
        say(f"  changed  {note}")


def size_in_words(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"
