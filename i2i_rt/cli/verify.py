"""Compares every exported graph of a bundle with its PyTorch network in float32, on real images at several sizes.

    i2i-rt verify horse2zebra/
    i2i-rt verify horse2zebra/ --images photos/ --min-psnr 45

The figures are stored in the bundle; 'auto' takes only artifacts that passed. Exit code 1: one is below the gate.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from i2i_rt.bundle import Bundle


def add_gate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=Path, help="folder of photographs (default: three that come with scikit-image)"
    )
    parser.add_argument(
        "--min-psnr", type=float, help="the gate in dB for every precision (default: fp32 60, the others 38)"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="the bundle's folder")
    add_gate_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from i2i_rt.bundle import Bundle

    return verify_and_print(Bundle.open(arguments.bundle), arguments)


def verify_and_print(bundle: "Bundle", arguments: argparse.Namespace) -> int:
    """Verifies, prints the table, and gives the exit code."""
    import skimage  # noqa: F401 - its absence must be known before anything is measured
    import torch  # noqa: F401
    from rich.console import Console

    from i2i_rt.export import verify
    from i2i_rt.runtime import gates as known_gates
    from i2i_rt.runtime.backends import choose

    progress = Console(stderr=True)
    images = None if arguments.images is None else verify.read_photographs(arguments.images)
    gates = None if arguments.min_psnr is None else dict.fromkeys(known_gates.GATES_DB, arguments.min_psnr)
    with progress.status("verifying") as status:

        def report(line: str) -> None:
            if "not verified" in line:
                progress.print(line, style="yellow", soft_wrap=True)
            status.update(line)

        records = verify.verify(bundle, images=images, gates_db=gates, report=report)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(verify.table(records))
    failed = [record for record in records if not record.passed]
    for record in failed:
        console.print(
            f"{record.file} in {record.precision} is below the gate: {verify.fidelity(record)}, "
            f"{record.non_finite} NaN/Inf" + (f"; {record.remark}" if record.remark else ""),
            style="red",
            soft_wrap=True,
        )
    if len(failed) < len(records):
        choice = choose(bundle)
        console.print(f"auto: {choice.backend.name} {choice.precision} ({choice.reason})", soft_wrap=True)
    return 1 if failed else 0
