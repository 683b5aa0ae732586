"""Measures a bundle in every backend: latency, throughput, start, memory, and how close the pictures are to PyTorch's.

    i2i-rt bench horse2zebra/
    i2i-rt bench horse2zebra/ --size 256,512 --batch 1,2,4 --compare before/latency.json
    i2i-rt bench video horse2zebra/ clip.mp4
    i2i-rt bench video horse2zebra/ --frames 300 --size 256
    i2i-rt bench serving horse2zebra/ --size 256,512
    i2i-rt bench kernels
    i2i-rt bench kernels --plan

The first form compares backends and writes latency.json, latency.md and latency.png. The second one compares the
whole translation of a video, from file to file, with the bare model on as many frames, and writes video.json and
video.md. "serving" starts a server of the bundle and writes what a request costs beside the same work in this process,
and what closed and open loops of requests come to: serving.json, serving.md and serving.png. "kernels" measures the
fused operators at the shapes of the official networks, which needs a CUDA device, and writes kernels.json and
kernels.md; "--plan" prints the shapes and the least times instead, and needs none.
Exit code 1: a backend or the server gave a wrong picture, or an operator a wrong result.
"""

import argparse
import importlib.util
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from i2i_rt.cli import add_run_options, add_server_option
from i2i_rt.errors import I2IError

if TYPE_CHECKING:
    from i2i_rt.benchmarks.report import Report
    from i2i_rt.bundle import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "%(prog)s [video] BUNDLE [CLIP] [options]\n       %(prog)s serving BUNDLE [options]\n"
        "       %(prog)s kernels [--plan] [--quick] [-o FOLDER]"
    )
    parser.add_argument(
        "target", nargs="+", metavar="[video] BUNDLE [CLIP] | serving BUNDLE | kernels", help="what to measure"
    )
    parser.add_argument(
        "--backend", help="comma-separated: all, auto, torch, torch-compile, onnxruntime, openvino, … "
        "(default: all; for video: auto)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", help="comma-separated: all, fp32, bf16, fp16, int8, fp8 (default: all; for video: auto)"
    )
    add_run_options(parser)
    add_server_option(parser, "--url")
    parser.add_argument(
        "--size", help="comma-separated: 256, or HxW in pixels such as 360x640 (default: 256; for a clip: its own)"
    )
    parser.add_argument("--batch", default="1", help="comma-separated: frames in a run (default: 1)")
    parser.add_argument("--frames", type=int, default=300, help="video: frames to translate (default: 300)")
    parser.add_argument("--plan", action="store_true", help="kernels: print what would be measured; needs no GPU")
    parser.add_argument("--quick", action="store_true", help="fewer runs; the output says that it was quick")
    parser.add_argument("--compare", metavar="OLD.json", help="print old / new for the rows of an earlier record")
    parser.add_argument("-o", "--output", help="folder for the results (default: bench-BUNDLE)")


def run(arguments: argparse.Namespace) -> int:
    from i2i_rt.benchmarks.report import Report, comparison
    from i2i_rt.bundle import Bundle

    started = time.perf_counter()
    words = list(arguments.target)
    if words == ["kernels"]:
        return _kernels(arguments)
    if words[0] == "serving" and len(words) == 2:
        return _serving(Path(words[1]), arguments)
    video = words[0] == "video" and len(words) > 1
    names = words[1:] if video else words
    if len(names) > (2 if video else 1):
        raise I2IError(f"{names[-1]!r} is one argument too many: 'i2i-rt bench BUNDLE' or 'bench video BUNDLE [CLIP]'")
    bundle = Bundle.open(names[0])
    old = Report.read(arguments.compare) if arguments.compare else None
    folder = Path(arguments.output or f"bench-{bundle.path.resolve().name}")
    if folder.is_file():
        raise I2IError(f"-o {folder} is a file; name a folder for the results")
    if video:
        report = _video(bundle, Path(names[1]) if len(names) > 1 else None, arguments)
    else:
        report = _latency(bundle, arguments)
    _print(report)
    files = list(report.write(folder, "video" if video else "latency"))
    if not video and importlib.util.find_spec("matplotlib") is None:
        print("no plot: it needs the package 'matplotlib': pip install 'i2i-rt[train]'", file=sys.stderr)
    elif not video:
        from i2i_rt.benchmarks.plot import plot

        files.append(files[0].with_suffix(".png"))
        plot(report, files[-1])
    if old is not None:
        print(f"\nagainst {arguments.compare}, of {old.environment.get('date')}:")
        _print_table(comparison(old, report))
    print(f"\nwrote {', '.join(map(str, files))} in {time.perf_counter() - started:.0f} s")
    shape = "" if video else f" --size {arguments.size or 256} --batch {arguments.batch}"
    print(f"next: i2i-rt bench {' '.join(words)}{shape} --compare {files[0]}")
    return 1 if any(row.wrong for row in report.rows) else 0


