"""Every fused operator on this GPU: its time, how close it is to the GPU's own limits, and what others need for it.

    i2i-rt bench kernels
    i2i-rt bench kernels --quick -o somewhere/
    i2i-rt bench kernels --plan            # operators, shapes, bytes and columns; no GPU is needed

Calls are recorded in CUDA graphs, with inputs in turn from more memory than the L2 cache has, and timed by events.
Beside each stand plain PyTorch, torch.compile as it comes and in its fair best form and, where it is installed,
TensorRT. A result is compared with PyTorch's in float32 first; a wrong one has no time. Bandwidth is told only where a
call moves more than twice what L2 holds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.gpu import (
    BEST,
    COMPILED,
    EAGER,
    OURS,
    Clock,
    Sample,
    Variant,
    first_line,
    free,
    l2_bytes,
    measured_rates,
    take_turns,
    tensor_bytes,
)
from i2i_rt.benchmarks.kernel_cases import CASES, Arguments, Case
from i2i_rt.benchmarks.measure import Rule, Timing
from i2i_rt.benchmarks.report import markdown_table, write_files
from i2i_rt.benchmarks.roofline import Rates
from i2i_rt.benchmarks.tensorrt_operator import TENSORRT
from i2i_rt.kernels import fused
from i2i_rt.kernels.fused import TOLERANCES, relative_error

VARIANTS = (OURS, EAGER, COMPILED, BEST, TENSORRT)
MOST_INPUTS = 512  # that take turns
MOST_BYTES = 8 << 30  # of all inputs of a case


@dataclass(frozen=True)
class KernelRow:
    """An operator at a shape; without a timing, `note` says why."""

    operator: str
    place: str
    moved: int  # bytes
    macs: int
    timing: Timing | None = None
    in_l2: bool = False  # what it moves is less than twice what L2 holds
    bandwidth_share: float | None = None  # of the copy's; None in L2
    product_share: float | None = None  # of the matrix product's rate
    ratios: Mapping[str, float] = field(default_factory=dict)  # variant -> its time / this time
    error: float | None = None  # relative, against float32
    note: str = ""


@dataclass(frozen=True)
class KernelReport:
    rule: str
    environment: Mapping[str, Any]
    rates: Rates
    rows: tuple[KernelRow, ...]
    columns: tuple[str, ...]  # what each was compared with
    missing: Mapping[str, str] = field(default_factory=dict)  # column -> why nothing was measured for it here

    def write(self, folder: Path, name: str = "kernels") -> tuple[Path, Path]:
        """Writes `<name>.json` and `<name>.md`; gives their paths."""
        return write_files(folder, name, asdict(self), self.markdown())

    def markdown(self) -> str:
        parts = [
            "# Fused operators in bf16, channels last",
            f"Measured {self.rule}. Times are the GPU's, of calls in CUDA graphs; no outlier is left out. "
            f"In this run a copy moved {self.rates.terabytes:.2f} TB/s, and a matrix product did "
            f"{self.rates.tflops:.0f} TFLOP/s.",
            markdown_table(table(self.rows, self.columns)),
        ]
        notes = [f"- {line}" for line in self.notes()]
        parts += ["\n".join(notes)] if notes else []
        stamp = [["", ""], *([name, str(value)] for name, value in self.environment.items())]
        return "\n\n".join([*parts, "## Machine", markdown_table(stamp)]) + "\n"

    def notes(self) -> list[str]:
        """Says what is missing in the table, and why."""
        columns = [f"{name}: not measured: {why}" for name, why in self.missing.items()]
        return [*columns, *(f"{row.operator}, {row.place}: {row.note}" for row in self.rows if row.note)]


def table(rows: Sequence[KernelRow], names: Sequence[str]) -> list[list[str]]:
    """Gives the rows as text with a header; `names` are those of what was compared."""
    lines = [
        ["operator", "where", "us", "MB", "TB/s", "of the copy", "of the product", *(f"x {name}" for name in names)]
    ]
    for row in rows:
        seconds = None if row.timing is None else row.timing.p50_ms / 1000
        told = seconds is not None and not row.in_l2
        lines.append(
            [
                row.operator,
                row.place,
                "" if seconds is None else f"{seconds * 1e6:.1f}",
                f"{row.moved / 1e6:.1f}",
                f"{row.moved / seconds / 1e12:.2f}" if seconds and told else "in L2" if row.in_l2 else "",
                "" if row.bandwidth_share is None else f"{row.bandwidth_share:.0%}",
                "" if row.product_share is None else f"{row.product_share:.0%}",
                *(f"{row.ratios[name]:.2f}" if name in row.ratios else "-" for name in names),
            ]
        )
    return lines


def plan(rates: Rates, cases: Sequence[Case] = CASES) -> list[list[str]]:
    """Gives what would be measured, as text with a header: bytes, products, and the least time at some rates."""
    lines = [["operator", "where", "MB", "GMAC", "least us", "bound by"]]
    for case in cases:
        memory, products = case.moved / (rates.terabytes * 1e12), 2 * case.macs / (rates.tflops * 1e12)
        bound = "products" if products > memory else "memory"
        least = f"{max(memory, products) * 1e6:.1f}"
        macs = f"{case.macs / 1e9:.1f}" if case.macs else ""
        lines.append([case.operator, case.place, f"{case.moved / 1e6:.1f}", macs, least, bound])
    return lines


def measure(
    device: torch.device,
    clock: Clock,
    rule: Rule,
    *,
    cases: Sequence[Case] = CASES,
    variants: Sequence[Variant] = VARIANTS,
    dtype: torch.dtype = torch.bfloat16,
    rates: Rates | None = None,
    progress: Callable[[str], None] = lambda line: None,
    out_of_time: Callable[[], bool] = lambda: False,
) -> KernelReport:
    """Measures the operators; `out_of_time` is asked before each compiled variant, which can take a minute."""
    stamp = environment()
    problems = fused.trust(device)
    missing = {variant.name: why for variant in variants if (why := variant.problem(dtype)) is not None}
    columns = tuple(variant.name for variant in variants[1:])
    variants = [variant for variant in variants if variant.name not in missing]
    rates = rates or measured_rates(clock, device)
    rows = []
    for number, case in enumerate(cases, 1):
        progress(f"{number} of {len(cases)}: {case.label}")
        rows.append(_row(case, device, clock, rule, variants, dtype, rates, problems.get(case.operator), out_of_time))
        free()
    return KernelReport(str(rule), stamp, rates, tuple(rows), columns, missing)


def _row(
    case: Case,
    device: torch.device,
    clock: Clock,
    rule: Rule,
    variants: Sequence[Variant],
    dtype: torch.dtype,
    rates: Rates,
    problem: str | None,
    out_of_time: Callable[[], bool],
) -> KernelRow:
    row = KernelRow(case.operator, case.place, case.moved, case.macs)
    if problem is not None:
        return replace(row, note=f"the kernel is not used here: {problem}")
    torch.manual_seed(0)
    try:
        first = case.make(device, dtype)
        error = _error(case, first, OURS.prepared(case.run)(*first))
        row = replace(row, error=error)
        if not error <= TOLERANCES[dtype]:
            return replace(row, note=f"wrong: its relative error is {error:.1e}; {TOLERANCES[dtype]:.0e} is allowed")
        inputs = _inputs(case, first, device, dtype)
        samples, notes = _samples(case, inputs, clock, variants, TOLERANCES[dtype], out_of_time)
        timings = take_turns(samples, rule)
    except (RuntimeError, ImportError) as error:  # out of memory, or what a compiler or driver says in its own way
        return replace(row, note=first_line(error))
    return _finished(replace(row, note="; ".join(notes)), timings, rates, l2_bytes(device))


def _error(case: Case, arguments: Arguments, actual: Tensor) -> float:
    """Compares a result with plain PyTorch's on the same values in float32."""
    expected = EAGER.prepared(case.run)(*map(_widened, arguments))
    return relative_error(actual, expected)


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    return torch.float32 if isinstance(value, torch.dtype) else value


