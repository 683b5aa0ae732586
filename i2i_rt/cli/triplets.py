"""Measure which pictures of a paired set have similar styles, for the training of StEP's style encoder.

  i2i-rt triplets edges2shoes/
  i2i-rt train step-styles --data edges2shoes/ -o runs/styles
  i2i-rt train step --data edges2shoes/ --from runs/styles -o runs/step

The styles of the pictures B are compared by the Gram matrices of VGG-16's features, each picture with each. The result
is kept in triplets.npz in the set's folder; any number of trainings use it. Held-out pictures (val/ or test/) are
compared among themselves.
"""

import argparse
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

from i2i_rt.errors import I2IError, MissingDependencyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="folder of the set, as 'i2i-rt train' takes it")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="(default: triplets.npz in the set's folder)")
    parser.add_argument("--direction", default="AtoB", help="AtoB or BtoA, as in the training (default: AtoB)")
    parser.add_argument("--crop-size", type=int, default=256, help="pixels of the middle to compare (default: 256)")
    parser.add_argument("--resize", default="square", help="as 'i2i-rt train' has it (default: square)")
    parser.add_argument("--images", type=int, default=8000, help="compare at most so many pictures (default: 8000)")
    parser.add_argument("--closest", type=int, default=5, help="neighbours that count as similar (default: 5)")
    parser.add_argument("--furthest", type=int, default=13, help="pictures that count as different (default: 13)")
    parser.add_argument(
        "--features",
        default="pretrained",
        help="pretrained, or random with a fixed seed, for tests: no styles of the paper (default: pretrained)",
    )


def run(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError("torch", "triplets", "training")
    from i2i_rt.systems.step_styles import RECIPE
    from i2i_rt.training.data import open_sampler
    from i2i_rt.training.recipes import options_of
    from i2i_rt.training.sampler import FolderSampler
    from i2i_rt.training.triplets import FILE, measure

    for name in ("images", "closest", "furthest"):
        if getattr(arguments, name) < 1:
            raise I2IError(f"--{name} is {getattr(arguments, name)}; it must be at least 1")
    path: Path = arguments.output or Path(arguments.data) / FILE
    if arguments.output is None and not path.parent.is_dir():
        raise I2IError(f"{arguments.data} is no folder; name the file to write with -o")
    size = {"load_size": arguments.crop_size, "crop_size": arguments.crop_size}
    options = options_of("step-styles", arguments.data, **size, resize=arguments.resize, direction=arguments.direction)
    pairs = open_sampler(options, replace(RECIPE, data="paired"))
    assert isinstance(pairs, FolderSampler)
    found = measure(
        pairs,
        arguments.features,
        crop_size=arguments.crop_size,
        closest=arguments.closest,
        furthest=arguments.furthest,
        images=arguments.images,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    found.save(path)
    held = "no held-out triplets" if found.held is None else f"{len(found.held.anchors)} held out"
    print(f"{path}: {len(found.train.anchors)} pictures, {held}")
    if found.features == "random":
        print("random features: these distances of styles are not the paper's")
    print(f"\nnext: i2i-rt train step-styles --data {arguments.data} -o RUN")
    return 0
