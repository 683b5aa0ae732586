"""What every experiment on a paper's effect writes, and how it trains: by the loop that users train with."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from i2i_rt.benchmarks.report import markdown_table
from i2i_rt.bundle import write_json
from i2i_rt.training.loop import Outcome, Schedule, train
from i2i_rt.training.processes import Processes
from i2i_rt.training.recipes import options_of
from i2i_rt.training.run_folder import RunFolder
from i2i_rt.training.trainer import Trainer


@dataclass(frozen=True)
class Finding:
    """A claim, what was measured here, and whether it holds here."""

    claim: str  # with its source: "StEP, table 1: stage 3 is better than stage 2 in PSNR"
    measured: str
    holds: bool


@dataclass(frozen=True)
class Effect:
    """An experiment.

    Attributes:
        data: what was trained on, and how its answers are known.
        method: networks, steps, seeds, features: what it takes to do it again.
        table: rows of text, the header first.
        seconds: that it took, trainings that were resumed not counted.
        environment: of `i2i_rt.benchmarks.environment`.
    """

    title: str
    data: str
    method: str
    table: list[list[str]]
    findings: tuple[Finding, ...]
    figures: Mapping[str, Any]
    seconds: float
    environment: Mapping[str, Any]

    def markdown(self) -> str:
        lines = [f"# {self.title}", "", self.data, "", self.method, "", markdown_table(self.table), ""]
        for finding in self.findings:
            lines.append(f"- {'[✓]' if finding.holds else '[x]'} {finding.claim}: {finding.measured}")
        stamp = ", ".join(f"{name} {value}" for name, value in self.environment.items() if not isinstance(value, dict))
        took = f"{self.seconds:.0f} s, what earlier calls trained not counted"
        return "\n".join([*lines, "", f"Measured in {took}, on: {stamp}", ""])

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Writes `effects-NAME.json` and `effects-NAME.md`."""
        folder.mkdir(parents=True, exist_ok=True)
        record, view = folder / f"effects-{name}.json", folder / f"effects-{name}.md"
        write_json(record, asdict(self))
        view.write_text(self.markdown())
        return record, view


def trained(folder: Path, system: str, data: Path, *, steps: int, **options: Any) -> tuple[Trainer, Outcome]:
    """Trains a system, or goes on where an earlier call was stopped, and gives it with its last weights.

    It ends after `steps`; `options` are fields of `TrainingOptions`, the others have the paper's values.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run, processes, started = RunFolder(folder), Processes(0, 1, device), time.perf_counter()
    chosen = options_of(system, str(data), **options)
    resume = run.state_file.is_file()
    schedule = Schedule(steps, save_every=200, sample_every=steps, evaluate_every=steps)
    outcome = train(chosen, run, schedule, processes, resume=resume)
    if outcome.step < outcome.total:
        sys.exit(130)  # Ctrl-C; the next call goes on from here
    state = run.read_state(device)
    trainer = Trainer(chosen, processes, domains=tuple(state["domains"]))
    trainer.load_state(state)
    seconds = time.perf_counter() - started
    print(f"{folder.name}: {outcome.trained} steps of {system} in {seconds:.0f} s", file=sys.stderr, flush=True)
    return trainer, outcome


def parsed(words: Sequence[str] | None, name: str, description: str | None, *, quick: str) -> argparse.Namespace:
    """Reads the command line of an experiment: `output`, `runs`, `picture`, `threads` and `quick`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m i2i_rt.benchmarks.effects.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help=f"folder for effects-{name}.json and .md")
    parser.add_argument("--runs", type=Path, default=Path(f"runs/effects-{name}"), help="folder of data and trainings")
    picture = Path(f"docs/images/effects-{name}.png")
    parser.add_argument("--picture", type=Path, default=picture, help=f"(default: {picture})")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--quick", action="store_true", help=f"{quick}: whether it runs, no figures")
    return parser.parse_args(words)


def publish(effect: Effect, picture: Image.Image, arguments: argparse.Namespace, name: str) -> None:
    """Writes an experiment's picture and record where the command line says, and prints the record."""
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    picture.save(arguments.picture, optimize=True)
    files = (*effect.write(arguments.output, name), arguments.picture)
    print("\n".join([effect.markdown(), *(f"wrote {file}" for file in files)]))
