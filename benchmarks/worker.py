"""A session in a process of its own: its start is cold, its peak memory is its own, and its end harms nobody."""

import contextlib
import gc
import importlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np

from i2i_rt.benchmarks.measure import Rule, peak_memory_mib, repeat
from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError
from i2i_rt.label_translator import LabelTranslator
from i2i_rt.runtime import backends, machine
from i2i_rt.runtime.backends import Choice
from i2i_rt.runtime.session import Session


class WorkerError(I2IError):
    """The worker could not do what it was asked, or has died; it is of no more use."""


class Worker:
    """Runs one backend in one precision in a new process, and waits for commands: a context manager."""

    def __init__(self, path: Path, choice: Choice, threads: int | None, *, dense: bool = False) -> None:
        """`dense`: label maps go through `translate` where they would go through two stages."""
        self.choice = choice
        self.name = f"{choice.backend.name} dense" if dense else choice.backend.name
        context = multiprocessing.get_context("spawn")  # a fork would inherit what the parent has loaded
        self._connection, theirs = context.Pipe()
        arguments = (theirs, path, choice, threads, dense)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def open(self) -> tuple[float, float]:
        """Imports the backend and opens the session; gives the seconds of both."""
        seconds: tuple[float, float] = self._ask("open")
        return seconds

    def is_split(self) -> bool:
        """Says whether label maps go through two stages."""
        split: bool = self._ask("is_split")
        return split

    def prepare(self, inputs: Mapping[str, np.ndarray]) -> tuple[float, np.ndarray]:
        """Keeps the stage's inputs for the runs that follow; gives the seconds of the first run and its result."""
        answer: tuple[float, np.ndarray] = self._ask("prepare", inputs)
        return answer

    def warm_up(self, rule: Rule) -> None:
        self._ask("warm_up", rule)

    def turn(self, rule: Rule) -> list[float]:
        """Gives the seconds of each run of one round."""
        samples: list[float] = self._ask("turn", rule)
        return samples

    def memory_mib(self) -> tuple[float | None, float | None]:
        """Gives the peak of resident memory and what it took on the GPU, as far as the system says."""
        memory: tuple[float | None, float | None] = self._ask("memory_mib")
        return memory

    def reopen(self) -> tuple[float, float]:
        """Closes the session and opens another in the same process; gives the seconds of opening and of a run."""
        seconds: tuple[float, float] = self._ask("reopen")
        return seconds

    def _ask(self, command: str, *arguments: Any) -> Any:
        try:
            self._connection.send((command, arguments))
            failed, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            code = self._process.exitcode
            hint = ": out of memory?" if code == -signal.SIGKILL else ""
            raise WorkerError(f"its process ended with exit code {code}{hint}") from None
        if failed:
            raise WorkerError(answer)
        return answer

    def close(self) -> None:
        self._process.kill()  # it has nothing to save, and may be in the middle of a long run
        self._process.join()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Bench:
    """The worker's side: a method for each command."""

    def __init__(self, path: Path, choice: Choice, threads: int | None, dense: bool) -> None:
        self._path, self._choice, self._threads, self._dense = path, choice, threads, dense
        self._session: Session | None = None
        self._split: LabelTranslator | None = None
        self._inputs: Mapping[str, np.ndarray] = {}
        self._device_mib = 0.0

    def open(self) -> tuple[float, float]:
        imported = _seconds(self._import)
        return imported, self._watched(lambda: _seconds(self._open))

    def _import(self) -> None:
        importlib.import_module(self._choice.backend.package)
        backends.module_of(self._choice.backend)

    def _open(self) -> None:
        self._session = backends.open_session(Bundle.open(self._path), self._choice, threads=self._threads)
        if not self._dense and LabelTranslator.serves(self._session):
            self._split = LabelTranslator(self._session)

    def is_split(self) -> bool:
        return self._split is not None

    def _run(self) -> np.ndarray:
        assert self._session is not None
        if self._split is not None:
            self._split.forget()  # every run stands for a map that was not seen before
            return self._split(self._inputs)
        return self._session.run("translate", self._inputs)["translated"]

    def prepare(self, inputs: Mapping[str, np.ndarray]) -> tuple[float, np.ndarray]:
        self._inputs = inputs
        start = time.perf_counter()
        result = self._watched(self._run)
        return time.perf_counter() - start, result

    def warm_up(self, rule: Rule) -> None:
        repeat(self._run, runs=rule.warmup_runs, seconds=rule.warmup_s)

    def turn(self, rule: Rule) -> list[float]:
        self._run()
        return repeat(self._run, runs=rule.runs_per_round, seconds=rule.seconds_per_round)

    def memory_mib(self) -> tuple[float | None, float | None]:
        return peak_memory_mib(), self._device_mib or None

    def reopen(self) -> tuple[float, float]:
        if self._session is not None:
            self._session.close()
        self._session = self._split = None
        gc.collect()
        return _seconds(self._open), _seconds(self._run)

    def _watched(self, work: Callable[[], Any]) -> Any:
        """Counts by how much the memory in use on the GPU grows; the other workers sleep meanwhile."""
        before = machine.gpu_memory_mib()
        result = work()
        after = machine.gpu_memory_mib()
        if before is not None and after is not None and self._choice.backend.device != "cpu":
            self._device_mib += after - before
        return result


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _serve(connection: Connection, path: Path, choice: Choice, threads: int | None, dense: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets Ctrl-C too, and closes the connection
    bench = _Bench(path, choice, threads, dense)
    with contextlib.suppress(EOFError, OSError):  # the parent has gone
        while True:
            command, arguments = connection.recv()
            try:
                answer = False, getattr(bench, command)(*arguments)
            except Exception as error:  # whatever a backend raises is the row's note, never the end of the benchmark
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                sentence = lines[0] if lines else "no message"
                answer = True, sentence if isinstance(error, I2IError) else f"{type(error).__name__}: {sentence}"
            connection.send(answer)
