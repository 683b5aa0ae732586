"""Translates an image, a folder of images, a quoted pattern, or a video with its sound.

  i2i-rt translate horse2zebra/ horse.jpg -o zebra.png
  i2i-rt translate horse2zebra/ photos/ -o translated/
  i2i-rt translate horse2zebra/ "shots/*.mp4" -o translated/
  i2i-rt translate horse2zebra/ clip.mp4 -o zebra.mp4 --compare
  i2i-rt translate afhq/ dog.mp4 -o cat.mp4 --reference ginger.jpg --domain cat
  i2i-rt translate afhq/ dog.mp4 -o cats.mp4 --style-path ginger.npz,black.npz
  i2i-rt translate streets/ labels.png -o street.png --instances instances.png
  i2i-rt translate horse2zebra/ clip.mp4 -o zebra.mp4 --backend triton --server grpc://localhost:8001

Models of label maps take files that hold a class for each pixel: indices (grey, palette or .npy) or the palette's
colours; and videos of such pictures, of indices only where they are lossless.

Results that exist are replaced, once the new ones are complete. Where there are many inputs, one that cannot be
read does not stop the others; it is named at the end, and the exit code is 1. Images keep transparency where their
new format has it. Ctrl-C during a video leaves what is done as NAME.partial.mp4, and --resume goes on from there.
"""

import argparse
import shlex
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from i2i_rt.bundle import Bundle, write_json
from i2i_rt.cli import add_server_option, open_translator
from i2i_rt.cli.style_options import check_style_options, make_styles
from i2i_rt.cli.translation_options import add_translation_options, check_kinds, video_options
from i2i_rt.errors import I2IError
from i2i_rt.translator import Translator
from i2i_rt.video import inputs
from i2i_rt.video.clip_translator import ClipTranslator
from i2i_rt.video.intake import Intake, intake_of
from i2i_rt.video.part import VideoOptions
from i2i_rt.video.probe import Clip
from i2i_rt.video.report import Bar, print_still, print_video, progress_bar
from i2i_rt.video.sizes import check_size
from i2i_rt.video.translate import VideoSummary, translate_video
from i2i_rt.video.translate_stills import StillResult, translate_stills

INTERRUPTED = 130
MOST_LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="the model: a folder made by 'i2i-rt train' or 'i2i-rt import'")
    parser.add_argument("input", help="an image, a video, a folder, or a quoted pattern such as 'shots/*.png'")
    parser.add_argument("-o", "--output", required=True, help="the result: a file, or a folder for many inputs")
    add_translation_options(parser)
    add_server_option(parser, "--url")
    parser.add_argument("--resume", action="store_true", help="go on with a video, or a folder, that was interrupted")


@dataclass
class _Outcome:
    """What was done, in the order in which it was done."""

    stills: list[StillResult] = field(default_factory=list)
    videos: list[tuple[inputs.Task, VideoSummary]] = field(default_factory=list)
    errors: list[tuple[Path, I2IError]] = field(default_factory=list)
    skipped: int = 0
    style: str = ""

    @property
    def interrupted(self) -> bool:
        return any(summary.interrupted for _, summary in self.videos)


def run(arguments: argparse.Namespace) -> int:
    started = time.perf_counter()
    options = video_options(arguments, resume=arguments.resume)
    bundle = Bundle.open(arguments.bundle)
    intake = intake_of(bundle, arguments.instances)
    work = inputs.find(arguments.input, arguments.output, intake.still_suffixes)
    check_style_options(arguments, bundle)
    check_kinds(arguments, work)
    progress, outcome = Console(stderr=True), _Outcome()
    tasks = list(work.tasks)
    if arguments.resume and work.many:
        tasks = [task for task in tasks if not _is_done(task)]
        outcome.skipped = len(work.tasks) - len(tasks)
    with open_translator(arguments, bundle.path) as translator:
        check_size(options.size, translator.fixed_size)
        options = replace(options, fixed=translator.fixed_size)
        progress.print(f"{bundle.system}: {translator.description}", highlight=False, soft_wrap=True)
        if bundle.labels is not None and bundle.labels.edges and arguments.instances is None:
            progress.print("without --instances, no edges between instances are given to this model")
        _translate(arguments, options, translator, intake, tasks, outcome, progress)
    if not work.many and outcome.errors:
        raise outcome.errors[0][1]
    _report(arguments, outcome, time.perf_counter() - started, ignored=work.ignored)
    return INTERRUPTED if outcome.interrupted else 1 if outcome.errors else 0


def _is_done(task: inputs.Task) -> bool:
    return task.output.exists() and task.output.stat().st_mtime >= task.source.stat().st_mtime


