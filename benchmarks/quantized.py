"""What 8 bits cost and save on a trained network: PSNR, and times beside bfloat16 and float32, taken in turns.

    python -m i2i_rt.benchmarks.quantized --train photos/ -o benchmarks/results
    python -m i2i_rt.benchmarks.quantized --bundle runs/stylised --calibrate photos/

With --train the network, CycleGAN's generator with 9 blocks and width 64, is trained first (`benchmarks/stylised.py`,
26 minutes on two busy processors) and kept in --bundle. The same photographs calibrate; those that come with
scikit-image, which took no part in either, judge. Close what else runs.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from i2i_rt.benchmarks import stylised
from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.inputs import sample_frames
from i2i_rt.benchmarks.measure import FULL, QUICK, Rule, Timing, take_turns
from i2i_rt.benchmarks.report import Report, Row
from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError
from i2i_rt.export import build, calibration, formats, verify
from i2i_rt.runtime import backends
from i2i_rt.runtime.backends import BACKENDS, Choice

SIZE = 256
RUNS = (
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnxruntime", "fp32"),
    ("onnxruntime", "int8"),
)


def measure(bundle: Bundle, rule: Rule) -> list[Row]:
    """Times the stage `translate` of every artifact in turns."""
    choices = [
        Choice(BACKENDS[name], precision, "")
        for name, precision in RUNS
        if backends.problem(BACKENDS[name], precision) is None
    ]
    inputs = {"frames": sample_frames(SIZE, SIZE, 1)}
    with ExitStack() as stack:
        sessions = [stack.enter_context(backends.open_session(bundle, choice)) for choice in choices]
        runs = [lambda session=session: session.run("translate", inputs) for session in sessions]
        timings = list(zip(choices, take_turns(runs, rule), strict=True))
    return [_row(bundle, choice, timing, timings) for choice, timing in timings]


def _row(bundle: Bundle, choice: Choice, timing: Timing, timings: Sequence[tuple[Choice, Timing]]) -> Row:
    (record,) = (
        record
        for record in bundle.verification()
        if (record["backend"], record["precision"], record["stage"])
        == (choice.backend.name, choice.precision, "translate")
    )
    ratios = {
        other.precision: slower.p50_ms / timing.p50_ms
        for other, slower in timings
        if other.backend == choice.backend and other.precision != choice.precision and choice.precision == "int8"
    }
    return Row(
        "translate",
        choice.backend.name,
        choice.precision,
        SIZE,
        SIZE,
        1,
        timing,
        1000 / timing.mean_ms,
        psnr_db=record["psnr_db"],
        largest_difference=record["largest_difference"],
        ratios=ratios,
        wrong=not record["passed"],
        note="" if record["passed"] else f"below its gate of {record['gate_db']:g} dB",
    )


def searched(bundle: Bundle) -> dict[str, str]:
    """Says how the search for the layers that stay higher went, for each artifact of `translate` in 8 bits."""
    found = {}
    for artifact in bundle.artifacts():
        if artifact.quantization is not None and artifact.stage == "translate":
            for number, step in enumerate(artifact.quantization.steps, 1):
                found[f"{artifact.format}, step {number}"] = (
                    f"{step['kept']} layers kept higher, {step['share']:.0%} of the work in 8 bits, "
                    f"{step['fidelity_db']:.1f} dB, {step['median_ms'] / step['float_ms']:.2f} of the time without"
                )
    return found


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.quantized",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--train", type=Path, nargs="+", metavar="FOLDER", help="photographs to train on, then calibrate"
    )
    parser.add_argument("--steps", type=int, default=800, help="of the training (default: 800)")
    parser.add_argument("--width", type=int, default=64, help="channels at full resolution (default: 64)")
    parser.add_argument("--blocks", type=int, default=9, help="residual blocks (default: 9)")
    parser.add_argument(
        "--bundle", type=Path, default=Path("runs/stylised"), help="the network (default: runs/stylised)"
    )
    parser.add_argument("--calibrate", type=Path, metavar="FOLDER", help="photographs, where --train names none")
    parser.add_argument("--quick", action="store_true", help="fewer runs; the output says that it was quick")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-quantized"), help="folder for the results")
    arguments = parser.parse_args(words)
    try:
        bundle, pictures = _network(arguments)
        rule = QUICK if arguments.quick else FULL
        pairs = formats.plan(["openvino", "onnx"], ["fp32", "int8"])
        build.build(bundle, pairs, calibration=pictures, report=lambda line: print(line, flush=True))
        verify.verify(bundle)
        stamp = environment(bundle=bundle)
        report = Report("8 bits on a trained network", str(rule), stamp, tuple(measure(bundle, rule)), searched(bundle))
    except I2IError as error:
        print(f"quantized: {error}", file=sys.stderr)
        return 2
    record, view = report.write(arguments.output, "quantized")
    print(report.markdown())
    print(f"wrote {record} and {view}")
    return 1 if any(row.wrong for row in report.rows) else 0


def _network(arguments: argparse.Namespace) -> tuple[Bundle, calibration.Calibration]:
    """Gives the trained network, and the pictures to calibrate and to judge it with.

    Raises:
        I2IError: where no photographs are named.
    """
    held_out = verify.sample_photographs()
    if arguments.train is not None:
        photographs = stylised.read_photographs(arguments.train)
        bundle = stylised.train(
            photographs, arguments.bundle, steps=arguments.steps, width=arguments.width, blocks=arguments.blocks
        )
        return bundle, calibration.Calibration(_spread(photographs), held_out)
    if arguments.calibrate is None:
        raise I2IError("name photographs: --train FOLDER to train a network first, --calibrate FOLDER for --bundle")
    return Bundle.open(arguments.bundle), calibration.Calibration.read(arguments.calibrate, held_out)


def _spread(photographs: Sequence[np.ndarray]) -> list[np.ndarray]:
    step = max(len(photographs) // calibration.PICTURES, 1)
    return list(photographs[::step][: calibration.PICTURES])


if __name__ == "__main__":
    sys.exit(main())
