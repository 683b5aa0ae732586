"""Latency, throughput, start, memory and fidelity of a bundle in every backend, against two baselines of the same run.

A run is what a user waits for: uint8 frames in NumPy to uint8 frames in NumPy, copies to a GPU and back included.
Each backend and precision lives in its own process. For each size they take turns in rounds; a result that is too
far from PyTorch's float32 is not timed. Of label maps every run takes a new one; where that goes through two stages,
a row beside it has the dense network.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.inputs import sample_inputs
from i2i_rt.benchmarks.measure import Rule, Timing
from i2i_rt.benchmarks.report import Report, Row, Start
from i2i_rt.benchmarks.worker import Worker, WorkerError
from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError, UnsupportedError, closest
from i2i_rt.runtime import backends, machine
from i2i_rt.runtime.backends import BACKENDS, PRECISIONS, REMOTE
from i2i_rt.runtime.gates import GATES_DB

BASELINES = (("torch", "fp32"), ("onnxruntime", "fp32"))


@dataclass(frozen=True)
class Case:
    """One shape of input."""

    height: int
    width: int
    batch: int

    @property
    def pixels(self) -> int:
        return self.height * self.width * self.batch


@dataclass
class _Candidate:
    """A worker, what is known of its start, and the row of the present case with its samples, a list a round."""

    worker: Worker
    opened: tuple[float, float]
    first_run_s: float | None = None
    row: Row | None = None
    rounds: list[list[float]] = field(default_factory=list)


def measure(
    bundle: Bundle,
    *,
    variants: Sequence[tuple[str, str]],
    cases: Sequence[Case],
    rule: Rule,
    threads: int | None = None,
    build: bool = True,
    fused: backends.Fused = "auto",
    server: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Report:
    """Measures `(backend, precision)` variants and the baselines; what cannot run becomes a row with the reason.

    Raises:
        UnsupportedError: where nothing can run.
    """
    stamp = environment(bundle=bundle, threads=threads)
    if "translate" not in bundle.stages:
        raise UnsupportedError(f"{bundle.path} translates nothing; it has the stages {', '.join(bundle.stages)}")
    note, fixed = "", bundle.stages["translate"].fixed_size
    if fixed is not None:
        cases = list(dict.fromkeys(replace(case, height=fixed[0], width=fixed[1]) for case in cases))
        note = f"; at {fixed[0]}x{fixed[1]}, the model's only size"
    cases = sorted(cases, key=lambda case: case.pixels)  # so that the peak of memory so far is that of this case
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        candidates: list[_Candidate] = []
        for name, precision in dict.fromkeys((*BASELINES, *variants)):
            try:
                address = server if name == REMOTE.name else None
                choice = replace(backends.choose(bundle, name, precision, server=address), build=build, fused=fused)
                progress(f"{name} {precision}: opening in a new process")
                worker = stack.enter_context(Worker(bundle.path, choice, threads))
                candidates.append(_Candidate(worker, worker.open()))
                if worker.is_split():
                    worker = stack.enter_context(Worker(bundle.path, choice, threads, dense=True))
                    candidates.append(_Candidate(worker, worker.open()))
            except I2IError as error:
                rows.append(Row("translate", name, precision, 0, 0, 0, note=str(error)))
        if not candidates:
            raise UnsupportedError(f"nothing can run {bundle.path} here: {rows[0].note}; see 'i2i-rt doctor'")
        for number, case in enumerate(cases, 1):
            rows += _measure_case(bundle, candidates, case, rule, partial(_say, progress, f"{number} of {len(cases)}"))
        starts = dict(_starts(candidates, progress))
    rows = [replace(row, start=starts.get((row.name, row.precision))) for row in rows]
    return Report(
        f"Latency of {bundle.path.resolve().name} ({bundle.system})",
        f"{rule}{note}",
        stamp,
        tuple(_marked(bundle, rows)),
    )


def _say(progress: Callable[[str], None], place: str, line: str) -> None:
    progress(f"{place}: {line}")


def variants(bundle: Bundle, backend: str, precision: str, server: str | None = None) -> list[tuple[str, str]]:
    """Gives the pairs that two options name: "all" or comma-separated names; a backend may be "auto".

    "all" leaves out float16 in PyTorch on the CPU, which is there for GPUs only, and has a server where one is named.

    Raises:
        UnsupportedError: where a name is unknown, or no named backend computes in a named precision.
    """
    wanted = PRECISIONS if precision == "all" else tuple(precision.split(","))
    for name in wanted:
        if name not in PRECISIONS:
            raise UnsupportedError(f"no precision is called {name!r}; {closest(name, [*PRECISIONS, 'all'])}")
    found: list[tuple[str, str]] = []
    every = [*BACKENDS, *([REMOTE.name] if server else [])]
    for name in every if backend == "all" else backend.split(","):
        if name == REMOTE.name:
            found.append((name, backends.choose(bundle, name, server=server).precision))
        elif name == "auto":
            choices = [backends.choose(bundle, "auto", one) for one in (("auto",) if precision == "all" else wanted)]
            found += [(choice.backend.name, choice.precision) for choice in choices]
        else:
            row = backends.find(name)
            found += [(name, one) for one in wanted if one in row.precisions]
    if not found:
        raise UnsupportedError(f"{backend} does not compute in {precision}: change --precision or --backend")
    if precision == "all" and machine.gpu_name() is None:
        found = [pair for pair in found if pair != ("torch", "fp16")]
    return found


def _measure_case(
    bundle: Bundle, candidates: list[_Candidate], case: Case, rule: Rule, progress: Callable[[str], None]
) -> Iterator[Row]:
    """Gives a row for each candidate; removes those whose process died."""
    inputs = sample_inputs(bundle, case.height, case.width, case.batch)
    expected: np.ndarray | None = None
    timed: list[_Candidate] = []
    for candidate in list(candidates):
        choice = candidate.worker.choice
        row = Row("translate", candidate.worker.name, choice.precision, case.height, case.width, case.batch)
        progress(f"{row.shape}, {row.label} runs for the first time")
        try:
            seconds, translated = candidate.worker.prepare(inputs)
        except WorkerError as error:
            candidates.remove(candidate)
            yield replace(row, note=str(error))
            continue
        if candidate.first_run_s is None:
            candidate.first_run_s = seconds
        else:
            row = replace(row, new_shape_ms=seconds * 1000)
        if (row.name, row.precision) == BASELINES[0]:
            expected = translated
        candidate.row = compared(row, translated, expected)
        candidate.rounds = []
        if candidate.row.wrong:
            yield candidate.row
        else:
            timed.append(candidate)
    for candidate, failure in _take_turns(timed, rule, progress):
        candidates.remove(candidate)
        timed.remove(candidate)
        assert candidate.row is not None
        yield replace(candidate.row, note=str(failure))
    yield from _timed_rows(timed)


def _take_turns(
    timed: list[_Candidate], rule: Rule, progress: Callable[[str], None]
) -> Iterator[tuple[_Candidate, WorkerError]]:
    """Warms all up, then collects their samples a round at a time; gives those that die on the way."""
    for number in range(rule.rounds + 1):
        for candidate in list(timed):
            assert candidate.row is not None
            stage = f"round {number} of {rule.rounds}" if number else "warming up"
            progress(f"{candidate.row.shape}, {candidate.row.label}, {stage}")
            try:
                if number == 0:
                    candidate.worker.warm_up(rule)
                else:
                    candidate.rounds.append(candidate.worker.turn(rule))
            except WorkerError as error:
                yield candidate, error


def _timed_rows(timed: list[_Candidate]) -> Iterator[Row]:
    timings = [Timing.of(candidate.rounds) for candidate in timed]
    rows = [candidate.row for candidate in timed if candidate.row is not None]
    medians = {(row.name, row.precision): timing.p50_ms for row, timing in zip(rows, timings, strict=True)}
    for candidate, row, timing in zip(timed, rows, timings, strict=True):
        resident, device = candidate.worker.memory_mib()
        ratios = {" ".join(pair): medians[pair] / timing.p50_ms for pair in BASELINES if pair in medians}
        dense = medians.get((f"{row.name} dense", row.precision))
        if dense is not None:
            ratios["itself dense"] = dense / timing.p50_ms
        yield replace(
            row,
            timing=timing,
            images_per_s=1000 * row.batch / timing.mean_ms,
            peak_memory_mib=resident,
            device_memory_mib=device,
            ratios=ratios,
        )


def compared(row: Row, translated: np.ndarray, expected: np.ndarray | None) -> Row:
    """Adds how far a result is from PyTorch's float32."""
    if expected is None:
        return replace(row, note="not compared with PyTorch float32, which cannot run here")
    difference = translated.astype(np.float64) - expected
    # the worst picture of a batch: a mean would hide a wrong second one behind a right first one
    error = float(np.square(difference).mean(axis=(1, 2, 3)).max())
    psnr = None if error == 0 else 10 * math.log10(255**2 / error)
    row = replace(row, psnr_db=psnr, largest_difference=int(np.abs(difference).max()))
    if psnr is not None and psnr < GATES_DB[row.precision]:
        return replace(
            row, wrong=True, note=f"wrong, so not timed: {psnr:.1f} dB, the gate is {GATES_DB[row.precision]:g} dB"
        )
    return row


def _starts(candidates: list[_Candidate], progress: Callable[[str], None]) -> Iterator[tuple[tuple[str, str], Start]]:
    """Opens a second session in each process; last, because two sessions would count as the peak of memory."""
    for candidate in candidates:
        if candidate.first_run_s is None:
            continue
        progress(f"{candidate.worker.name} {candidate.worker.choice.precision}: opening a second session")
        with contextlib.suppress(WorkerError):
            reopen_s, run_s = candidate.worker.reopen()
            import_s, open_s = candidate.opened
            start = Start(import_s, open_s, candidate.first_run_s * 1000, reopen_s, run_s * 1000)
            yield (candidate.worker.name, candidate.worker.choice.precision), start


def _marked(bundle: Bundle, rows: list[Row]) -> Iterator[Row]:
    """Marks what `auto` takes."""
    try:
        chosen = backends.choose(bundle)
    except I2IError:
        chosen = None
    for row in rows:
        if chosen and (row.name, row.precision) == (chosen.backend.name, chosen.precision) and row.timing is not None:
            note = f"what --backend auto takes; {row.note}" if row.note else "what --backend auto takes"
            yield replace(row, note=note)
        else:
            yield row
