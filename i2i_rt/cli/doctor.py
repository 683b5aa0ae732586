"""Says what this machine has, which backends work, and how to get what is missing.

    i2i-rt doctor
    i2i-rt doctor --json

Every backend is really tried. Exit code 1: none of them works.
"""

import argparse
import json
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import i2i_rt

if TYPE_CHECKING:
    from i2i_rt.runtime.diagnosis import Part


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    from i2i_rt.runtime import diagnosis

    facts = _machine()
    sections = {
        "packages": diagnosis.packages(),
        "backends": diagnosis.runnable(),
        "video": diagnosis.codecs(),
        "serving": [_server()],
        "display": [_display()],
    }
    works = any(part.works for part in sections["backends"])
    if arguments.json:
        parts = {name: [asdict(part) for part in section] for name, section in sections.items()}
        print(json.dumps({"machine": facts, **parts}, indent=2))
        return 0 if works else 1
    _print(facts, sections)
    fixes = dict.fromkeys(part.fix for section in sections.values() for part in section if part.fix)
    if fixes:
        print("\nto get what is missing:")
    for fix in fixes:
        print(f"  {fix}")
    if works:
        print("\nnext: i2i-rt export BUNDLE, then i2i-rt bench BUNDLE")
    else:
        print("\nno backend works; the first to try on a CPU: pip install 'i2i-rt[cpu]'")
    return 0 if works else 1


def _machine() -> dict[str, Any]:
    from i2i_rt.runtime import machine

    return {
        "i2i-rt": i2i_rt.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": machine.cpu_name(),
        "cpu features": list(machine.cpu_features()),
        "cpus": machine.cpu_count(),
        "memory, GiB": machine.memory_gib(),
        "gpu": machine.gpu_state(),
    }


def _server() -> "Part":
    from i2i_rt.errors import UnsupportedError
    from i2i_rt.runtime.diagnosis import Part
    from i2i_rt.serving.installation import find_server

    try:
        return Part("Triton Inference Server", True, find_server().where)
    except UnsupportedError as error:
        return Part("Triton Inference Server", False, str(error))


def _display() -> "Part":
    from i2i_rt.runtime.diagnosis import Part
    from i2i_rt.video.live import window_problem

    reason = window_problem()
    return Part("windows", reason is None, reason or "'i2i-rt live' can show them")


def _print(facts: dict[str, Any], sections: "dict[str, list[Part]]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts.items():
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        table.add_row(name, escape(", ".join(map(str, values)) if value is not None else "none found"))
    console.print(table)
    for title, parts in sections.items():
        if not parts:
            continue
        console.print(f"\n[bold]{title}[/]")
        table = Table(box=None, pad_edge=False, show_header=False)
        for part in parts:
            table.add_row(r"[green]\[✓][/]" if part.works else r"[red]\[x][/]", part.name, escape(part.details))
        console.print(table)
