"""Steadier video from a network that knows single frames only.

    off     every frame by itself
    light   the statistics of the normalisation layers follow an exponential moving average, which holds back
            drifts of colour and brightness over the whole picture; they start anew at a cut
    strong  light, and the last result is carried along the motion and mixed into the new one, which holds back
            the crawl of texture and costs sharpness

Needs no torch: the statistics are a stage of the bundle, the rest is OpenCV.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import cv2
import numpy as np

from i2i_rt.errors import UnsupportedError, closest
from i2i_rt.runtime.session import SteadyVideo
from i2i_rt.style import Style
from i2i_rt.translator import Translator
from i2i_rt.video.flow import DenseFlow, grey, resized_flow, warp
from i2i_rt.video.intake import intake_of

Strength = Literal["off", "light", "strong"]

STAGE = "translate_stabilized"
MOMENTUM = 0.98  # share of the earlier statistics: a memory of 50 frames, 1.7 s at 30 frames a second
CUT_DISTANCE = 0.4  # Bhattacharyya distance of colour histograms; cuts reach 0.8, motion stays below 0.1
BLEND_SHARE = 0.65  # of the last result, where the flow explains the picture
BLEND_TOLERANCE = 8.0  # 8-bit levels of difference at which the share of the last result falls to 1/e
FLOW_SIDE_PX = 360  # the flow is sought on frames whose shorter side is at most this


class CutDetector:
    """Compares each frame's colours with those of the frame before it."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> bool:
        """Says whether another scene begins with this frame, `[H, W, 3]` uint8 RGB; the first one begins none."""
        height, width = frame.shape[:2]
        small = cv2.resize(frame, (min(width, 160), min(height, 120)), interpolation=cv2.INTER_AREA)
        hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
        counts = cv2.calcHist([hsv], [0, 1, 2], None, [8, 8, 8], [0, 180, 0, 256, 0, 256])
        # a change of exposure shifts saturation and value by less than a bin, and is no cut
        spread = np.array([1, 2, 1], np.float32) / 4
        histogram = cv2.sepFilter2D(counts.transpose(1, 2, 0), -1, spread, spread, borderType=cv2.BORDER_REPLICATE)
        last, self._last = self._last, histogram
        return last is not None and cv2.compareHist(last, histogram, cv2.HISTCMP_BHATTACHARYYA) > CUT_DISTANCE


class Stabilizer:
    """Translates the frames of one video in their order; takes the place of the translator itself.

    Attributes:
        note: what the strength cannot do with this bundle, in one sentence; empty where it does all.
    """

    def __init__(self, translator: Translator, strength: Strength, *, momentum: float = MOMENTUM) -> None:
        """Takes the share of the earlier statistics as `momentum`, at least 0 and below 1."""
        if strength not in get_args(Strength):
            raise UnsupportedError(f"no stabilisation is called {strength!r}; {closest(strength, get_args(Strength))}")
        self._translator, self._strength, self._momentum = translator, strength, momentum
        self._intake = intake_of(translator.bundle)
        stage = translator.session.stages.get(STAGE)
        self._channels = stage.inputs[1].axes[1].size if stage is not None and strength != "off" else None
        self._video: SteadyVideo | None = None
        if strength != "off" and self._channels is None:
            self._video = translator.session.steady_video(momentum)
        self.note = ""
        if strength != "off" and self._channels is None and self._video is None:
            rest = "--stabilize light changes nothing" if strength == "light" else "only the flow steadies the video"
            self.note = f"this model has no statistics that could be smoothed, so that {rest}"
        self._flow = DenseFlow("ultrafast")
        self.reset()

    def reset(self) -> None:
        """Forgets the frames before, as at the start of another video."""
        self._cut = CutDetector()
        self._statistics: np.ndarray | None = None
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # input as the flow sees it, result
        if self._video is not None:
            self._video.close()  # what it is given next begins another video

    def warm_up(self, height: int, width: int) -> None:
        """Pays first-run costs for frames of this size now, so that the first real frame does not."""
        black = self._intake.from_frame(np.zeros((height, width, 3), np.uint8))
        for _ in range(2):
            self(black[None])
        self.reset()

    def __call__(self, frames: np.ndarray, styles: Sequence[Style] | None = None) -> np.ndarray:
        """Translates the next frames of the video one after another, uint8 RGB `[N, H, W, 3]` or label maps.

        `styles` has one for each frame, in place of the translator's own.
        """
        if self._strength == "off":
            return self._translator(frames, styles)
        results = [
            self._translate_next(frames[index : index + 1], None if styles is None else styles[index : index + 1])
            for index in range(len(frames))
        ]
        return np.concatenate(results)

    def _translate_next(self, frames: np.ndarray, style: Sequence[Style] | None) -> np.ndarray:
        picture = self._intake.shown(frames[0])
        if self._cut(picture) or (self._last is not None and self._last[1].shape != picture.shape):
            self._statistics = self._last = None
        if self._video is not None:
            result = self._video(frames[0])[None]  # which begins anew at cuts by itself
        elif self._channels is None:
            result = self._translator(frames, style)
        else:
            result = self._with_statistics(frames, self._channels)
        small = _reduced(picture)
        if self._strength == "strong" and self._last is not None:
            result = self._blended(small, result[0], *self._last)[None]
        self._last = small, result[0]
        return result

    def _with_statistics(self, frames: np.ndarray, channels: int) -> np.ndarray:
        momentum = self._momentum
        if self._statistics is None:
            self._statistics, momentum = np.zeros((2, channels), np.float32), 0.0
        outputs = self._translator.session.run(
            STAGE,
            {"frames": frames, "statistics": self._statistics, "momentum": np.array([momentum], np.float32)},
        )
        self._statistics = outputs["statistics_out"]
        return outputs["translated"]

    def _blended(
        self, small: np.ndarray, result: np.ndarray, last_small: np.ndarray, last_result: np.ndarray
    ) -> np.ndarray:
        """Mixes the last result into `result` `[H, W, 3]` where the motion explains the new frame."""
        height, width = result.shape[:2]
        flow = self._flow(grey(small), grey(last_small))
        expected, inside = warp(last_small, flow)
        difference = cv2.transform(cv2.absdiff(expected, small).astype(np.float32), np.full((1, 3), 1 / 3))
        share = BLEND_SHARE * inside * cv2.exp(difference * np.float32(-1 / BLEND_TOLERANCE))
        share = cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        carried, _ = warp(last_result, resized_flow(flow, width, height))
        blended: np.ndarray = cv2.blendLinear(carried, result, share, 1 - share)
        return blended


def _reduced(frame: np.ndarray) -> np.ndarray:
    """Gives a frame `[H, W, 3]` at the size at which flow is sought."""
    height, width = frame.shape[:2]
    scale = min(1.0, FLOW_SIDE_PX / min(height, width))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return frame if scale == 1 else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
