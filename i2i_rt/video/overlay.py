"""Figures written over a frame."""

from collections.abc import Sequence

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_lines(frame: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Gives a copy of an RGB frame `[H, W, 3]` with lines of text on a darkened bar at its top.

    The text is as large as the frame's height allows and its width can hold; OpenCV's font has ASCII only.
    """
    height, width = frame.shape[:2]
    widest = max(cv2.getTextSize(line, FONT, 1.0, 1)[0][0] for line in lines)
    scale = min(height / 600, (width - 8) / widest)
    if scale < 0.15:  # not legible
        return frame
    step = round(34 * scale)
    written = frame.copy()
    bar = written[: min(step * len(lines) + 6, height)]
    bar[:] = bar // 3
    for number, line in enumerate(lines, start=1):
        cv2.putText(written, line, (4, step * number), FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return written