def _kernels(arguments: argparse.Namespace) -> int:
    import torch

    from i2i_rt.benchmarks import gpu, kernels
    from i2i_rt.benchmarks.roofline import Rates

    if arguments.plan:
        rates = Rates()
        print(f"at {rates.tflops:.0f} TFLOP/s and {rates.terabytes:.1f} TB/s, in bf16:")
        _print_table(kernels.plan(rates))
        print(f"\neach is compared with {', '.join(variant.name for variant in kernels.VARIANTS[1:])}")
        for variant in kernels.VARIANTS:
            if (problem := variant.problem(torch.bfloat16)) is not None:
                print(f"- {variant.name}: not here: {problem}")
        return 0
    folder = Path(arguments.output or "bench-kernels")
    if folder.is_file():
        raise I2IError(f"-o {folder} is a file; name a folder for the results")
    device = gpu.require_gpu()
    rule = gpu.GPU_QUICK if arguments.quick else gpu.GPU_FULL
    with _progress() as progress:
        report = kernels.measure(device, gpu.graph_clock, rule, progress=progress)
    print(f"measured {report.rule}; a copy moves {report.rates.terabytes:.2f} TB/s")
    _print_table(kernels.table(report.rows, report.columns))
    for line in report.notes():
        print(f"- {line}")
    print(f"\nwrote {', '.join(map(str, report.write(folder)))}")
    return 1 if any(row.note.startswith("wrong") for row in report.rows) else 0


def _serving(path: Path, arguments: argparse.Namespace) -> int:
    from i2i_rt.benchmarks.measure import FULL, QUICK
    from i2i_rt.benchmarks.serving import bench, report, sweep

    folder = Path(arguments.output or f"bench-{path.resolve().name}")
    if folder.is_file():
        raise I2IError(f"-o {folder} is a file; name a folder for the results")
    with _progress() as progress:
        found = bench.measure(
            path,
            backend=arguments.backend or "auto",
            precision=arguments.precision or "auto",
            threads=arguments.threads,
            sizes=_sizes(arguments.size or "256"),
            plan=sweep.QUICK if arguments.quick else sweep.FULL,
            rule=QUICK if arguments.quick else FULL,
            progress=progress,
        )
    print(f"{found.title}\nmeasured {found.rule}")
    for rows in (report.cost_table(found.costs), report.load_table(found.closed), report.load_table(found.open)):
        _print_table(rows)
    print()
    for name, value in found.figures.items():
        print(f"  {name}: {value if isinstance(value, str) else f'{value:.4g}'}")
    for note in found.notes:
        print(f"- {note}")
    files = list(found.write(folder))
    if importlib.util.find_spec("matplotlib") is not None:
        from i2i_rt.benchmarks.serving.plot import plot

        files.append(files[0].with_suffix(".png"))
        plot(found, files[-1])
    print(f"\nwrote {', '.join(map(str, files))}")
    return 1 if any("WRONG" in row.load.codes for row in found.loads) else 0


def _latency(bundle: "Bundle", arguments: argparse.Namespace) -> "Report":
    from i2i_rt.benchmarks import latency
    from i2i_rt.benchmarks.measure import FULL, QUICK

    sizes, batches = _sizes(arguments.size or "256"), _numbers("--batch", arguments.batch)
    cases = [latency.Case(*size, batch) for size in sizes for batch in batches]
    variants = latency.variants(bundle, arguments.backend or "all", arguments.precision or "all", arguments.server)
    with _progress() as progress:
        return latency.measure(
            bundle,
            variants=variants,
            cases=cases,
            rule=QUICK if arguments.quick else FULL,
            threads=arguments.threads,
            build=not arguments.no_build,
            fused=arguments.fused,
            server=arguments.server,
            progress=progress,
        )


def _video(bundle: "Bundle", clip: Path | None, arguments: argparse.Namespace) -> "Report":
    from i2i_rt.benchmarks.video import measure

    sizes = _sizes(arguments.size) if arguments.size else [None]
    if len(sizes) > 1:
        raise I2IError(f"--size is {arguments.size!r}; a video has one size")
    if arguments.frames < 2:
        raise I2IError(f"--frames is {arguments.frames}; it must be at least 2")
    with _progress() as progress:
        return measure(
            bundle,
            clip,
            frames=arguments.frames,
            size=sizes[0],
            backend=arguments.backend or "auto",
            precision=arguments.precision or "auto",
            threads=arguments.threads,
            build=not arguments.no_build,
            fused=arguments.fused,
            server=arguments.server,
            quick=arguments.quick,
            progress=progress,
        )


def _sizes(text: str) -> list[tuple[int, int]]:
    """Reads "256,360x640" as heights and widths."""
    sizes = []
    for word in text.split(","):
        match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", word.strip())
        if match is None:
            raise I2IError(f"--size is {text!r}; it must be 256 or HxW such as 360x640, several with commas between")
        sizes.append((int(match[1]), int(match[2] or match[1])))
    return sizes


def _numbers(option: str, text: str) -> list[int]:
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise I2IError(f"{option} is {text!r}; it must be whole numbers from 1, such as 1,2,4")
    return [int(word) for word in words]


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update


def _print(report: "Report") -> None:
    from i2i_rt.benchmarks.report import notes, start_table, table

    print(f"{report.title}\nmeasured {report.rule}")
    _print_table(table(report.rows))
    starts = start_table(report.rows)
    if len(starts) > 1:
        _print_table(starts)
    if report.figures:
        print()
    for name, value in report.figures.items():
        print(f"  {name}: {value if isinstance(value, str) else f'{value:.4g}'}")
    if notes(report.rows):
        print()
    for line in notes(report.rows):
        print(f"- {line}")
    stamp = report.environment
    print(f"\n{stamp['cpu']}, {stamp['cpus']} CPUs, {stamp['cpus_in_use']} of them in use at the start")
    if (stamp["cpus_in_use"] or 0) > stamp["cpus"] / 4:
        print("this machine was busy before the benchmark began: neither times nor ratios are to be relied on")


def _print_table(lines: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    header, *rest = lines
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index < 2 else "right", no_wrap=index < 2)
    for line in rest:
        table.add_row(*line)
    print()
    Console(width=None if sys.stdout.isatty() else 160).print(table)
