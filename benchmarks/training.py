"""A training step of CycleGAN, CUT and FastCUT side by side: time and memory, as table 3.6 of Park's thesis has them.

  python -m i2i_rt.benchmarks.training --size 256 --width 64 -o results/
  python -m i2i_rt.benchmarks.training --size 128 --width 32 --steps 20 --threads 1

The thesis compares objectives on one architecture, so CUT and FastCUT run here with CycleGAN's networks. Further rows
are the two as they are trained by default, with low-pass filters, which cost more than the plain convolutions. Every
system lives in a process of its own; they take turns, a step at a time. Exit code 1: a target was missed.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.measure import Timing, current_memory_mib, peak_memory_mib
from i2i_rt.benchmarks.report import Report, Row, markdown_table

BASELINE = "cyclegan"


@dataclass(frozen=True)
class Case:
    """A system with or without low-pass filters; what the thesis measured, and what is to be reached."""

    name: str
    system: str
    antialias: bool = False
    thesis: tuple[float, float] | None = None  # share of CycleGAN's time and memory, table 3.6
    targets: tuple[float, float] | None = None


CASES = (
    Case(BASELINE, "cyclegan"),
    Case("cut", "cut", thesis=(0.60, 0.69), targets=(0.65, 0.75)),
    Case("fastcut", "fastcut", thesis=(0.375, 0.47), targets=(0.45, 0.75)),
    Case("cut, low-pass", "cut", antialias=True),
    Case("fastcut, low-pass", "fastcut", antialias=True),
)


@dataclass(frozen=True)
class Setting:
    """What all systems share."""

    size: int
    width: int
    blocks: int
    batch: int
    steps: int
    precision: str
    threads: int | None


@dataclass(frozen=True)
class Measured:
    """A system's steps in seconds, by the wall clock and in CPU time, and the memory that training took."""

    case: Case
    wall_s: list[float]
    cpu_s: list[float]
    memory_mib: float | None


def measure(setting: Setting, progress: Callable[[str], None] = lambda line: None) -> list[Measured]:
    """Runs every case, interleaved; two steps each do not count."""
    workers: list[Worker] = []
    try:
        for case in CASES:
            progress(f"building {case.name}")
            workers.append(Worker(case, setting))
            for _ in range(2):
                workers[-1].step()
        samples: list[list[tuple[float, float]]] = [[] for _ in workers]
        for number in range(setting.steps):
            progress(f"step {number + 1} of {setting.steps}")
            # every other round runs backwards, so that a drift of the machine's speed hits all alike
            order = range(len(workers)) if number % 2 == 0 else reversed(range(len(workers)))
            for index in order:
                samples[index].append(workers[index].step())
        return [
            Measured(case, [wall for wall, _ in steps], [cpu for _, cpu in steps], worker.memory_mib())
            for case, steps, worker in zip(CASES, samples, workers, strict=True)
        ]
    finally:
        for worker in workers:
            worker.close()


class Worker:
    """Trains one system in a new process, a step when asked."""

    def __init__(self, case: Case, setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit what the parent has in memory
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, case, setting), daemon=True)
        self._process.start()
        theirs.close()

    def step(self) -> tuple[float, float]:
        """Gives the seconds of one step: wall clock and CPU time."""
        return self._ask("step")  # type: ignore[no-any-return]

    def memory_mib(self) -> float | None:
        """Gives the most memory that weights, optimisers and steps took together."""
        return self._ask("memory")  # type: ignore[no-any-return]

    def _ask(self, command: str) -> Any:
        self._connection.send(command)
        return self._connection.recv()

    def close(self) -> None:
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()


def _serve(connection: Connection, case: Case, setting: Setting) -> None:
    import torch

    from i2i_rt.systems.base import Batch
    from i2i_rt.training.feeder import to_batch
    from i2i_rt.training.processes import Processes
    from i2i_rt.training.trainer import Trainer

    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # libraries load and threads start with the first convolution, whatever the system
    torch.conv2d(torch.zeros(1, 1, 8, 8, device=device), torch.zeros(1, 1, 3, 3, device=device))
    before = current_memory_mib()
    trainer = Trainer(_options(case, setting), Processes(0, 1, device))
    generator = np.random.default_rng(0)
    shape = (setting.batch, setting.size, setting.size, 3)
    while True:
        try:
            command = connection.recv()
        except EOFError:
            return
        if command == "memory":
            peak = peak_memory_mib()
            if device.type == "cuda":
                connection.send(torch.cuda.max_memory_allocated() / 2**20)
            else:
                connection.send(None if peak is None or before is None else peak - before)
            continue
        crops = (generator.integers(0, 256, shape, np.uint8), generator.integers(0, 256, shape, np.uint8))
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.train(to_batch(Batch, crops, device), epoch=0)
        if device.type == "cuda":
            torch.cuda.synchronize()
        connection.send((time.perf_counter() - wall, time.process_time() - cpu))


