"""How fast every system trains: images a second, memory, the wait for data, and what PyTorch's switches would change.

  python -m i2i_rt.benchmarks.training_systems --compile cyclegan,spade -o benchmarks/results
  python -m i2i_rt.benchmarks.training_systems --only cyclegan,spade --size 256 --width 64

Each system trains in a process of its own with the sampler, the feeder and the trainer of `i2i-rt train`, on JPEGs
of 286 pixels a side, each of which is decoded for the first time. Then the step runs in turns with channels-last
memory and, where asked for, with networks that torch.compile has made, which on a CPU takes minutes a system. All
have the same crops, widths and batches, which are not those of their papers. The networks of VGG and LPIPS losses
have random weights, which cost as much as any others.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

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

Result = TypeVar("Result")
WARMUP_STEPS = 2
LAYOUT, COMPILED = "channels-last", "compiled"
# what a system has to be told to train all of its networks at every step, on the sets that are made here
SETTINGS = {
    "spade": {"labels": str(LABELS), "instances": "false"},
    "swapping": {"reductions": "3"},  # the papers' own are too many for 64 pixels
    "gpunit-prior": {"reductions": "4"},
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
    compiled: tuple[str, ...]  # systems that torch.compile is measured on


@dataclass(frozen=True)
class Speed:
    """How fast a system trains."""

    system: str
    parameters: int
    step: Timing
    images_per_s: float
    waited: float  # share of the time in which training waited for data
    memory_mib: float | None  # of weights, optimisers, steps and pictures; without Python and libraries
    # a step's time / its time with a switch, medians of steps that took turns; None where PyTorch crashed
    ratios: dict[str, float | None] = field(default_factory=dict)


def measure(setting: Setting, systems: list[str], progress: Callable[[str], None]) -> Iterator[Speed]:
    """Measures one system after another, each, and each switch, in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        for system in systems:
            progress(f"measuring {system}")
            options = prepared(system, setting, Path(folder))
            speed = alone(measure_system, options, setting)
            ratios: dict[str, float | None] = {}
            for switch in (LAYOUT, COMPILED) if system in setting.compiled else (LAYOUT,):
                try:
                    ratios[switch] = alone(measure_switch, options, setting, switch)
                except BrokenProcessPool:
                    progress(f"{system} crashed with {switch}")
                    ratios[switch] = None
            yield replace(speed, ratios=ratios)


def alone(task: Callable[..., Result], *arguments: Any) -> Result:
    """Runs a task in a new process: a fork would inherit what the parent has in memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(task, *arguments).result()


def measure_system(options: TrainingOptions, setting: Setting) -> Speed:
    """Trains a system for some steps."""
    trainer, sampler, before = opened(options, setting)
    walls, waits = [], []
    for wall, wait, _ in steps_of(trainer, sampler, setting.steps):
        walls.append(wall)
        waits.append(wait)
    step = Timing.of([[wall] for wall in walls])
    return Speed(
        options.system,
        sum(weight.numel() for weight in trainer.system.parameters()),
        step,
        1000 * setting.batch / step.p50_ms,
        sum(waits) / sum(walls),
        memory_mib(trainer.processes.device, before),
    )


def measure_switch(options: TrainingOptions, setting: Setting, switch: str) -> float:
    """Trains twice in turns, with and without a switch; gives how many times as fast a step is with it."""
    plain, sampler, _ = opened(options, setting)
    other = Trainer(options, plain.processes, domains=plain.domains, steps=plain.system.steps)
    if switch == LAYOUT:
        other.system.to(memory_format=torch.channels_last)
    else:
        for network in other.system.networks.values():
            network.compile(dynamic=False)
    plain_s, other_s = [], []
    for wall, wait, batch in steps_of(plain, sampler, WARMUP_STEPS + setting.steps):
        plain_s.append(wall - wait)
        given = type(batch)(*map(channels_last, batch)) if switch == LAYOUT else batch
        other_s.append(seconds_of(other, given))
    return float(np.median(plain_s[WARMUP_STEPS:]) / np.median(other_s[WARMUP_STEPS:]))


def prepared(system: str, setting: Setting, folder: Path) -> TrainingOptions:
    """Makes a system's set in `folder`, and gives the options that it trains with."""
    recipe = find(system)[1]
    options = options_for(
        system, str(write_set(folder, recipe.data, (WARMUP_STEPS + setting.steps) * setting.batch)), setting
    )
    if recipe.data == "triplets":
        write_triplets(options)
    return options


