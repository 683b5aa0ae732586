"""How well label maps agree: mean and frequency-weighted IoU, and pixel accuracy.

With the formulas of section 3.4.3 of Park's thesis, which are those of Long et al. 2015, arXiv:1411.4038, section 5.
They are taken of all pixels of a set together, so pictures are counted first, and their counts added up.
"""

from dataclasses import dataclass

import numpy as np

from i2i_rt.errors import I2IError

UNKNOWN = 255  # in the truth: such pixels do not count


@dataclass(frozen=True)
class Agreement:
    """What a set of predictions is worth: shares, 1 where every pixel is right.

    Attributes:
        mean_iou: intersection over union, a mean over the classes that are in the truth or in the prediction.
        frequency_weighted_iou: the same, each class by its share of the truth's pixels.
        pixel_accuracy: the share of pixels that are right.
        iou: of each class; NaN where it is nowhere.
    """

    mean_iou: float
    frequency_weighted_iou: float
    pixel_accuracy: float
    iou: tuple[float, ...]


def confusion(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Counts the pixels of two label maps of one shape: `[classes, classes]`, row i and column j for i taken for j.

    Raises:
        I2IError: where the shapes differ, or a value is no class.
    """
    if truth.shape != prediction.shape:
        raise I2IError(f"the truth has the shape {list(truth.shape)} and the prediction {list(prediction.shape)}")
    known = truth != UNKNOWN
    true, predicted = truth[known].astype(np.int64), prediction[known].astype(np.int64)
    for name, values in (("truth", true), ("prediction", predicted)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            wrong = values[(values < 0) | (values >= classes)][0]
            raise I2IError(f"the {name} has the label {wrong}; with {classes} classes they are 0 to {classes - 1}")
    return np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)


def agreement(counts: np.ndarray) -> Agreement:
    """Gives the scores of what `confusion` counted, of one picture or added up over many.

    Raises:
        I2IError: where nothing was counted.
    """
    right, true, predicted = np.diag(counts).astype(float), counts.sum(1), counts.sum(0)
    pixels = true.sum()
    if not pixels:
        raise I2IError("no pixel of the truth has a known label")
    union = true + predicted - right
    iou = np.divide(right, union, out=np.full(len(counts), np.nan), where=union > 0)
    return Agreement(
        mean_iou=float(np.nanmean(iou)),
        frequency_weighted_iou=float(np.nansum(true * iou) / pixels),
        pixel_accuracy=float(right.sum() / pixels),
        iou=tuple(iou.tolist()),
    )
