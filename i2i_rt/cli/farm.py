"""Translates many files with many processes: one on each GPU, or several on the cores, here or on a Ray cluster.

  i2i-rt farm horse2zebra/ clips/ -o zebras/
  i2i-rt farm horse2zebra/ "shots/*.mp4" -o zebras/ --batch 4
  i2i-rt farm horse2zebra/ /shared/clips/ -o /shared/zebras/ --ray auto

Each result is what 'i2i-rt translate' makes of the file. Long videos are split at key frames and joined again;
with --stabilize a video stays whole, because each of its frames follows from the one before.

What is complete is not done again: the same command goes on after Ctrl-C, or after the machine failed, and skips
results that are there already. Where a process dies, another one goes on with its work. A file that cannot be
translated does not stop the others; it is named at the end, and the exit code is 1.
"""

import argparse
import hashlib
import signal
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from i2i_rt import __version__
from i2i_rt.bundle import Bundle, write_json
from i2i_rt.cli import open_translator
from i2i_rt.cli.style_options import check_style_options, make_styles
from i2i_rt.cli.translation_options import add_translation_options, check_kinds, video_options
from i2i_rt.farm.cluster import connected
from i2i_rt.farm.farm import Farm, FileResult
from i2i_rt.farm.report import progress, table_of
from i2i_rt.farm.work import Job, Model
from i2i_rt.runtime.machine import cpu_count
from i2i_rt.video import inputs
from i2i_rt.video.intake import intake_of
from i2i_rt.video.sizes import check_size

INTERRUPTED = 130
FOLDER = ".farm"  # beside the results: what is done, and the parts of what is not

# options whose value is a file, or a folder, of the caller's
FILES = ("bundle", "input", "output", "style", "reference", "instances")
# options that decide nothing of what the results hold
BESIDE = ("input", "output", "json", "ray", "threads", "no_build")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="the model: a folder made by 'i2i-rt train' or 'i2i-rt import'")
    parser.add_argument("input", help="a folder, a quoted pattern such as 'shots/*.mp4', or one file")
    parser.add_argument("-o", "--output", required=True, help="the folder of the results; a file for one input")
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="the Ray cluster to work on: HOST:PORT, ray://HOST:PORT or auto; its machines share the folders "
        "(default: start Ray here)",
    )
    add_translation_options(parser)


def run(arguments: argparse.Namespace) -> int:
    started = time.perf_counter()
    options = video_options(arguments)
    bundle = Bundle.open(arguments.bundle)
    intake = intake_of(bundle, arguments.instances)
    work = inputs.find(arguments.input, arguments.output, intake.still_suffixes)
    check_style_options(arguments, bundle)
    check_kinds(arguments, work)
    options = replace(options, fixed=bundle.stages["translate"].fixed_size)
    check_size(options.size, options.fixed)
    arguments = _absolute(arguments)
    tasks = [inputs.Task(task.source.resolve(), task.output.resolve(), task.is_video) for task in work.tasks]
    threads = arguments.threads or min(cpu_count(), 2)
    arguments.threads = threads
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, _interrupt)
    with progress(console) as shown:
        farm = Farm(
            job=Job(
                open_model=partial(_open_model, arguments),
                backend=arguments.backend,
                precision=arguments.precision,
                options=options,
                stabilize=arguments.stabilize,
                folder=tasks[0].output.parent / FOLDER,
            ),
            settings=_settings(arguments, bundle),
            connect=partial(
                connected,
                arguments.ray,
                bundle.path.resolve(),
                backend=arguments.backend,
                precision=arguments.precision,
                threads=threads,
            ),
            watcher=shown,
        )
        results = farm.run(tasks)
    _report(arguments, results, time.perf_counter() - started, ignored=work.ignored)
    states = {result.state for result in results}
    return INTERRUPTED if "interrupted" in states else 1 if "failed" in states else 0


def _open_model(arguments: argparse.Namespace, backend: str, precision: str) -> Model:
    """Opens the bundle as the options say; runs in each worker."""
    arguments = argparse.Namespace(**{**vars(arguments), "backend": backend, "precision": precision})
    bundle = Bundle.open(arguments.bundle)
    translator = open_translator(arguments, bundle.path)
    styles, _ = make_styles(arguments, translator)
    return Model(translator, intake_of(bundle, arguments.instances), tuple(styles))


def _absolute(arguments: argparse.Namespace) -> argparse.Namespace:
    """Gives the options with full names of files: workers have other current folders."""
    given = vars(arguments)
    full: dict[str, Any] = {name: Path(given[name]).resolve() for name in FILES if given[name] is not None}
    if given["style_path"]:
        full["style_path"] = ",".join(str(Path(name).resolve()) for name in given["style_path"].split(",") if name)
    return argparse.Namespace(**{**given, **full})


def _settings(arguments: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    """Gives what decides the results, besides the inputs."""
    given = {name: str(value) for name, value in vars(arguments).items() if name not in BESIDE}
    files = [arguments.style, arguments.reference, *(arguments.style_path or "").split(",")]
    hashes = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files if file]
    return {**given, "files": hashes, "weights": bundle.weights_sha256(), "version": __version__}


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _report(arguments: argparse.Namespace, results: list[FileResult], seconds: float, *, ignored: int) -> None:
    """Says what was written, and what was not."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    say(table_of(results))
    frames = sum(result.frames for result in results)
    done = sum(result.state == "done" for result in results)
    say(f"{arguments.output}: {done} written, {frames} frames in {seconds:.1f} s ({frames / seconds:.1f} frames/s)")
    if ignored:
        say(f"  neither image nor video: {ignored}")
    failed = [result for result in results if result.state == "failed"]
    for result in failed:
        print(f"i2i-rt farm: {result.task.source.name}: {result.error}", file=sys.stderr)
    if failed:
        print(f"i2i-rt farm: {len(failed)} of {len(results)} could not be translated", file=sys.stderr)
    if arguments.json:
        write_json(Path(arguments.json), _as_json(arguments, results, seconds))
        say(f"summary: {arguments.json}")
    if any(result.state == "interrupted" for result in results):
        say("interrupted; the same command goes on from there")


def _as_json(arguments: argparse.Namespace, results: list[FileResult], seconds: float) -> dict[str, Any]:
    files = []
    for result in results:
        content = asdict(result)
        task = content.pop("task")
        files.append({"input": str(task["source"]), "output": str(task["output"]), **content})
    return {"bundle": str(arguments.bundle), "seconds": seconds, "files": files}
