"""How every measure tells its scores: a table, what they compare with, and a JSON file."""

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from i2i_rt.bundle import write_json

T = TypeVar("T")

RANDOM = "random features: these figures compare with none that were taken with trained ones, in papers or elsewhere"


@dataclass(frozen=True)
class Score:
    """A figure of a measure.

    Attributes:
        key: its name in JSON.
        name: in the table, with the unit.
        better: which way is better: "higher", "lower", or "" where it depends.
        deviation: of the mean, where it has one.
        of_features: whether it comes from a network's features, trained or random.
    """

    key: str
    name: str
    value: float
    better: str
    deviation: float | None = None
    of_features: bool = True


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")


def add_features_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--features",
        choices=("pretrained", "random"),
        default="pretrained",
        help="networks whose features are compared: trained ones, downloaded once, or random ones, for tests "
        "(default: pretrained)",
    )
    add_json_option(parser)


def progress(items: Sequence[T]) -> Iterator[T]:
    """Shows on stderr how many are done."""
    return iter(track(items, description="measuring", console=Console(stderr=True), transient=True))


def report(
    measure: str,
    scores: Sequence[Score],
    arguments: argparse.Namespace,
    files: Mapping[str, Path],
    *,
    started_s: float,
    counted: str,
    notes: Sequence[str] = (),
    **details: Any,
) -> int:
    """Prints the scores, and writes them where `--json` says.

    Args:
        measure: the sub-verb.
        scores: what was measured.
        arguments: the command line, with `json`, and `features` where a network is used.
        files: what was given.
        started_s: `time.perf_counter()` at the beginning.
        counted: how much was measured, such as "12 pairs of pictures".
        notes: sentences that belong to the figures.
        details: more for the JSON file, such as the figures of each picture.
    """
    features = getattr(arguments, "features", None)
    is_random = features == "random" and any(score.of_features for score in scores)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("better")
    for score in scores:
        spread = "" if score.deviation is None else f" ± {score.deviation:.2g}"
        mark = " (random features)" if is_random and score.of_features else ""
        table.add_row(score.name + mark, f"{score.value:.4g}{spread}", score.better)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    told = [*notes, RANDOM] if is_random else list(notes)
    for note in told:
        print(note)
    if arguments.json is not None:
        content: dict[str, Any] = {"measure": measure, "files": {name: str(path) for name, path in files.items()}}
        if features is not None:
            content |= {"features": features, "comparable": not is_random}
        content |= {"scores": {score.key: _finite(score.value) for score in scores}}
        content |= {f"{score.key}_deviation": score.deviation for score in scores if score.deviation is not None}
        write_json(arguments.json, {**content, **details, "notes": told})
        print(f"wrote {arguments.json}")
    print(f"measured {counted} in {time.perf_counter() - started_s:.1f} s")
    return 0


def _finite(value: float) -> float | None:
    """Gives None for what JSON has no number for: the PSNR of equal pictures."""
    return value if math.isfinite(value) else None
