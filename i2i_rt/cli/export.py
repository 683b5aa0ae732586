"""Writes a bundle's network as graphs that take and give uint8 RGB frames [N, H, W, 3], then verifies them.

    i2i-rt export horse2zebra/
    i2i-rt export horse2zebra/ --format onnx --precision fp32,fp16
    i2i-rt export horse2zebra/ --format tensorrt --precision bf16 --profile 512x512
    i2i-rt export horse2zebra/ --precision int8 --calibrate photos/

Batch, height and width are dynamic. Exit code 1: an artifact is below the gate of the verification.

In int8 the ranges of the layers are measured on the photographs of --calibrate; some 20 to 30 are enough, and the
verification must be given others. Layers that lose most stay higher, step by step, until the gate is reached.

    i2i-rt export afhq/ --bake-style ginger.npz -o ginger/
    i2i-rt export coco/ --bake-labels beach.png

With --bake-style or --bake-labels a bundle of its own is written, whose stage `translate` takes no style (or no label
map) any more; what that makes constant is computed once. Its cost and its time are compared with the model's.

    i2i-rt export horse2zebra/ --freeze-stats ride.mp4 -o ride/

With --freeze-stats the bundle's norms take the statistics of a clip in place of each frame's own: faster, and without
the flicker of statistics that move, for frames like the clip's. What it costs is printed; below the gate nothing is
written, and the exit code is 1.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2i_rt.cli import add_fused_option
from i2i_rt.cli.verify import add_gate_options, verify_and_print
from i2i_rt.errors import I2IError

if TYPE_CHECKING:
    import numpy as np

    from i2i_rt.bundle import Bundle, Quantization
    from i2i_rt.export.formats import Format

MIN_FROZEN_DB = 30  # of the worst frame with frozen statistics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from i2i_rt.export.formats import FORMATS
    from i2i_rt.export.profiles import BATCH, SIZES

    parser.add_argument("bundle", help="the bundle's folder")
    parser.add_argument(
        "--format", default="onnx,openvino", help=f"comma-separated: {', '.join(FORMATS)} (default: onnx,openvino)"
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        help="comma-separated: what the graphs are written in, fp32, fp16, bf16, int8, fp8 (default: fp32)",
    )
    parser.add_argument(
        "--calibrate", type=Path, metavar="FOLDER", help="photographs like those to be translated, for int8 and fp8"
    )
    parser.add_argument("--no-verify", action="store_true", help="do not compare the artifacts with the network")
    add_fused_option(parser)
    add_gate_options(parser)
    engines = parser.add_argument_group("TensorRT engines, which are built on the GPU that they run on")
    engines.add_argument(
        "--profile",
        default=SIZES,
        metavar="SIZES",
        help="comma-separated sizes HEIGHTxWIDTH, or ranges LEAST..USUAL..GREATEST; one size alone is the fastest "
        "(default: %(default)s)",
    )
    engines.add_argument(
        "--batch", default=BATCH, metavar="COUNT", help="frames at a time, or a range of it (default: %(default)s)"
    )
    engines.add_argument(
        "--optimisation-level", type=int, default=3, help="0 builds fast, 5 looks longest for speed (default: 3)"
    )
    engines.add_argument(
        "--workspace", type=float, metavar="GIB", help="memory for a layer's work in GiB (default: all that there is)"
    )
    engines.add_argument(
        "--plugins",
        action="store_true",
        help="compute norms by fused kernels, compiled into the engine (default: by TensorRT's own layers)",
    )
    baking = parser.add_argument_group("constant styles and label maps")
    baking.add_argument("--bake-style", type=Path, metavar="FILE", help="a style that 'i2i-rt style' wrote")
    baking.add_argument("--bake-labels", type=Path, metavar="FILE", help="a label map; fixes the height and width too")
    baking.add_argument("--instances", type=Path, metavar="FILE", help="the instance map of --bake-labels")
    freezing = parser.add_argument_group("constant statistics")
    freezing.add_argument(
        "--freeze-stats", type=Path, metavar="CLIP", help="a video, or a folder of pictures, to take statistics of"
    )
    freezing.add_argument(
        "--min-frozen-psnr",
        type=float,
        metavar="DB",
        help="the gate: the worst of the frames that were held out, to its translation with its own statistics "
        f"(default: {MIN_FROZEN_DB})",
    )
    parser.add_argument(
        "-o", "--output", type=Path, help="the new bundle's folder (default: BUNDLE-baked or BUNDLE-frozen)"
    )


def run(arguments: argparse.Namespace) -> int:
    from i2i_rt.export.formats import plan
    from i2i_rt.export.profiles import EngineOptions, parse

    pairs = plan(arguments.format.split(","), arguments.precision.split(","))
    engine = EngineOptions(
        parse(arguments.profile, arguments.batch),
        arguments.optimisation_level,
        arguments.workspace,
        arguments.plugins,
    )
    check_calibration(pairs, arguments.calibrate)

    from rich.console import Console

    from i2i_rt.bundle import Bundle

    bundle = Bundle.open(arguments.bundle)
    baking = arguments.bake_style is not None or arguments.bake_labels is not None
    if not baking and arguments.instances is not None:
        raise I2IError("--instances belongs to --bake-labels")
    if arguments.freeze_stats is None and arguments.min_frozen_psnr is not None:
        raise I2IError("--min-frozen-psnr belongs to --freeze-stats")
    changing = baking or arguments.freeze_stats is not None
    if not changing and arguments.output is not None:
        raise I2IError(
            "-o belongs to --bake-style, --bake-labels and --freeze-stats; graphs are written into the bundle"
        )

    from i2i_rt.export import golden
    from i2i_rt.export.build import build
    from i2i_rt.export.calibration import Calibration
    from i2i_rt.export.verify import read_photographs, sample_photographs

    # before the minutes of exporting
    images = None if arguments.images is None else read_photographs(arguments.images)
    calibration = None
    if arguments.calibrate is not None:
        held_out = sample_photographs() if images is None else images
        calibration = Calibration.read(arguments.calibrate, held_out, arguments.min_psnr)

    model = bundle
    with Console(stderr=True).status("loading") as status:
        if changing:
            changed = _changed(model, arguments, status.update)
            if changed is None:
                return 1
            bundle = changed
            missing = [(entry, precision) for entry, precision in pairs if not _is_exported(model, entry, precision)]
            build(model, missing, engine=engine, fused=arguments.fused, calibration=calibration, report=status.update)
        artifacts = build(
            bundle, pairs, engine=engine, fused=arguments.fused, calibration=calibration, report=status.update
        )
        golden.record(bundle, report=status.update)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for artifact in artifacts:
        size = artifact.size_bytes / 1e6
        console.print(
            rf"[green]\[✓][/] {bundle.path / artifact.file}  {size:.1f} MB  {artifact.seconds:.1f} s", soft_wrap=True
        )
        if artifact.quantization is not None:
            console.print(steps_table(artifact.quantization))
    status_code = 0 if arguments.no_verify else verify_and_print(bundle, arguments)
    if changing:
        from i2i_rt.export.bake import compare

        for line in compare(model, bundle):
            console.print(line, soft_wrap=True, highlight=False)
    if arguments.no_verify:
        print(f"\nnext: i2i-rt verify {bundle.path}")
    elif "translate" in bundle.stages:
        inputs = [tensor.name for tensor in bundle.stages["translate"].inputs]
        # without a prior there is no style before one is taken from a picture
        needs_style = "style" in inputs and bundle.style is not None and bundle.style.prior == "fitted"
        style = " --reference picture.jpg" if needs_style else ""
        print(f"\nnext: i2i-rt translate {bundle.path} clip.mp4 -o translated.mp4{style}")
        print(f"      i2i-rt bench {bundle.path}")
    return status_code


def check_calibration(pairs: Sequence[tuple["Format", str]], folder: Path | None) -> None:
    """Checks that there are calibration pictures where, and only where, there are 8 bits.

    Raises:
        I2IError: where it is otherwise.
    """
    eight_bits = [precision for _, precision in pairs if precision in ("int8", "fp8")]
    if eight_bits and folder is None:
        raise I2IError(
            f"--precision {eight_bits[0]} needs photographs like those that will be translated, to measure ranges on: "
            "pass --calibrate FOLDER"
        )
    if folder is not None and not eight_bits:
        raise I2IError("--calibrate belongs to --precision int8; other precisions need no pictures")


def steps_table(quantization: "Quantization") -> Any:
    """Gives the search for the layers that stay higher as a table for the terminal."""
    from rich.table import Table

    result = Table(box=None, pad_edge=True, header_style="bold")
    for name in ("step", "kept higher", "in 8 bits", "fidelity", "time at 256²", "of that without 8 bits"):
        result.add_column(name, justify="right")
    for number, step in enumerate(quantization.steps, 1):
        fidelity, ms, plain = step["fidelity_db"], step["median_ms"], step["float_ms"]
        result.add_row(
            str(number),
            f"{step['kept']} layers",
            f"{step['share']:.0%} of the work",
            "equal" if fidelity is None else f"{fidelity:.1f} dB",
            "not run here" if ms is None else f"{ms:.1f} ms",
            "" if ms is None else f"{ms / plain:.2f}",
        )
    return result


def _is_exported(bundle: "Bundle", entry: "Format", precision: str) -> bool:
    weights = bundle.weights_sha256()
    return any(
        (artifact.format, artifact.precision, artifact.stage, artifact.weights_sha256)
        == (entry.name, precision, "translate", weights)
        for artifact in bundle.artifacts()
    )


def _changed(model: "Bundle", arguments: argparse.Namespace, report: Callable[[str], None]) -> "Bundle | None":
    """Writes the bundle in which something is constant; None where frozen statistics are below the gate."""
    from i2i_rt.bundle import check_replaceable

    baking = arguments.bake_style is not None or arguments.bake_labels is not None
    name = f"{model.path.resolve().name}{'-baked' * baking}{'-frozen' * (arguments.freeze_stats is not None)}"
    output = arguments.output or model.path.with_name(name)
    check_replaceable(output)  # before the minutes of measuring
    if output.resolve() == model.path.resolve():
        raise I2IError(f"-o {output} is the model itself, which would be lost; name another folder")
    if arguments.freeze_stats is None:
        return _baked(model, output, arguments)
    with tempfile.TemporaryDirectory() as folder:
        return _frozen(_baked(model, Path(folder) / name, arguments) if baking else model, output, arguments, report)


def _frozen(
    model: "Bundle", output: Path, arguments: argparse.Namespace, report: Callable[[str], None]
) -> "Bundle | None":
    from i2i_rt.export import freeze
    from i2i_rt.video.sample import sample

    report(f"reading {arguments.freeze_stats}")
    pictures = sample(arguments.freeze_stats, freeze.fixed_size(model))
    statistics, cost = freeze.calibrate(model, pictures, report=report)
    print("\n".join(cost.lines()))
    gate_db = MIN_FROZEN_DB if arguments.min_frozen_psnr is None else arguments.min_frozen_psnr
    if cost.worst_db < gate_db:
        print(
            f"{cost.worst_db:.1f} dB is below the gate of {gate_db:g} dB, and nothing was written: "
            "take a clip whose frames are more alike, or lower --min-frozen-psnr",
            file=sys.stderr,
        )
        return None
    note = f"the statistics of norms are those of {cost.frames} frames of {arguments.freeze_stats.name}"
    return freeze.write(model, output, statistics, note)


def _baked(model: "Bundle", output: Path, arguments: argparse.Namespace) -> "Bundle":
    """Writes the bundle with the style, the label map or both baked in."""
    from i2i_rt.export.bake import bake, label_constants
    from i2i_rt.style import Style, StyleMaker

    constants: dict[str, np.ndarray] = {}
    notes = []
    if arguments.bake_style is not None:
        style = Style.load(arguments.bake_style)
        StyleMaker(model, None).check(style, str(arguments.bake_style))
        constants["style"] = style.code[None]
        notes.append(f"the style is baked in: {style.origin}")
    if arguments.bake_labels is not None:
        constants |= label_constants(model, arguments.bake_labels, arguments.instances)
        notes.append(f"the label map is baked in: {arguments.bake_labels.name}")
    return bake(model, output, constants, "; ".join(notes))
