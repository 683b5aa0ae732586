"""What benchmarks feed a network: photographs or label maps, and a drawn style."""

import importlib.util
import itertools

import cv2
import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.export.verify import sample_photographs
from i2i_rt.spec import LabelInfo
from i2i_rt.style import Style

FIELDS = 16  # of a drawn label map
BEND_PX, BEND_BY_PX = 12, 4  # its borders wind every so many pixels, by so many


def sample_inputs(bundle: Bundle, height: int, width: int, batch: int) -> dict[str, np.ndarray]:
    """Gives inputs of the stage `translate`: its frames or label maps, no edges, one drawn style for all."""
    inputs = {}
    for tensor in bundle.stages["translate"].inputs:
        if tensor.name == "style":
            inputs["style"] = np.repeat(sample_style(bundle).code[None], batch, axis=0)
        elif tensor.name == "labels" and bundle.labels is not None:
            inputs["labels"] = sample_labels(bundle.labels, height, width, batch)
        elif tensor.name == "frames":
            inputs["frames"] = sample_frames(height, width, batch)
        else:
            inputs[tensor.name] = np.zeros((batch, height, width), np.uint8)
    return inputs


def sample_style(bundle: Bundle) -> Style:
    """Draws a code from N(0, 1): time does not depend on it, and every system has a code of that kind."""
    (size,) = (tensor.axes[1].size or 0 for tensor in bundle.stages["translate"].inputs if tensor.name == "style")
    code = np.random.Generator(np.random.PCG64(0)).standard_normal(size).astype(np.float32)
    return Style(code, bundle.system, bundle.weights_sha256(), "drawn for a benchmark")


def sample_labels(labels: LabelInfo, height: int, width: int, batch: int) -> np.ndarray:
    """Gives label maps `[N, H, W]`, uint8, of fields with drawn classes and winding borders."""
    return drawn_labels(len(labels.names), height, width, batch)


def drawn_labels(classes: int, height: int, width: int, count: int) -> np.ndarray:
    """Gives label maps `[N, H, W]`, uint8.

    They are about as varied as real ones: at 256x256 some 5 % of their 5x5 windows are different,
    of COCO-Stuff's without edges 6 %.
    """
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    maps = []
    for _ in range(count):
        # every pixel belongs to the nearest of the drawn centres, seen from a place nearby
        shape = (2, height // BEND_PX + 2, width // BEND_PX + 2)
        bend = BEND_BY_PX * random.standard_normal(shape, np.float32)
        down, right = (cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC) for part in bend)
        distances = [
            (rows + down - random.uniform(0, height)) ** 2 + (columns + right - random.uniform(0, width)) ** 2
            for _ in range(FIELDS)
        ]
        maps.append(random.integers(0, classes, FIELDS)[np.argmin(distances, axis=0)].astype(np.uint8))
    return np.stack(maps)


def sample_frames(height: int, width: int, batch: int) -> np.ndarray:
    """Gives photographs `[N, H, W, 3]`, uint8; noise where scikit-image is not there, as time is the same for both."""
    if importlib.util.find_spec("skimage") is None:
        return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
    photographs = itertools.islice(itertools.cycle(sample_photographs()), batch)
    return np.stack([cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA) for photo in photographs])
