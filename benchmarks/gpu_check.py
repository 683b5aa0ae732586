"""All that only a GPU can tell, in one run: the GPU's tests, whole translations, and every fused operator.

    make gpu-check
    python -m i2i_rt.benchmarks.gpu_check --minutes 8 -o benchmarks/results

Writes gpu-check.json, .md and .png, and kernels.json and .md. What takes longest, code that torch.compile makes for
comparison, is left out where the minutes are over; the rows say so. Needs PyTorch and Triton, no bundle and no data;
tests run where pytest is installed. Exit code 1: a test failed, or a result was wrong; 2: there is no GPU.
"""

import argparse
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from i2i_rt.benchmarks import end_to_end, kernels
from i2i_rt.benchmarks.end_to_end import GOALS, Goal
from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.gpu import GPU_FULL, GPU_QUICK, Clock, Variant, graph_clock, measured_rates, require_gpu
from i2i_rt.benchmarks.kernel_cases import CASES, Case
from i2i_rt.benchmarks.measure import Rule
from i2i_rt.benchmarks.report import Report
from i2i_rt.errors import I2IError
from i2i_rt.kernels import fused
from i2i_rt.runtime.torch_device import prepare

ROOT = Path(__file__).parents[1]
NO_TESTS = 5  # pytest's exit code where the selection is empty
# shares of the time after which nothing more of a part begins
TESTS, TRANSLATIONS, OPERATORS = 0.3, 0.75, 0.95


class Budget:
    """How much of the time is over."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._seconds, self._start = clock, 60 * minutes, clock()

    def left_s(self, share: float) -> float:
        """Gives the seconds until a share of the time is over; 0 after that."""
        return max(0.0, share * self._seconds - (self._clock() - self._start))

    def over(self, share: float) -> Callable[[], bool]:
        return lambda: self.left_s(share) == 0


def run_tests(budget: Budget, root: Path = ROOT) -> tuple[str, bool]:
    """Runs the tests of a checkout that need a GPU, and those of the kernels on it; gives what came out, and if well.

    What compiles ahead of time says the same on any machine, and is left out.
    """
    if importlib.util.find_spec("pytest") is None or not (root / "tests").is_dir():
        return "not run: there is no pytest, or no folder with tests", True
    marked = [str(file) for file in sorted((root / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text()]
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    kernels_alone = ["-m", "not gpu", "-k", "not compiled and not nvcc and not spills", "tests/kernels"]
    told: list[str] = []
    passed = True
    for selection in (["-m", "gpu", "--continue-on-collection-errors", *marked], kernels_alone):
        if selection[-1].startswith("-"):  # no file has such tests
            continue
        try:
            result = subprocess.run(
                [*pytest, *selection],
                cwd=root,
                capture_output=True,
                text=True,
                timeout=budget.left_s(TESTS),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "; ".join([*told, "stopped: they took too long"]), False
        lines = result.stdout.strip().splitlines() or result.stderr.strip().splitlines() or ["no output"]
        told += [lines[-1].strip("= "), *(line for line in lines if line.startswith(("FAILED", "ERROR")))]
        passed &= result.returncode in (0, NO_TESTS)
    return "; ".join(told), passed


def check(
    device: torch.device,
    clock: Clock,
    folder: Path,
    budget: Budget,
    rule: Rule = GPU_FULL,
    *,
    tests: Callable[[Budget], tuple[str, bool]] = run_tests,
    goals: Sequence[Goal] = GOALS,
    cases: Sequence[Case] = CASES,
    batches: Sequence[int] = end_to_end.BATCHES,
    network_variants: Sequence[Variant] = end_to_end.VARIANTS,
    kernel_variants: Sequence[Variant] = kernels.VARIANTS,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[bool, list[Path], str]:
    """Runs everything; gives whether all was right, the files that were written, and a summary."""
    stamp = environment()
    prepare(end_to_end.PRECISION, None)
    progress("tests of every kernel")
    problems = fused.trust(device)
    progress("the GPU's tests")
    told, passed = tests(budget)
    progress("the rates of memory and matrix units")
    rates = measured_rates(clock, device) if device.type == "cuda" else measured_rates(clock, device, copied=64, side=4)
    rows = end_to_end.measure(
        device,
        clock,
        rule,
        rates,
        goals=goals,
        batches=batches,
        variants=network_variants,
        progress=progress,
        out_of_time=budget.over(TRANSLATIONS),
    )
    report = Report(
        "Translations on a GPU",
        f"{rule}, in CUDA graphs, from frames on the GPU to frames there; the floor is at the rates below",
        stamp,
        tuple(rows),
        {
            **end_to_end.figures(rows, goals),
            "matrix product, TFLOP/s": rates.tflops,
            "copy, TB/s": rates.terabytes,
            "kernels that are not used": "; ".join(f"{name}: {why}" for name, why in problems.items()) or "none",
            "tests": told,
        },
    )
    files = list(report.write(folder, "gpu-check"))
    if importlib.util.find_spec("matplotlib") is not None and any(row.timing for row in rows):
        from i2i_rt.benchmarks.plot import plot

        files.append(folder / "gpu-check.png")
        plot(report, files[-1])
    operators = kernels.measure(
        device,
        clock,
        rule,
        cases=cases,
        variants=kernel_variants,
        rates=rates,
        progress=progress,
        out_of_time=budget.over(OPERATORS),
    )
    files += operators.write(folder)
    wrong = any(row.wrong for row in rows) or any(row.note.startswith("wrong") for row in operators.rows)
    missing = "ModuleNotFoundError"  # an optional package: nothing is wrong
    broken = any(not why.startswith(missing) for why in problems.values())
    return passed and not broken and not wrong, files, report.markdown() + "\n" + operators.markdown()


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=8, help="after which no more baselines are compiled")
    parser.add_argument("--quick", action="store_true", help="fewer runs; the output says that it was quick")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results"), help="folder for the results")
    arguments = parser.parse_args(words)
    try:
        device = require_gpu()
    except I2IError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    budget = Budget(arguments.minutes)
    started = time.monotonic()

    def progress(line: str) -> None:
        print(f"[{time.monotonic() - started:4.0f} s] {line}", file=sys.stderr, flush=True)

    rule = GPU_QUICK if arguments.quick else GPU_FULL
    right, files, summary = check(device, graph_clock, arguments.output, budget, rule, progress=progress)
    print(summary)
    print(f"wrote {', '.join(map(str, files))} in {(time.monotonic() - started) / 60:.1f} minutes")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