def _translate(
    arguments: argparse.Namespace,
    options: VideoOptions,
    translator: Translator,
    intake: Intake,
    tasks: list[inputs.Task],
    outcome: _Outcome,
    progress: Console,
) -> None:
    styles, outcome.style = make_styles(arguments, translator)
    if styles:
        translator.current_style = styles[0]
        progress.print(outcome.style, markup=False, highlight=False, soft_wrap=True)
    stills = [task for task in tasks if not task.is_video]
    if stills:
        with progress_bar(progress, "images") as bar:
            bar.begin(len(stills))
            outcome.stills = translate_stills(
                translator,
                stills,
                size=options.size,
                max_pixels=options.max_pixels,
                compare=options.compare,
                fixed=options.fixed,
                intake=intake,
                advance=bar.advance,
            )
        outcome.errors = [(result.task.source, result.error) for result in outcome.stills if result.error is not None]
    session = translator.session
    model = f"{arguments.bundle} ({session.backend} {session.precision}, stabilize {arguments.stabilize}"
    model += f", style {' '.join(style.sha256[:12] for style in styles)})" if styles else ")"
    for task in tasks:
        if not task.is_video:
            continue
        translate = ClipTranslator(translator, stabilize=arguments.stabilize, styles=styles)
        if translate.note:
            progress.print(translate.note, highlight=False, soft_wrap=True)
        try:
            with progress_bar(progress, "frames") as bar:

                def begin(clip: Clip, kept: int, bar: Bar = bar, translate: ClipTranslator = translate) -> None:
                    bar.begin(clip.expected_frames, kept)
                    translate.begin(clip, kept)

                summary = translate_video(
                    translate,
                    task.source,
                    task.output,
                    options,
                    model=model,
                    intake=intake,
                    warm_up=translate.warm_up,
                    begin=begin,
                    advance=bar.advance,
                )
        except I2IError as error:
            outcome.errors.append((task.source, error))
            continue
        outcome.videos.append((task, summary))
        if summary.interrupted:
            return


def _report(arguments: argparse.Namespace, outcome: _Outcome, seconds: float, *, ignored: int) -> None:
    """Says what was written, what was not, and what to do next."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    done = [result for result in outcome.stills if result.error is None]
    for result in done if len(done) == 1 else []:
        print_still(say, result)
    for _, summary in outcome.videos:
        print_video(say, summary)
    if len(done) + len(outcome.videos) != 1:
        written = " and ".join(
            f"{count} {what}{'s' * (count != 1)}"
            for count, what in ((len(done), "image"), (len(outcome.videos), "video"))
            if count
        )
        say(f"{arguments.output}: {written or 'nothing'} written in {seconds:.1f} s")
        changed = [result for result in done if result.notes]
        for result in changed[:MOST_LISTED]:
            say(f"  changed  {result.task.output.name}: {'; '.join(result.notes)}")
        if len(changed) > MOST_LISTED:
            say(f"  changed  and {len(changed) - MOST_LISTED} more; --json lists all")
    if outcome.skipped:
        say(f"  done by an earlier run: {outcome.skipped}")
    if ignored:
        say(f"  neither image nor video: {ignored}")
    for _, error in outcome.errors:
        print(f"i2i-rt translate: {error}", file=sys.stderr)
    if outcome.errors:
        total = len(outcome.errors) + len(done) + len(outcome.videos)
        print(f"i2i-rt translate: {len(outcome.errors)} of {total} could not be translated", file=sys.stderr)
    if arguments.json:
        write_json(Path(arguments.json), _as_json(arguments, outcome, seconds))
        say(f"summary: {arguments.json}")
    if outcome.interrupted:
        say("interrupted; the same command with --resume goes on from there")
    elif outcome.videos and not arguments.compare:
        task, summary = outcome.videos[-1]
        say(f"next: i2i-rt eval video {shlex.join(map(str, (task.source, summary.output)))}")


def _as_json(arguments: argparse.Namespace, outcome: _Outcome, seconds: float) -> dict[str, Any]:
    return {
        "bundle": arguments.bundle,
        "style": outcome.style.removeprefix("style: ") or None,
        "seconds": seconds,
        "images": [
            {
                "input": str(result.task.source),
                "output": str(result.task.output),
                "height": result.height,
                "width": result.width,
                "changed": result.notes,
            }
            for result in outcome.stills
            if result.error is None
        ],
        "videos": [
            {"input": str(task.source), **asdict(summary), "output": str(summary.output)}
            for task, summary in outcome.videos
        ],
        "errors": [{"input": str(source), "error": str(error)} for source, error in outcome.errors],
        "skipped": outcome.skipped,
    }
