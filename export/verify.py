"""The proof that an artifact gives the network's pictures: figures against PyTorch float32 on real images, and a gate.

Every artifact is run in every precision that this machine computes, on photographs at 256x256, at an odd size and at
one that is not square, alone and two at a time. Batches and odd sizes are where exports go wrong in silence. Pictures
are compared by PSNR; codes, such as those of a style, by their error relative to the largest value of the code.
"""

import dataclasses
import datetime
import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError, MediaError, UnsupportedError
from i2i_rt.export.probe import open_probe
from i2i_rt.export.trial import Inputs, Trial
from i2i_rt.runtime import backends
from i2i_rt.runtime.backends import BACKENDS, Choice
from i2i_rt.runtime.gates import GATES_DB, GATES_ERROR
from i2i_rt.runtime.machine import machine_name
from i2i_rt.runtime.session import Session, padded
from i2i_rt.spec import StageSpec

Outputs = dict[str, np.ndarray]
Probe = Callable[[Inputs], int]

SIZES = ((256, 256), (203, 251), (192, 320))  # (height, width): the usual one, odd, not square
BATCHES = (1, 2)


@dataclass(frozen=True)
class Case:
    """How one run of an artifact compares with PyTorch float32; levels are those of 8 bits.

    Of a stage that gives codes or label maps instead of pictures, only `relative_error` and `non_finite` say something.
    """

    height: int
    width: int
    batch: int
    relative_error: float | None = None  # of codes; of label maps, the share of pixels that differ
    psnr_db: float | None = None  # None: the pictures are equal
    ssim: float = 1.0
    largest_difference: int = 0
    colour_shift: float = 0.0  # the largest shift of a channel's mean
    non_finite: int = 0  # NaN and infinite values before the clamp


@dataclass(frozen=True)
class Record:
    """One artifact in one backend and precision: the worst of its cases, and its time at 256x256."""

    backend: str
    precision: str
    stage: str
    file: str
    artifact_sha256: str
    weights_sha256: str
    relative_error: float | None
    psnr_db: float | None
    ssim: float
    largest_difference: int
    colour_shift: float
    non_finite: int
    gate_db: float
    gate_error: float
    passed: bool
    median_ms: float
    machine: str
    date: str
    cases: tuple[Case, ...]
    remark: str = ""  # where half precision is below its gate: which layer broke


