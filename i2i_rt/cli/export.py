"""Writes a bundle's network as graphs that take and give uint8 RGB frames [N, H, W, 3], then verifies them.

    i2i-rt export horse2zebra/
    i2i-rt export horse2zebra/ --format onnx --precision fp32,fp16

Batch, height and width are dynamic. Exit code 1: an artifact is below the gate of the verification.
"""

import argparse
import sys

from i2i_rt.cli.verify import add_gate_options, verify_and_print


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from i2i_rt.export.formats import FORMATS

    parser.add_argument("bundle", help="the bundle's folder")
    parser.add_argument(
        "--format", default="onnx,openvino", help=f"comma-separated: {', '.join(FORMATS)} (default: onnx,openvino)"
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        help="comma-separated: what the graphs are written in, fp32, fp16 (default: fp32)",
    )
    parser.add_argument("--no-verify", action="store_true", help="do not compare the artifacts with the network")
    add_gate_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from i2i_rt.export.formats import plan

    pairs = plan(arguments.format.split(","), arguments.precision.split(","))

    from rich.console import Console

    from i2i_rt.bundle import Bundle

    bundle = Bundle.open(arguments.bundle)

    from i2i_rt.export.build import build
    from i2i_rt.export.verify import read_photographs

    if arguments.images is not None:
        # before the minutes of exporting
        read_photographs(arguments.images)

    with Console(stderr=True).status("loading") as status:
        artifacts = build(bundle, pairs, report=status.update)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for artifact in artifacts:
        size = artifact.size_bytes / 1e6
        console.print(
            rf"[green]\[✓][/] {bundle.path / artifact.file}  {size:.1f} MB  {artifact.seconds:.1f} s", soft_wrap=True
        )
    status_code = 0 if arguments.no_verify else verify_and_print(bundle, arguments)
    if arguments.no_verify:
        print(f"\nnext: i2i-rt verify {bundle.path}")
    else:
        print(f"\nnext: i2i-rt translate {bundle.path} clip.mp4 -o translated.mp4")
        print(f"      i2i-rt bench {bundle.path}")
    return status_code
