"""`i2i-rt eval labels`: how well label maps agree, or what a task network makes of pictures agrees with them."""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.cli import positive
from i2i_rt.cli.eval_pictures import progress
from i2i_rt.cli.eval_report import Score, add_json_option, report
from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.label_maps import read_labels
from i2i_rt.label_names import label_info
from i2i_rt.metrics.folders import pairs
from i2i_rt.metrics.segmentation import agreement, confusion
from i2i_rt.runtime import backends
from i2i_rt.spec import LabelInfo
from i2i_rt.video.stills import SUFFIXES, read_still

LABELS = """Compares label maps with true ones of the same names; all pixels of all pictures count together.

mean IoU         intersection over union of a class, a mean over the classes that occur
fwIoU            the same, each class with its share of the true pixels
pixel accuracy   the share of pixels that are right

Label maps hold a class index a pixel; 255 in the truth does not count. With --segment a bundle with a task network
labels the second folder's pictures first: that is how translations are judged that keep their labels.
"""
MAPS = frozenset({".png", ".npy", ".bmp", ".tif", ".tiff"})


def add(measures: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = measures.add_parser(
        "labels",
        help="mean IoU, frequency-weighted IoU and pixel accuracy of label maps",
        description=LABELS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("truth", type=Path, help="a folder of label maps, or one")
    parser.add_argument("prediction", type=Path, help="the label maps to judge; with --segment, pictures")
    parser.add_argument("--classes", type=positive, required=True, metavar="N", help="labels are 0 to N - 1")
    parser.add_argument("--segment", type=Path, metavar="BUNDLE", help="label the pictures with this task network")
    add_json_option(parser)
    parser.set_defaults(evaluate=_labels)


def _labels(arguments: argparse.Namespace) -> int:
    started_s = time.perf_counter()
    labels = label_info("", arguments.classes, unknown=True, edges=False)
    files = pairs(arguments.truth, arguments.prediction, MAPS | SUFFIXES if arguments.segment else MAPS)
    counts = np.zeros((arguments.classes, arguments.classes), np.int64)
    with _predictions(arguments.segment, labels) as predict:
        for true_file, file in progress(files):
            truth, prediction = read_labels(true_file, labels), predict(file)
            try:
                counts += confusion(truth, prediction, arguments.classes)
            except I2IError as error:
                raise I2IError(f"{true_file} and {file} do not fit: {error}") from error
    found = agreement(counts)
    by_class = [
        Score(f"iou_{index}", f"IoU of {labels.names[index]}", value, "higher", of_features=False)
        for index, value in enumerate(found.iou)
        if not math.isnan(value)
    ]
    return report(
        "labels",
        [
            *by_class,
            Score("mean_iou", "mean IoU", found.mean_iou, "higher", of_features=False),
            Score("frequency_weighted_iou", "fwIoU", found.frequency_weighted_iou, "higher", of_features=False),
            Score("pixel_accuracy", "pixel accuracy", found.pixel_accuracy, "higher", of_features=False),
        ],
        arguments,
        {"truth": arguments.truth, "prediction": arguments.prediction},
        started_s=started_s,
        counted=f"{len(files)} label maps",
        notes=_missing(found.iou),
        confusion=counts.tolist(),
    )


def _missing(iou: tuple[float, ...]) -> list[str]:
    absent = sum(math.isnan(value) for value in iou)
    return [f"{absent} of {len(iou)} classes occur nowhere and do not count in the mean"] if absent else []


@contextmanager
def _predictions(segmenter: Path | None, labels: LabelInfo) -> Iterator[Callable[[Path], np.ndarray]]:
    """Gives what reads a label map or, with a bundle of a task network, what labels a picture."""
    if segmenter is None:
        yield lambda file: read_labels(file, labels)
        return
    bundle = Bundle.open(segmenter)
    if "segment" not in bundle.stages:
        raise UnsupportedError(f"{segmenter} segments nothing; it has the stages {', '.join(bundle.stages)}")
    with closing(backends.open_session(bundle, backends.choose(bundle))) as session:
        yield lambda file: session.run("segment", {"frames": read_still(file).image[None]})["labels"][0]
