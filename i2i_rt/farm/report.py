"""What a farm shows: how far it is while it runs, and afterwards a row for each file."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from i2i_rt.farm.farm import FileResult
from i2i_rt.video.report import Bar, progress_bar

LOOK_S = 0.5  # between two looks at what is written

WORDS = {"done": "done", "earlier": "done by an earlier run", "failed": "failed", "interrupted": "interrupted"}


class Progress:
    """A bar of frames on a terminal; elsewhere a line for each file."""

    def __init__(self, console: Console, bar: Bar) -> None:
        self._console, self._bar = console, bar
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def started(self, workers: str, written: Callable[[], tuple[int, int]]) -> None:
        """Shows how much of the work is written, until `close`."""
        self._console.print(workers, highlight=False, soft_wrap=True, markup=False)
        if not self._console.is_terminal:
            return
        done, expected = written()
        self._bar.begin(expected, done)
        self._thread = threading.Thread(target=self._watch, args=(written, done), daemon=True)
        self._thread.start()

    def finished(self, result: FileResult) -> None:
        if result.state in ("done", "failed"):
            text = f"{result.task.output.name}: {result.error or WORDS[result.state]}"
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, written: Callable[[], tuple[int, int]], shown: int) -> None:
        while not self._stop.wait(LOOK_S):
            done, _ = written()
            self._bar.advance(done - shown)
            shown = done


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    with progress_bar(console, "frames") as bar:
        shown = Progress(console, bar)
        try:
            yield shown
        finally:
            shown.close()


def table_of(results: Iterable[FileResult]) -> Table:
    """Has a row for each video, and one for all images."""
    table = Table("file", "frames", "seconds", "fps", "retries", "result")
    for column in table.columns[1:5]:
        column.justify = "right"
    results = list(results)
    for result in results:
        if result.task.is_video:
            _add(table, result.task.source.name, result.frames, result.seconds, result.retries, WORDS[result.state])
    images = [result for result in results if not result.task.is_video]
    if images:
        counts = {state: sum(result.state == state for result in images) for state in WORDS}
        words = ", ".join(f"{count} {WORDS[state]}" for state, count in counts.items() if count)
        frames, seconds = sum(result.frames for result in images), sum(result.seconds for result in images)
        _add(table, f"{len(images)} images", frames, seconds, max(result.retries for result in images), words)
    return table


def _add(table: Table, name: str, frames: int, seconds: float, retries: int, words: str) -> None:
    rate = f"{frames / seconds:.1f}" if frames and seconds else "–"
    table.add_row(name, str(frames), f"{seconds:.1f}", rate, str(retries), words)