def _inputs(case: Case, first: Arguments, device: torch.device, dtype: torch.dtype) -> list[Arguments]:
    """Gives as many inputs as it takes for none to be left in L2 when its turn comes again."""
    size = max(tensor_bytes(first), 1)
    wanted = min(math.ceil(3 * l2_bytes(device) / size) + 1, MOST_INPUTS, max(1, MOST_BYTES // size))
    return [first, *(case.make(device, dtype) for _ in range(wanted - 1))]


def _samples(
    case: Case,
    inputs: Sequence[Arguments],
    clock: Clock,
    variants: Sequence[Variant],
    tolerance: float,
    out_of_time: Callable[[], bool],
) -> tuple[dict[str, Sample], list[str]]:
    """Gives what samples each variant, and why others cannot be; the first variant must be possible."""
    samples: dict[str, Sample] = {}
    notes = []
    for variant in variants:
        if variant.slow and out_of_time():
            notes.append(f"no time was left for {variant.name}")
            continue
        function = case.by_hand if variant.by_hand and case.by_hand is not None else case.run
        try:
            calls = variant.calls(function, inputs, case.weights)
            error = _error(case, inputs[0], calls[0]()) if variant.foreign else 0.0
            if not error <= tolerance:
                notes.append(f"{variant.name} is wrong: its relative error is {error:.1e}; {tolerance:.0e} is allowed")
                continue
            samples[variant.name] = clock(calls)
        except Exception as error:  # a compiler fails in its own ways, and is only a baseline
            if variant is variants[0]:
                raise
            notes.append(f"{variant.name} fails: {first_line(error)}")
    return samples, notes


def _finished(row: KernelRow, timings: Mapping[str, Timing], rates: Rates, l2: int) -> KernelRow:
    own, *others = timings
    timing = timings[own]
    seconds = timing.p50_ms / 1000
    in_l2 = row.moved < 2 * l2
    bandwidth = row.moved / seconds / (rates.terabytes * 1e12)
    product = 2 * row.macs / seconds / (rates.tflops * 1e12)
    memory_bound = row.moved / rates.terabytes > 2 * row.macs / rates.tflops
    return replace(
        row,
        timing=timing,
        in_l2=in_l2,
        bandwidth_share=bandwidth if memory_bound and not in_l2 else None,
        product_share=product if not memory_bound else None,
        ratios={name: timings[name].p50_ms / timing.p50_ms for name in others},
    )
