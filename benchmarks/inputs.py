"""What benchmarks feed a network: photographs or label maps, and a drawn style."""

import importlib.util
import itertools

import cv2
import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.export.verify import sample_photographs
from i2i_rt.spec import LabelInfo
from i2i_rt.style import Style

BLOCK_PX = 32  # of the fields of a drawn label map


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
    """Gives label maps `[N, H, W]`, uint8, of fields with drawn classes."""
    rows, columns = -(-height // BLOCK_PX), -(-width // BLOCK_PX)
    drawn = np.random.default_rng(0).integers(0, len(labels.names), (batch, rows, columns), np.uint8)
    return drawn.repeat(BLOCK_PX, axis=1).repeat(BLOCK_PX, axis=2)[:, :height, :width]


def sample_frames(height: int, width: int, batch: int) -> np.ndarray:
    """Gives photographs `[N, H, W, 3]`, uint8; noise where scikit-image is not there, as time is the same for both."""
    if importlib.util.find_spec("skimage") is None:
        return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
    photographs = itertools.islice(itertools.cycle(sample_photographs()), batch)
    return np.stack([cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA) for photo in photographs])
