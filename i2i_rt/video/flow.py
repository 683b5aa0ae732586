"""Dense optical flow by DIS (Kroeger et al. 2016, arXiv:1603.03590): needs no weights, a few ms a frame on a CPU."""

from typing import Any, Literal

import cv2
import numpy as np

SMALLEST_SIDE_PX = 16  # DIS matches patches of 8x8 pixels and needs some of them on each side

_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class DenseFlow:
    """Tells for each pixel of one frame where it lies in another; "medium" costs 10 times as much as "ultrafast"."""

    def __init__(self, preset: Literal["ultrafast", "medium"]) -> None:
        self._dis: Any = cv2.DISOpticalFlow.create(_PRESETS[preset])

    def __call__(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Gives `[H, W, 2]` float32, x before y, in pixels, so that `source[p]` is like `target[p + flow[p]]`.

        Both are grey, `[H, W]` uint8. Frames that are too small for DIS have no motion.
        """
        if min(source.shape) < SMALLEST_SIDE_PX:
            return np.zeros((*source.shape, 2), np.float32)
        flow: np.ndarray = self._dis.calc(source, target, None)
        return flow


def grey(frame: np.ndarray) -> np.ndarray:
    """Gives the luma of an RGB frame `[H, W, 3]` uint8 as `[H, W]` uint8."""
    luma: np.ndarray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return luma


def warp(image: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives `image[p + flow[p]]` for each pixel `p`, bilinear, and a mask `[H, W]` of those that lie inside it."""
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), inside


def resized_flow(flow: np.ndarray, width: int, height: int) -> np.ndarray:
    """Gives the flow `[H, W, 2]` of frames of another size; its vectors grow with them."""
    if flow.shape[:2] == (height, width):
        return flow
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    result: np.ndarray = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * scale
    return result
