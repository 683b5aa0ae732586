"""The options that `translate` and `farm` share: what the result looks like."""

import argparse
from pathlib import Path

from i2i_rt.cli import add_backend_options
from i2i_rt.cli.style_options import add_style_options
from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.video import inputs
from i2i_rt.video.part import VideoOptions
from i2i_rt.video.sizes import MAX_PIXELS, parse_size
from i2i_rt.video.writer import Encoding


def add_translation_options(parser: argparse.ArgumentParser) -> None:
    add_backend_options(parser)
    parser.add_argument("--size", metavar="HxW", help="resize to this height and width first (default: keep the size)")
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        help="make larger pictures smaller; they are never cut into tiles (default: %(default)s)",
    )
    parser.add_argument("--compare", action="store_true", help="write the input to the left of the result")
    parser.add_argument(
        "--instances",
        type=Path,
        metavar="FILE",
        help="label maps: the instance map, or a folder of them with the same names",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the summary as JSON")
    add_style_options(parser, video=True)
    video = parser.add_argument_group("video")
    video.add_argument("--batch", type=int, default=1, help="frames that the network takes at once (default: 1)")
    video.add_argument(
        "--stabilize",
        choices=("off", "light", "strong"),
        default="off",
        help="hold back flicker: light by smoothed statistics, strong also by optical flow (default: off)",
    )
    video.add_argument(
        "--reader",
        choices=("auto", "opencv", "pyav"),
        default="auto",
        help="what decodes; auto takes OpenCV, and PyAV where that cannot (default: auto)",
    )
    video.add_argument("--crf", type=int, default=18, help="quality, 0 (best) to 51 (smallest) (default: 18)")
    video.add_argument("--preset", default="veryfast", help="x264's preset, ultrafast to veryslow (default: veryfast)")


def video_options(arguments: argparse.Namespace, *, resume: bool = False) -> VideoOptions:
    """Gives what the options say.

    Raises:
        I2IError: where one has no such value, or two contradict each other.
    """
    for option in ("batch", "max_pixels"):
        value = getattr(arguments, option)
        if value < 1:
            raise I2IError(f"--{option.replace('_', '-')} is {value}; it must be at least 1")
    if arguments.json and not Path(arguments.json).parent.is_dir():
        raise I2IError(f"{arguments.json} cannot be written: there is no folder {Path(arguments.json).parent}")
    if arguments.stabilize != "off" and arguments.batch > 1:
        raise UnsupportedError("--stabilize takes frames one by one, and --batch more; leave --batch out")
    return VideoOptions(
        batch=arguments.batch,
        size=parse_size(arguments.size) if arguments.size else None,
        max_pixels=arguments.max_pixels,
        compare=arguments.compare,
        reader=arguments.reader,
        encoding=Encoding(arguments.crf, arguments.preset),
        resume=resume,
    )


def check_kinds(arguments: argparse.Namespace, work: inputs.Tasks) -> None:
    """Finds options that are not for what was given.

    Raises:
        UnsupportedError: where there is one.
    """
    videos = sum(task.is_video for task in work.tasks)
    for option, given in (("--stabilize", arguments.stabilize != "off"), ("--style-path", arguments.style_path)):
        if given and not videos:
            raise UnsupportedError(f"{option} is for videos, and {arguments.input} is none; leave it out")
    if arguments.style_path and videos < len(work.tasks):
        raise UnsupportedError(f"--style-path is for videos, and {arguments.input} has others; name the videos only")
    if arguments.instances and videos:
        raise UnsupportedError(f"--instances is for single maps, and {arguments.input} has videos; leave it out")
    if arguments.instances and work.many and not arguments.instances.is_dir():
        raise UnsupportedError(f"--instances {arguments.instances} is one map for many; name a folder of them")