def opened(options: TrainingOptions, setting: Setting) -> tuple[Trainer, Sampler, float | None]:
    """Makes a training and opens its data; gives them and the memory that was in use before."""
    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    processes = Processes(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    # libraries load and threads start with the first convolution, whatever the system
    image = torch.zeros(1, 1, 3, 3, device=processes.device)
    torch.conv2d(image, image)
    before = current_memory_mib()
    sampler = open_sampler(options, find(options.system)[1])
    steps = WARMUP_STEPS + setting.steps
    return Trainer(options, processes, domains=sampler.domains, steps=steps), sampler, before


def options_for(system: str, data: str, setting: Setting) -> TrainingOptions:
    recipe = find(system)[1]
    known = {one.name for one in fields(recipe.settings)}
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


def steps_of(trainer: Trainer, sampler: Sampler, steps: int) -> Iterator[tuple[float, float, Any]]:
    """Trains; gives for each step behind the warm-up its seconds, those of them spent on waiting, and its batch."""
    device, batch_size = trainer.processes.device, trainer.options.batch
    with Feeder(sampler, first=0, part=slice(batch_size), workers=2) as feeder:
        for number in range(WARMUP_STEPS + steps):
            started, waited = time.perf_counter(), feeder.waited_s
            batch = to_batch(sampler.kind, feeder.next(), device)
            seconds_of(trainer, batch)
            if number >= WARMUP_STEPS:
                yield time.perf_counter() - started, feeder.waited_s - waited, batch


def seconds_of(trainer: Trainer, batch: Any) -> float:
    """Trains for a step."""
    started = time.perf_counter()
    trainer.train(batch, epoch=0)
    if trainer.processes.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def channels_last(part: Tensor | None) -> Tensor | None:
    """Gives images in another order of memory, and what else a batch has as it is."""
    return part.contiguous(memory_format=torch.channels_last) if part is not None and part.ndim == 4 else part


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
                *(_ratio(speed.ratios[name]) if name in speed.ratios else "" for name in switches),
            ]
        )
    return lines


def _ratio(value: float | None) -> str:
    return "crashes" if value is None else f"{value:.2f}"


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
    parser.add_argument("--compile", default="", help="systems to measure torch.compile on (default: none)")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-training"), help="folder for the results")
    arguments = parser.parse_args(words)
    setting = Setting(
        arguments.size,
        arguments.width,
        arguments.batch,
        arguments.steps,
        arguments.precision,
        arguments.threads,
        tuple(names_of(arguments.compile)),
    )
    stamp = environment(threads=setting.threads)
    systems = names_of(arguments.only)
    speeds: list[Speed] = []
    for speed in measure(setting, systems, lambda line: print(line, file=sys.stderr, flush=True)):
        speeds.append(speed)  # written each time, as the next one may take minutes
        record = {"setting": asdict(setting), "environment": stamp, "systems": [asdict(one) for one in speeds]}
        write_files(arguments.output, "training-systems", record, markdown(setting, speeds, stamp))
    print(f"{markdown_table(table(speeds))}\n\nwrote training-systems.json and .md in {arguments.output}")
    return 0


def names_of(text: str) -> list[str]:
    """Gives the names of systems in a text with commas; raises `I2IError` where none is called so."""
    names = [name for name in text.split(",") if name]
    for name in names:
        find(name)
    return names


if __name__ == "__main__":
    sys.exit(main())
