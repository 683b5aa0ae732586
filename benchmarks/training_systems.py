"""How fast every system trains: images a second, memory, the wait for data, and what PyTorch's switches would change.

  python -m i2i_rt.benchmarks.training_systems -o benchmarks/results
  python -m i2i_rt.benchmarks.training_systems --only cyclegan,spade --size 256 --width 64

Each system trains in a process of its own with the sampler, the feeder and the trainer of `i2i-rt train`, on JPEGs
of 286 pixels a side, each of which is decoded for the first time. Then the step runs in turns with channels-last
memory and, with --compile, with networks that torch.compile has made; on a CPU that takes minutes a system. All have
the same crops, widths and batches, which are not those of their papers. The networks of VGG and LPIPS losses have
random weights, which cost as much as any others.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.measure import Timing, current_memory_mib, peak_memory_mib
from i2i_rt.benchmarks.report import markdown_table, write_files
from i2i_rt.benchmarks.training_sets import LABELS, write_set
from i2i_rt.systems.table import SYSTEMS, find
from i2i_rt.training.data import open_sampler
from i2i_rt.training.feeder import Feeder, to_batch
from i2i_rt.training.options import TrainingOptions
from i2i_rt.training.processes import Processes
from i2i_rt.training.recipes import options_of
from i2i_rt.training.sampler import FolderSampler, Sampler
from i2i_rt.training.trainer import Trainer
from i2i_rt.training.triplets import FILE as TRIPLETS
from i2i_rt.training.triplets import measure as measure_triplets

WARMUP_STEPS = 2
LAYOUT, COMPILED = "channels-last", "compiled"
# what a system has to be told to train all of its networks at every step, on the sets that are made here
SETTINGS = {
    "spade": {"labels": str(LABELS), "instances": "false"},
    "tunit": {"separated": "0"},
    "tunit-smoothing": {"separated": "0"},
}


@dataclass(frozen=True)
class Setting:
    """What all systems share."""

    size: int
    width: int
    batch: int
    steps: int
    precision: str
    threads: int | None
    compiled: bool


@dataclass(frozen=True)
class Speed:
    """How fast a system trains."""

    system: str
    parameters: int
    step: Timing
    images_per_s: float
    waited: float  # share of the time in which training waited for data
    memory_mib: float | None  # of weights, optimisers, steps and pictures; without Python and libraries
    ratios: dict[str, float]  # a step's time / its time with a switch, medians of steps that took turns


def measure(setting: Setting, systems: list[str], progress: Callable[[str], None]) -> list[Speed]:
    """Measures one system after another, each in a new process."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for system in systems:
            progress(f"measuring {system}")
            # a fork would inherit what the parent has in memory
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                found.append(process.submit(measure_system, system, setting, Path(folder)).result())
    return found


