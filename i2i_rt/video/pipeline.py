"""Reading, preparing, inference and writing side by side, joined by short queues.

A full queue makes its writer wait, so memory does not grow with the length of the input. Inference runs in the
caller's thread, because sessions belong to one thread; items leave in the order in which they came. Inference that
goes on elsewhere gives futures: as many are under way as the queue to the writer holds.
"""

import contextlib
import queue
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")

STAGES = ("decode", "prepare", "infer", "write")

Times = dict[str, "array[float]"]  # stage -> seconds that each item took in it, without waiting for others

_END = object()


class _Halted(Exception):
    """Another stage has failed or was interrupted; there is nothing more to do."""


class _Queue:
    """A bounded queue whose two ends let go when `halt` is set."""

    def __init__(self, depth: int, halt: threading.Event) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(depth)
        self._halt = halt

    def put(self, item: Any) -> None:
        while not self._halt.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
        raise _Halted

    def __iter__(self) -> Iterator[Any]:
        while not self._halt.is_set():
            try:
                item = self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
            if item is _END:
                return
            yield item
        raise _Halted


def run(
    source: Iterable[Item],
    prepare: Callable[[Item], Prepared],
    infer: Callable[[Prepared], Result | Future[Result]],
    write: Callable[[Result], None],
    *,
    depth: int = 4,
) -> Times:
    """Takes every item of `source` through the three functions, each in a thread of its own.

    The first exception of any stage is raised here. Where `infer` is interrupted (Ctrl-C), what was inferred before
    is written first, so that the results are always the first ones without a gap.

    Returns:
        how long each item took in each stage.
    """
    reading_halt, writing_halt = threading.Event(), threading.Event()
    to_prepare, to_infer = _Queue(depth, reading_halt), _Queue(depth, reading_halt)
    to_write = _Queue(depth, writing_halt)
    times: Times = {stage: array("d") for stage in STAGES}
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def call() -> None:
            try:
                work()
            except _Halted:
                pass
            except BaseException as error:
                errors.append(error)
                reading_halt.set()
                writing_halt.set()

        return call

    def decode() -> None:
        iterator = iter(source)
        try:
            while (item := _timed(times["decode"], next, iterator, _END)) is not _END:
                to_prepare.put(item)
            times["decode"].pop()  # finding the end is no item
            to_prepare.put(_END)
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    def prepare_all() -> None:
        for item in to_prepare:
            to_infer.put(_timed(times["prepare"], prepare, item))
        to_infer.put(_END)

    def write_all() -> None:
        for result in to_write:
            if isinstance(result, Future):
                result = result.result()
            _timed(times["write"], write, result)

    def infer_all() -> None:
        for item in to_infer:
            begin = time.perf_counter()
            result = infer(item)
            since = partial(_time_since, times["infer"], begin)
            to_write.put(then(result, since) if isinstance(result, Future) else since(result))

    readers = [threading.Thread(target=guarded(work), daemon=True) for work in (decode, prepare_all)]
    writer = threading.Thread(target=guarded(write_all), daemon=True)
    for thread in (*readers, writer):
        thread.start()
    try:
        infer_all()
    except _Halted:
        pass
    except BaseException as error:
        errors.append(error)
    finally:
        reading_halt.set()
        with contextlib.suppress(_Halted):
            to_write.put(_END)
        for thread in (*readers, writer):
            thread.join()
    if errors:
        raise errors[0]
    return times


def _timed(times: "array[float]", function: Callable[..., Any], *arguments: Any) -> Any:
    begin = time.perf_counter()
    result = function(*arguments)
    times.append(time.perf_counter() - begin)
    return result


def _time_since(times: "array[float]", begin: float, result: Result) -> Result:
    times.append(time.perf_counter() - begin)
    return result


def then(future: Future[Prepared], function: Callable[[Prepared], Result]) -> Future[Result]:
    """Gives the future of what a function makes of another future's result."""
    made: Future[Result] = Future()

    def finish(done: Future[Prepared]) -> None:
        try:
            made.set_result(function(done.result()))
        except BaseException as error:
            made.set_exception(error)

    future.add_done_callback(finish)
    return made