def _options(case: Case, setting: Setting) -> Any:
    from i2i_rt.training.options import TrainingOptions

    return TrainingOptions(
        system=case.system,
        data="",
        epochs=1,
        decay_epochs=0,
        batch=setting.batch,
        load_size=setting.size,
        crop_size=setting.size,
        learning_rate=2e-4,
        width=setting.width,
        blocks=setting.blocks,
        discriminator_width=setting.width,
        antialias=case.antialias,
        precision=setting.precision,  # type: ignore[arg-type]
    )


def comparison(results: list[Measured]) -> list[list[str]]:
    """Gives the shares of CycleGAN's time and memory beside the thesis's, as text with a header."""
    lines = [["system", "time", "thesis", "target", "", "CPU time", "memory", "thesis", "target", ""]]
    base = results[0]
    for one in results[1:]:
        time_share, memory_share = shares(one, base)
        thesis, targets = one.case.thesis, one.case.targets
        lines.append(
            [
                one.case.name,
                f"{time_share:.3f}",
                f"{thesis[0]:.3f}" if thesis else "",
                f"{targets[0]:.2f}" if targets else "",
                _mark(time_share, targets and targets[0]),
                f"{np.median(one.cpu_s) / np.median(base.cpu_s):.3f}",
                "" if memory_share is None else f"{memory_share:.3f}",
                f"{thesis[1]:.2f}" if thesis else "",
                f"{targets[1]:.2f}" if targets else "",
                _mark(memory_share, targets and targets[1]),
            ]
        )
    return lines


def shares(one: Measured, base: Measured) -> tuple[float, float | None]:
    """Gives median time and memory as shares of the baseline's."""
    memory = None if one.memory_mib is None or not base.memory_mib else one.memory_mib / base.memory_mib
    return float(np.median(one.wall_s) / np.median(base.wall_s)), memory


def _mark(share: float | None, target: float | None) -> str:
    if share is None or target is None:
        return ""
    return "[✓]" if share <= target else "[x]"


def report_of(setting: Setting, results: list[Measured], stamp: dict[str, Any]) -> Report:
    base = results[0]
    rows = tuple(
        Row(
            case="training step",
            name=one.case.name,
            precision=setting.precision,
            height=setting.size,
            width=setting.size,
            batch=setting.batch,
            timing=Timing.of([[second] for second in one.wall_s]),
            images_per_s=setting.batch / float(np.median(one.wall_s)),
            peak_memory_mib=one.memory_mib,
            ratios={BASELINE: float(np.median(base.wall_s) / np.median(one.wall_s))},
            note="peak MiB counts what training took: weights, optimisers and a step, without Python and libraries",
        )
        for one in results
    )
    figures: dict[str, float | str] = {}
    for one in results[1:]:
        for place, (what, share) in enumerate(zip(("time", "memory"), shares(one, base), strict=True)):
            known = ""
            if one.case.thesis is not None and one.case.targets is not None:
                target = one.case.targets[place]
                known = f" (thesis {one.case.thesis[place]}, target {target}) {_mark(share, target)}"
            figures[f"{one.case.name}, share of CycleGAN's {what}"] = (
                "unknown" if share is None else f"{share:.3f}{known}"
            )
    rule = (
        f"{setting.steps} steps of each system, interleaved one by one, after 2 of warm-up; width {setting.width}, "
        f"{setting.blocks} blocks"
    )
    return Report("A training step beside CycleGAN's", rule, stamp, rows, figures)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", type=int, default=256, help="pixels of a crop (default: 256)")
    parser.add_argument("--width", type=int, default=64, help="channels of generator and discriminator (default: 64)")
    parser.add_argument("--blocks", type=int, default=9, help="residual blocks (default: 9)")
    parser.add_argument("--batch", type=int, default=1, help="images a step (default: 1)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each system (default: 10)")
    parser.add_argument("--precision", default="fp32", help="fp32 or bf16 (default: fp32)")
    parser.add_argument("--threads", type=int, help="CPU threads to compute with (default: PyTorch's own choice)")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-training"), help="folder for the results")
    arguments = vars(parser.parse_args(words))
    folder: Path = arguments.pop("output")
    setting = Setting(**arguments)
    stamp = environment(threads=setting.threads)
    results = measure(setting, lambda line: print(line, file=sys.stderr))
    files = report_of(setting, results, stamp).write(folder, "training")
    for one in results:
        wall = np.asarray(one.wall_s) * 1000
        memory = "" if one.memory_mib is None else f"{one.memory_mib:7.0f} MiB"
        print(f"{one.case.name:18} {np.median(wall):8.0f} ms  p90 {np.percentile(wall, 90):8.0f} ms  {memory}")
    lines = comparison(results)
    print(f"\nshares of CycleGAN's time and memory:\n\n{markdown_table(lines)}\n\nwrote {files[0]}, {files[1]}")
    return 1 if any("[x]" in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
