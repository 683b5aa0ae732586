"""Translates a camera or a network stream while it runs: always the newest frame, so that the delay stays short.

    i2i-rt live horse2zebra/ --camera 0
    i2i-rt live horse2zebra/ --url rtsp://192.168.1.20/stream --stabilize light --output zebra.mp4
    i2i-rt live horse2zebra/ --url ride.mp4 --duration 10 --output frames/
    i2i-rt live afhq/ --camera 0 --reference ginger.jpg black.jpg --domain cat
    i2i-rt live horse2zebra/ --camera 0 --backend triton --server grpc://localhost:8001

A window shows the result, with frames per second and the delay from arrival to display; Q closes it. Without a
display the frames are written: to a video with the times of their arrival, or to a folder of pictures. Ctrl-C ends
the run, completes the file and prints the summary. A stream that breaks off is opened again. The style of a reference
follows its file: it is read again when it changes.
"""

import argparse
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from rich.console import Console

from i2i_rt.bundle import write_json
from i2i_rt.cli import add_backend_options, add_server_option, open_translator, positive
from i2i_rt.cli.style_options import add_style_options, check_style_options, make_styles
from i2i_rt.errors import I2IError, MediaError
from i2i_rt.video.camera import LatestFrameReader, OpenCVSource, without_password
from i2i_rt.video.intake import intake_of
from i2i_rt.video.live import Status, Summary, Window, translate_live, window_problem
from i2i_rt.video.recording import FrameFolder, VideoRecording, open_recording
from i2i_rt.video.references import References
from i2i_rt.video.sizes import MAX_PIXELS, check_size, parse_size, target_size
from i2i_rt.video.stabilize import Stabilizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--camera", type=int, metavar="N", help="number of the camera, 0 being the first")
    source.add_argument("--url", help="rtsp://…, http://…, or a video file, which is played in real time")
    parser.add_argument(
        "-o", "--output", type=Path, help="write the frames to a video (.mp4, .mov, .mkv) or, without suffix, a folder"
    )
    parser.add_argument("--size", metavar="HxW", help="resize to this height and width first (default: keep the size)")
    parser.add_argument(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help="make larger frames smaller; they are never cut into tiles (default: %(default)s)",
    )
    parser.add_argument(
        "--stabilize",
        choices=("off", "light", "strong"),
        default="off",
        help="light holds back drifts of colour, strong also crawling texture, at a loss of sharpness (default: off)",
    )
    parser.add_argument("--duration", type=_seconds, metavar="S", help="end after this many seconds")
    parser.add_argument("--frames", type=positive, metavar="N", help="end after this many frames")
    parser.add_argument("--overlay", action="store_true", help="write rate and delay into the files' frames too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the summary as JSON")
    add_style_options(parser, video=False)
    add_backend_options(parser)
    add_server_option(parser)