def verify(
    bundle: Bundle,
    *,
    images: Sequence[np.ndarray] | None = None,
    gates_db: dict[str, float] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[Record]:
    """Compares every artifact with the network and stores the records in the bundle.

    Args:
        bundle: with artifacts.
        images: at least two RGB photographs `[H, W, 3]`, uint8; by default those that come with scikit-image.
        gates_db: the smallest PSNR that passes, by precision; by default `GATES_DB`.
        report: is told of each step.

    Raises:
        UnsupportedError: where the bundle has no artifact that this machine can run.
        I2IError: where an artifact in 8 bits was calibrated on one of the photographs.
    """
    choices = list(_runnable(bundle, report))
    if not choices:
        raise UnsupportedError(
            f"{bundle.path} has no artifact that this machine can run; run 'i2i-rt export {bundle.path}' first"
        )
    photographs = list(images) if images is not None else sample_photographs()
    for artifact in bundle.artifacts():
        if artifact.quantization is not None:
            check_apart(artifact.quantization.pictures, photographs, f"those that {artifact.file} was calibrated on")
    sessions = [backends.open_session(bundle, choice) for choice in choices]
    report("running the PyTorch network in float32")
    with backends.open_session(bundle, Choice(BACKENDS["torch"], "fp32", "")) as reference:
        tried = {
            stage: trials(bundle, stage, Trial(bundle, reference, photographs), reference, sessions)
            for stage in bundle.stages
        }
    loaded: list[tuple[Session, Inputs, Record]] = []
    for choice, session in zip(choices, sessions, strict=True):
        report(f"running {choice.backend.name} in {choice.precision}")
        gate = (gates_db or GATES_DB)[choice.precision]
        for stage, pairs in tried.items():
            if backends.find_artifact(bundle, choice.backend, choice.precision, stage) is None:
                continue
            probe = open_probe(bundle, choice, stage) if gives_pictures(bundle.stages[stage]) else None
            taken = [(inputs, answer) for inputs, answer in pairs if session.takes(stage, inputs)]
            cases = tuple(
                compare(bundle.stages[stage], inputs, answer, session.run(stage, inputs), probe)
                for inputs, answer in taken
            )
            record = _record(bundle, choice, stage, cases, gate)
            if not record.passed and choice.precision in ("fp16", "bf16"):
                report(f"looking for the layer that breaks in {choice.precision}")
                inputs = padded(bundle.stages[stage], taken[_worst_case(cases)][0])
                # here, because they need torch, which those who only take this module's figures may not have
                from i2i_rt.export import broken_layer
                from i2i_rt.stages.table import load_stages

                remark = broken_layer.explain(load_stages(bundle)[stage], inputs, choice.precision)
                record = dataclasses.replace(record, remark=remark)
            loaded.append((session, taken[0][0], record))
    runs = [(session, record.stage, inputs) for session, inputs, record in loaded]
    report("timing at 256x256")
    times = median_ms(runs)
    for session in sessions:
        session.close()
    records = [dataclasses.replace(record, median_ms=ms) for (*_, record), ms in zip(loaded, times, strict=True)]
    bundle.write_verification([dataclasses.asdict(record) for record in records])
    return records


def trials(
    bundle: Bundle, stage: str, trial: Trial, reference: Session, sessions: Sequence[Session] = ()
) -> list[tuple[Inputs, Outputs]]:
    """Gives inputs of each size and batch that a stage takes, with what the network makes of them.

    Sizes that an artifact of the sessions was made for are among them: it may take no other.
    """
    spec = bundle.stages[stage]
    names = {axis.name for tensor in spec.inputs for axis in tensor.axes if axis.size is None}
    sizes = SIZES if names - {"N"} else SIZES[:1]
    batches = BATCHES if "N" in names else BATCHES[:1]
    wanted = [(batch, *size) for size in sizes for batch in batches]
    for session in sessions:
        if backends.find_artifact(bundle, BACKENDS[session.backend], session.precision, stage) is not None:
            wanted += session.made_for(stage) if names - {"N"} else []
    found = []
    for batch, height, width in dict.fromkeys(wanted):
        inputs = trial.inputs(stage, (height, width), batch)
        found.append((inputs, reference.run(stage, inputs)))
    return found


def _runnable(bundle: Bundle, report: Callable[[str], None]) -> Iterator[Choice]:
    """Gives each backend and precision that has an artifact of the present weights and runs here."""
    weights = bundle.weights_sha256()
    for backend in BACKENDS.values():
        for precision in backend.precisions if backend.format else ():
            artifact = backends.find_artifact(bundle, backend, precision)
            if artifact is None:
                continue
            reason = backends.problem(backend, precision)
            if artifact.weights_sha256 != weights:
                reason = "it was exported from other weights; export again"
            elif reason is None:
                reason = backends.artifact_problem(bundle, backend, artifact)
            if reason is None:
                yield Choice(backend, precision, "")
            elif backend.device != "cuda":
                report(f"{artifact.file} is not verified in {backend.name} {precision}: {reason}")


def gives_pictures(spec: StageSpec) -> bool:
    return spec.outputs[0].dtype == "uint8" and len(spec.outputs[0].axes) == 4


def compare(spec: StageSpec, inputs: Inputs, answer: Outputs, actual: Outputs, probe: Probe | None = None) -> Case:
    """Compares what a stage gave with the network's answer; a probe counts what the clamp of pictures hides."""
    lengths = {
        axis.name: length * axis.divisor
        for t in spec.inputs
        for axis, length in zip(t.axes, inputs[t.name].shape, strict=True)
    }
    case = Case(lengths.get("H", 0), lengths.get("W", 0), lengths.get("N", 1))
    if gives_pictures(spec):
        name = spec.outputs[0].name
        case = _compare_pictures(case, answer[name], actual[name])
        return case if probe is None else dataclasses.replace(case, non_finite=probe(inputs))
    return dataclasses.replace(
        case,
        relative_error=max(_relative_error(answer[tensor.name], actual[tensor.name]) for tensor in spec.outputs),
        non_finite=sum(int(np.count_nonzero(~np.isfinite(actual[tensor.name]))) for tensor in spec.outputs),
    )


def _relative_error(answer: np.ndarray, actual: np.ndarray) -> float:
    """Gives the largest error relative to the largest value; of whole numbers, the share that is wrong."""
    if answer.dtype.kind in "iu":
        return float((answer != actual).mean())
    difference = np.abs(actual.astype(np.float64) - answer)
    return float(difference.max() / max(float(np.abs(answer).max()), 1e-12))


def _compare_pictures(case: Case, answer: np.ndarray, actual: np.ndarray) -> Case:
    from skimage.metrics import structural_similarity

    wide, wide_answer = actual.astype(np.float64), answer.astype(np.float64)
    difference = wide - wide_answer
    # per picture, so that a wrong second picture of a batch does not hide behind a right first one
    worst = max(float(np.square(picture).mean()) for picture in difference)
    shift = np.abs(difference.mean(axis=(1, 2))).max()
    window = min(7, *(side - 1 + side % 2 for side in answer.shape[1:3]))
    return dataclasses.replace(
        case,
        psnr_db=None if worst == 0 else round(float(10 * np.log10(255**2 / worst)), 2),
        ssim=round(
            min(
                float(structural_similarity(a, b, channel_axis=2, data_range=255, win_size=window))
                for a, b in zip(answer, actual, strict=True)
            ),
            5,
        ),
        largest_difference=int(np.abs(difference).max()),
        colour_shift=round(float(shift), 3),
    )


def worst(cases: Sequence[Case]) -> tuple[float | None, float | None]:
    """Gives the smallest PSNR in dB and the largest relative error; None where pictures are equal, or of the other."""
    measured = [case.psnr_db for case in cases if case.psnr_db is not None]
    errors = [case.relative_error for case in cases if case.relative_error is not None]
    return min(measured, default=None), max(errors, default=None)


def _worst_case(cases: Sequence[Case]) -> int:
    def badness(case: Case) -> tuple[int, float, float]:
        psnr = float("inf") if case.psnr_db is None else case.psnr_db
        return case.non_finite, -psnr, case.relative_error or 0.0

    return max(range(len(cases)), key=lambda index: badness(cases[index]))


def _record(bundle: Bundle, choice: Choice, stage: str, cases: tuple[Case, ...], gate: float) -> Record:
    artifact = backends.required_artifact(bundle, choice, stage)
    (psnr, error), gate_error = worst(cases), GATES_ERROR[choice.precision]
    non_finite = sum(case.non_finite for case in cases)
    return Record(
        backend=choice.backend.name,
        precision=choice.precision,
        stage=stage,
        file=artifact.file,
        artifact_sha256=artifact.sha256,
        weights_sha256=artifact.weights_sha256,
        relative_error=error,
        psnr_db=psnr,
        ssim=min(case.ssim for case in cases),
        largest_difference=max(case.largest_difference for case in cases),
        colour_shift=max(case.colour_shift for case in cases),
        non_finite=non_finite,
        gate_db=gate,
        gate_error=gate_error,
        passed=(psnr is None or psnr >= gate) and (error is None or error <= gate_error) and non_finite == 0,
        median_ms=0.0,
        machine=machine_name(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        cases=cases,
    )


def median_ms(runs: Sequence[tuple[Session, str, Inputs]], seconds: float = 1.0) -> list[float]:
    """Times stages in turns, at least 5 rounds and about `seconds` for each: what `auto` goes by."""
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds * len(runs)
    while len(times[0]) < 6 or (time.perf_counter() < end and len(times[0]) < 100):
        for (session, stage, inputs), measured in zip(runs, times, strict=True):
            started = time.perf_counter()
            session.run(stage, inputs)
            measured.append((time.perf_counter() - started) * 1e3)
    # the first round pays for shapes that are new
    return [round(statistics.median(measured[1:]), 2) for measured in times]


def sample_photographs() -> list[np.ndarray]:
    """Gives three colour photographs that come with scikit-image, RGB `[H, W, 3]`."""
    from skimage import data

    return [data.astronaut(), data.coffee(), data.chelsea()]


def read_photographs(folder: Path, option: str = "--images") -> list[np.ndarray]:
    """Reads a folder's pictures as RGB; an error names the option that gave the folder.

    Raises:
        MediaError: where there is no such folder, or fewer than two that can be read in it.
    """
    if not folder.is_dir():
        raise MediaError(f"there is no folder {folder}; {option} names one with at least 2 photographs")
    pictures = [cv2.imread(str(file)) for file in sorted(folder.glob("*")) if file.is_file()]
    found = [cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) for picture in pictures if picture is not None]
    if len(found) < 2:
        raise MediaError(f"{option} {folder} has {len(found)} pictures that can be read; give at least 2 photographs")
    return found


def digest(picture: np.ndarray) -> str:
    """Gives what a picture is known by, whatever its file is called."""
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()[:16]


def check_apart(known: Sequence[str], pictures: Sequence[np.ndarray], where: str) -> None:
    """Checks that no picture is among others that are known by their digests.

    Raises:
        I2IError: where one is.
    """
    shared = sum(digest(picture) in known for picture in pictures)
    if shared:
        raise I2IError(
            f"{shared} of the pictures to verify on are among {where}; pictures that ranges were measured on look "
            "better than others: give other ones"
        )


def fidelity(record: Record) -> str:
    """Gives the figure that the gate is about: PSNR of pictures, relative error of codes."""
    if record.relative_error is not None:
        return f"error {record.relative_error:.1e}"
    return "equal" if record.psnr_db is None else f"{record.psnr_db:.1f} dB"


def table(records: Sequence[Record]) -> Any:
    """Gives the records as a table for the terminal."""
    from rich.table import Table

    result = Table(box=None, pad_edge=False, header_style="bold")
    result.add_column("")
    for name in ("backend", "precision", "stage"):
        result.add_column(name)
    for name in ("fidelity", "gate", "SSIM", "largest diff.", "colour shift", "NaN/Inf", "time at 256²"):
        result.add_column(name, justify="right")
    for record in records:
        mark = r"[green]\[✓][/]" if record.passed else r"[red]\[x][/]"
        result.add_row(
            mark,
            record.backend,
            record.precision,
            record.stage,
            fidelity(record),
            f"{record.gate_db:g} dB" if record.relative_error is None else f"{record.gate_error:.0e}",
            *(
                ("", "", "")
                if record.relative_error is not None
                else (
                    f"{record.ssim:.4f}",
                    f"{record.largest_difference} / 255",
                    f"{record.colour_shift:.2f} / 255",
                )
            ),
            str(record.non_finite),
            f"{record.median_ms:.1f} ms",
        )
    return result
