"""`i2i-rt eval labels`: how well label maps agree."""

import argparse
import math
import time
from pathlib import Path

import numpy as np

from i2i_rt.cli import positive
from i2i_rt.cli.eval_report import Score, add_json_option, progress, report
from i2i_rt.errors import I2IError
from i2i_rt.label_maps import read_labels
from i2i_rt.label_names import label_info
from i2i_rt.metrics.folders import pairs
from i2i_rt.metrics.segmentation import agreement, confusion

LABELS = """Compares label maps with true ones of the same names; all pixels of all pictures count together.

mean IoU         intersection over union of a class, a mean over the classes that occur
fwIoU            the same, each class with its share of the true pixels
pixel accuracy   the share of pixels that are right

Label maps hold a class index a pixel; 255 in the truth does not count. 'i2i-rt label' makes the maps of pictures:
translations that should keep their labels are judged by what a task network sees in them.
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
    parser.add_argument("prediction", type=Path, help="those of the same names to judge")
    parser.add_argument("--classes", type=positive, required=True, metavar="N", help="labels are 0 to N - 1")
    add_json_option(parser)
    parser.set_defaults(evaluate=_labels)


def _labels(arguments: argparse.Namespace) -> int:
    started_s = time.perf_counter()
    labels = label_info("", arguments.classes, unknown=True, edges=False)
    files = pairs(arguments.truth, arguments.prediction, MAPS)
    counts = np.zeros((arguments.classes, arguments.classes), np.int64)
    for true_file, file in progress(files):
        truth, prediction = read_labels(true_file, labels), read_labels(file, labels)
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