def run(arguments: argparse.Namespace) -> int:
    progress = Console(stderr=True)

    def say(text: str) -> None:
        progress.print(text, markup=False, highlight=False, soft_wrap=True)

    size = parse_size(arguments.size) if arguments.size else None
    where: int | str = arguments.url if arguments.camera is None else arguments.camera
    name = f"camera {where}" if isinstance(where, int) else without_password(where)
    output = arguments.output
    if isinstance(where, str) and output is not None and output.is_file():
        source = Path(where.removeprefix("file://"))
        if source.exists() and output.samefile(source):
            raise MediaError(f"{output} is the input itself; name another file with --output")
    with ExitStack() as stack:
        translator = stack.enter_context(open_translator(arguments, arguments.bundle))
        check_size(size, translator.fixed_size)
        if translator.bundle is not None:
            check_style_options(arguments, translator.bundle)
        reader = LatestFrameReader(lambda: OpenCVSource(where), name=name, say=say)
        stack.callback(reader.close)
        stop = stack.enter_context(_stop_on_interrupt())
        recording = _recording(arguments.output, say)
        if recording is not None:
            stack.callback(recording.close)
        stabilizer = Stabilizer(translator, arguments.stabilize)
        intake = intake_of(translator.bundle)
        height, width = target_size(
            *reader.first.shape[:2], size=size, max_pixels=arguments.max_pixels, fixed=translator.fixed_size
        )
        only = ", the model's only size" if translator.fixed_size else ""
        say(f"{name}: {reader.first.shape[1]}x{reader.first.shape[0]}, translated at {width}x{height}{only}")
        say(f"running {translator.description}")
        if stabilizer.note:
            say(stabilizer.note)
        references = None
        if arguments.reference:
            references = References(arguments.reference, say=say)
            stack.callback(references.close)
        styles, described = make_styles(arguments, translator)
        if styles:
            translator.current_style = styles[0]
            say(described)
        stabilizer.warm_up(height, width)
        window = None
        if window_problem() is None:
            keys = {} if references is None else {"r": references.again, "n": references.next}
            window = Window(f"i2i-rt live: {arguments.bundle.name}", stop, keys)
            stack.callback(window.close)
        status = stack.enter_context(progress.status("waiting for a frame") if progress.is_terminal else nullcontext())

        def translate(frames: np.ndarray) -> np.ndarray | Future[np.ndarray]:
            changed = None if references is None else references.take()
            if changed is not None:  # between two frames: a session belongs to one thread
                translator.current_style = translator.style(image=changed[1], domain=arguments.domain)
                say(f"style: {translator.current_style.origin}, {changed[0]}")
            taken = intake.resized(intake.from_frame(frames[0]), (height, width))[None]
            return translator.begin(taken) if arguments.stabilize == "off" else stabilizer(taken)

        summary = translate_live(
            reader,
            translate,
            window=window,
            files=[] if recording is None else [recording],
            overlay_in_files=arguments.overlay,
            stop=stop,
            max_frames=arguments.frames,
            duration_s=arguments.duration,
            show_status=(lambda now: None) if status is None else lambda now: status.update(_line(now)),
        )
    _report(summary, recording, arguments.bundle, end="file" if window is None else "display")
    if arguments.json is not None:
        write_json(arguments.json, asdict(summary))
        print(f"wrote {arguments.json}")
    return 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; it must be a number of seconds above 0")
    return seconds


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Gives an event that the first Ctrl-C or SIGTERM sets, so that no frame is cut in two; the second one kills."""
    stop = threading.Event()
    before: dict[signal.Signals, Any] = {}

    def interrupt(number: int, frame: FrameType | None) -> None:
        stop.set()
        for signal_, handler in before.items():
            signal.signal(signal_, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, interrupt)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _recording(output: Path | None, say: Callable[[str], None]) -> VideoRecording | FrameFolder | None:
    """Opens the output; where there is neither a window nor a name, the name is the date."""
    problem = window_problem()
    if output is None and problem is not None:
        output = Path(time.strftime("live-%Y%m%d-%H%M%S.mp4"))
        say(f"no window: {problem}; writing {output} (--output names another file)")
    return None if output is None else open_recording(output)


def _line(status: Status) -> str:
    return "   ".join(status.lines()) + "   (Ctrl-C ends)"


def _report(summary: Summary, recording: VideoRecording | FrameFolder | None, bundle: Path, *, end: str) -> None:
    """Prints what was shown and written."""
    if not summary.frames:
        raise I2IError("the run ended before a frame was translated; nothing was written")
    print(
        f"{summary.frames} frames in {summary.duration_s:.1f} s, {summary.fps:.1f} fps; {summary.received} arrived, "
        f"{summary.dropped} dropped, {summary.reconnects} reconnects"
    )
    print(
        f"delay from arrival to {end}: p50 {summary.delay_p50_ms:.0f} ms, p90 {summary.delay_p90_ms:.0f} ms, "
        f"p99 {summary.delay_p99_ms:.0f} ms"
    )
    if recording is not None and recording.frames:
        what = "a video" if isinstance(recording, VideoRecording) else "a folder"
        print(f"wrote {recording.path}, {what} of {recording.frames} frames, {recording.size_bytes / 1e6:.1f} MB")
    if summary.dropped > summary.frames / 10:
        print(f"next: i2i-rt bench {bundle} finds a faster backend; a smaller --size also drops fewer frames")