def measure_system(system: str, setting: Setting, folder: Path) -> Speed:
    """Trains a system for some steps, on a set that is made in `folder`."""
    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    recipe, steps = find(system)[1], WARMUP_STEPS + setting.steps
    options = options_for(system, str(write_set(folder, recipe.data, steps * setting.batch)), setting)
    if recipe.data == "triplets":
        write_triplets(options)
    processes = Processes(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    # libraries load and threads start with the first convolution, whatever the system
    image = torch.zeros(1, 1, 3, 3, device=processes.device)
    torch.conv2d(image, image)
    before = current_memory_mib()
    sampler = open_sampler(options, recipe)

    def made() -> Trainer:
        return Trainer(options, processes, domains=sampler.domains, steps=steps)

    trainer = made()
    walls, waits, batch = train(trainer, sampler, steps)
    memory = memory_mib(processes.device, before)
    step = Timing.of([[wall] for wall in walls])
    trainers = {"plain": trainer, LAYOUT: made()}
    trainers[LAYOUT].system.to(memory_format=torch.channels_last)
    if setting.compiled:
        trainers[COMPILED] = made()
        for network in trainers[COMPILED].system.networks.values():
            network.compile(dynamic=False)
    return Speed(
        system,
        sum(weight.numel() for weight in trainer.system.parameters()),
        step,
        1000 * setting.batch / step.p50_ms,
        sum(waits) / sum(walls),
        memory,
        ratios_of(trainers, batch, setting.steps),
    )


def options_for(system: str, data: str, setting: Setting) -> TrainingOptions:
    recipe = find(system)[1]
    known = {field.name for field in fields(recipe.settings)}
    settings = {name: value for name, value in (("features", "random"), ("guiding_width", str(setting.width)))}
    return options_of(
        system,
        data,
        crop_size=setting.size,
        batch=setting.batch,
        precision=setting.precision,
        settings={name: value for name, value in settings.items() if name in known} | SETTINGS.get(system, {}),
        **{name: setting.width for name in ("width", "discriminator_width") if name in recipe.uses},
    )


def write_triplets(options: TrainingOptions) -> None:
    """Finds triplets by random features: which they are makes no difference to the time of a step."""
    pairs = open_sampler(options, replace(find(options.system)[1], data="paired"))
    assert isinstance(pairs, FolderSampler)
    found = measure_triplets(pairs, "random", crop_size=options.crop_size, closest=1, furthest=1, images=pairs.count)
    found.save(Path(options.data) / TRIPLETS)


def train(trainer: Trainer, sampler: Sampler, steps: int) -> tuple[list[float], list[float], Any]:
    """Gives the seconds of each step after the warm-up, those of them that it waited for data, and the last batch."""
    device, batch_size = trainer.processes.device, trainer.options.batch
    walls, waits = [], []
    with Feeder(sampler, first=0, part=slice(batch_size), workers=2) as feeder:
        for _ in range(steps):
            started, waited = time.perf_counter(), feeder.waited_s
            batch = to_batch(sampler.kind, feeder.next(), device)
            trainer.train(batch, epoch=0)
            finish(device)
            walls.append(time.perf_counter() - started)
            waits.append(feeder.waited_s - waited)
    return walls[WARMUP_STEPS:], waits[WARMUP_STEPS:], batch


def ratios_of(trainers: dict[str, Trainer], batch: Any, steps: int) -> dict[str, float]:
    """Trains with the same batch in turns; gives how many times as fast as the first training the others are."""
    walls: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(WARMUP_STEPS + steps):
        for name, trainer in trainers.items():
            given = type(batch)(*map(channels_last, batch)) if name == LAYOUT else batch
            started = time.perf_counter()
            trainer.train(given, epoch=0)
            finish(trainer.processes.device)
            walls[name].append(time.perf_counter() - started)
    medians = {name: float(np.median(seconds[WARMUP_STEPS:])) for name, seconds in walls.items()}
    first, *others = medians
    return {name: medians[first] / medians[name] for name in others}


def channels_last(field: Tensor | None) -> Tensor | None:
    """Gives images in another order of memory, and what else a batch has as it is."""
    return field.contiguous(memory_format=torch.channels_last) if field is not None and field.ndim == 4 else field


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def memory_mib(device: torch.device, before: float | None) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    peak = peak_memory_mib()
    return None if peak is None or before is None else peak - before


def table(speeds: list[Speed]) -> list[list[str]]:
    """Gives the systems as text with a header."""
    switches = list(dict.fromkeys(name for speed in speeds for name in speed.ratios))
    lines = [["system", "million weights", "step ms", "images/s", "peak MiB", "waits for data", *switches]]
    for speed in speeds:
        lines.append(
            [
                speed.system,
                f"{speed.parameters / 1e6:.2f}",
                f"{speed.step.p50_ms:.0f}",
                f"{speed.images_per_s:.3g}",
                "" if speed.memory_mib is None else f"{speed.memory_mib:.0f}",
                f"{speed.waited:.1%}",
                *(f"{speed.ratios[name]:.2f}" if name in speed.ratios else "" for name in switches),
            ]
        )
    return lines


def markdown(setting: Setting, speeds: list[Speed], stamp: dict[str, Any]) -> str:
    words = [f"{name} {value}" for name, value in stamp.items() if not isinstance(value, dict)]
    return "\n\n".join(
        [
            "# How fast every system trains",
            f"Crops of {setting.size}x{setting.size}, width {setting.width}, {setting.batch} images a step, "
            f"{setting.precision}; medians of {setting.steps} steps after {WARMUP_STEPS} of warm-up. The last columns "
            "say how many times as fast a step is with a switch of PyTorch's, in turns with the plain one; below 1 it "
            "is slower.",
            markdown_table(table(speeds)),
            "Peak MiB counts weights, optimisers, a step and the pictures in memory, without Python and libraries. "
            "VGG, AlexNet and the like have random weights.",
            f"Measured on: {', '.join(words)}\n",
        ]
    )


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.training_systems",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default=",".join(SYSTEMS), help="systems, separated by commas (default: all)")
    parser.add_argument("--size", type=int, default=64, help="pixels of a crop, a power of two (default: 64)")
    parser.add_argument("--width", type=int, default=16, help="channels of the networks (default: 16)")
    parser.add_argument("--batch", type=int, default=4, help="images a step (default: 4)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each system (default: 10)")
    parser.add_argument("--precision", default="fp32", help="fp32 or bf16 (default: fp32)")
    parser.add_argument("--threads", type=int, help="CPU threads to compute with (default: PyTorch's own choice)")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-training"), help="folder for the results")
    arguments = parser.parse_args(words)
    setting = Setting(
        arguments.size,
        arguments.width,
        arguments.batch,
        arguments.steps,
        arguments.precision,
        arguments.threads,
        arguments.compile,
    )
    stamp = environment(threads=setting.threads)
    systems = [find_name(name) for name in arguments.only.split(",")]
    speeds = measure(setting, systems, lambda line: print(line, file=sys.stderr, flush=True))
    record = {"setting": asdict(setting), "environment": stamp, "systems": [asdict(speed) for speed in speeds]}
    files = write_files(arguments.output, "training-systems", record, markdown(setting, speeds, stamp))
    print(f"{markdown_table(table(speeds))}\n\nwrote {files[0]}, {files[1]}")
    return 0


def find_name(name: str) -> str:
    """Gives the name where a system is called so; raises `I2IError` where none is."""
    find(name)
    return name


if __name__ == "__main__":
    sys.exit(main())
