"""Registers, shared memory and spills of the Triton kernels, compiled ahead of time.

    python -m i2i_rt.kernels
    python -m i2i_rt.kernels norm_act --json

No GPU is needed.
"""

import argparse
import dataclasses
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from i2i_rt.kernels.aot import CAPABILITIES, Build, compile_ahead

OPERATORS = (  # modules of this package that have BUILDS
    "frame",
    "norm_act",
    "spade_table",
    "spade_layout",
    "spade_hidden",
    "spade_conv_modulate",
    "spade_boundary",
    "modulated_conv",
    "conv_epilogue",
    "blur_epilogue",
)


def builds(operator: str) -> tuple[Build, ...]:
    """Gives the builds of an operator's kernels."""
    found: tuple[Build, ...] = importlib.import_module(f"i2i_rt.kernels.{operator}").BUILDS
    return found


def table(operators: tuple[str, ...], capabilities: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Compiles all kernels of some operators; gives a row of plain values for each."""
    for operator in operators:
        for build in builds(operator):
            for capability in capabilities:
                row = dataclasses.asdict(compile_ahead(build, capability))
                del row["ptx"], row["cubin"]
                yield {"operator": operator, **row}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.kernels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("operators", nargs="*", metavar="OPERATOR", help=f"{', '.join(OPERATORS)} (default: all)")
    parser.add_argument("--json", action="store_true", help="one line of JSON a kernel")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.operators) - set(OPERATORS):
        parser.error(f"no operator is called {min(unknown)!r}")
    for row in table(tuple(arguments.operators) or OPERATORS, CAPABILITIES):
        if arguments.json:
            print(json.dumps(row), flush=True)
        else:
            counts = " ".join(f"{name}:{count}" for name, count in row["instructions"].items())
            print(
                f"{row['operator']:20} {row['name']:32} sm_{row['capability']:<4} {row['registers']:4} registers  "
                f"{row['shared_bytes']:7} B shared  {row['stack_bytes']:4} B spilled  {counts}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
