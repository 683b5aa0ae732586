"""Gives every pixel of pictures a class, with a network of 'i2i-rt train segmentation' or 'i2i-rt import cycada'.

  i2i-rt label runs/city/bundle street.jpg -o labels.png
  i2i-rt label runs/city/bundle val_img/ -o found/

Results are PNGs of class indices with a palette: viewers show colours, and what reads label maps reads the indices.
Where there are many pictures, one that cannot be read does not stop the others; it is named, and the exit code is 1.
"""

import argparse
import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from i2i_rt.bundle import Bundle
from i2i_rt.cli import add_backend_options
from i2i_rt.errors import I2IError, MediaError, UnsupportedError
from i2i_rt.label_names import label_info
from i2i_rt.runtime import backends
from i2i_rt.runtime.session import Session
from i2i_rt.video import inputs
from i2i_rt.video.report import progress_bar
from i2i_rt.video.stills import read_still

STAGE = "segment"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="the network: a folder made by 'i2i-rt train' or 'i2i-rt import'")
    parser.add_argument("input", help="a picture, a folder, or a quoted pattern such as 'shots/*.png'")
    parser.add_argument("-o", "--output", required=True, help="the label map, a PNG; a folder for many pictures")
    add_backend_options(parser)


def run(arguments: argparse.Namespace) -> int:
    bundle = Bundle.open(arguments.bundle)
    if STAGE not in bundle.stages:
        raise UnsupportedError(f"{bundle.path} labels no pixels; it has the stages {', '.join(bundle.stages)}")
    tasks = _tasks(arguments)
    choice = backends.choose(bundle, arguments.backend, arguments.precision)
    choice = replace(choice, build=not arguments.no_build, fused=arguments.fused)
    errors: list[I2IError] = []
    with (
        backends.open_session(bundle, choice, threads=arguments.threads) as session,
        progress_bar(Console(stderr=True), "pictures") as bar,
    ):
        bar.begin(len(tasks))
        for source, output in tasks:
            try:
                _label(session, source, output)
            except I2IError as error:
                errors.append(error)
            bar.advance(1)
    if errors and len(tasks) == 1:
        raise errors[0]
    for sentence in errors:
        print(f"i2i-rt label: {sentence}", file=sys.stderr)
    print(f"labelled {len(tasks) - len(errors)} of {len(tasks)} pictures: {arguments.output}")
    return 1 if errors else 0


def _tasks(arguments: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Gives the pictures and where their label maps go: PNGs, whatever the pictures are.

    Raises:
        MediaError: where there are none, or two would have one result.
    """
    work = inputs.find(arguments.input, arguments.output)
    sources = [task.source for task in work.tasks if not task.is_video]
    if not sources:
        raise MediaError(f"{arguments.input} holds no pictures; label the frames of a video")
    if not work.many:
        output = work.tasks[0].output
        if output.suffix.lower() != ".png":
            raise MediaError(f"{output} is no PNG; label maps are written as .png")
        return [(sources[0], output)]
    results: dict[Path, Path] = {}
    for source in sources:
        output = Path(arguments.output) / f"{source.stem}.png"
        if output in results:
            raise MediaError(f"{results[output]} and {source} would both become {output}; rename one of them")
        if output.exists() and output.samefile(source):
            raise MediaError(f"{output} is an input itself; name another folder with -o")
        results[output] = source
    return [(source, output) for output, source in results.items()]


def _label(session: Session, source: Path, output: Path) -> None:
    frames = read_still(source).image[None]
    labels = session.run(STAGE, {"frames": frames})["labels"][0]
    _write(output, labels)


def _write(output: Path, labels: np.ndarray) -> None:
    """Writes `[H, W]` uint8; the name appears when the file is complete."""
    picture = Image.fromarray(labels)
    picture.putpalette(np.array(label_info("", 255, unknown=True, edges=False).palette, np.uint8).tobytes())
    content = io.BytesIO()
    picture.save(content, format="PNG")
    temporary = output.with_name(f".{output.name}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.getvalue())
        temporary.replace(output)
    except OSError as error:
        raise MediaError(f"{output} cannot be written: {error.strerror or error}") from error
