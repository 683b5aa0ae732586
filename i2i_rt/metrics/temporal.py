"""How steady a translated video is: warping error, tOF and sharpness, which only mean something together.

warping error  mean |warp(O[t-1]) - O[t]| in 8-bit levels, along the flow of the *input*, on pixels whose forward
               and backward flow agree (Lai et al. 2018, arXiv:1808.00449, section 4.2). Blur lowers it.
tOF            mean length of flow(O) - flow(I) in pixels (Chu et al. 2020, TecoGAN, arXiv:1811.09393): whether
               things move as they do in the input. Their Farneback flow is DIS here.
sharpness      variance of the Laplacian of the luma, mean over the frames: what blur costs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from i2i_rt.errors import MediaError
from i2i_rt.video.flow import DenseFlow, grey, warp


@dataclass(frozen=True)
class TemporalScores:
    """The measures of one video, beside an input that gives the motion."""

    warping_error: float
    tof_px: float
    sharpness: float


@dataclass(frozen=True)
class Comparison:
    """A translated video and its input by the same measures; `frames` were compared."""

    frames: int
    input: TemporalScores
    output: TemporalScores


def sharpness(luma: np.ndarray) -> float:
    """Gives the variance of the Laplacian of `[H, W]` uint8."""
    return float(cv2.Laplacian(luma, cv2.CV_32F).var())


def consistent(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Gives a mask `[H, W]` of pixels of the later frame that the earlier one shows too.

    `backward` `[H, W, 2]` leads from the later frame to the earlier one and `forward` back again; the way there and
    back must end where it began, but for the tolerance of Sundaram et al. 2010 (section 4.2).
    """
    returned, inside = warp(forward, backward)
    gap = ((returned + backward) ** 2).sum(axis=2)
    mask: np.ndarray = inside & (gap <= 0.01 * ((returned**2).sum(axis=2) + (backward**2).sum(axis=2)) + 0.5)
    return mask


def compare(inputs: Iterable[np.ndarray], outputs: Iterable[np.ndarray]) -> Comparison:
    """Measures a translated video against its input, frame by frame, as far as both go.

    Frames are uint8 RGB `[H, W, 3]`; inputs are brought to the size of the outputs. Only two of each are held.

    Raises:
        MediaError: where there are fewer than two pairs of frames, or their shapes differ in proportion.
    """
    flow = DenseFlow("medium")
    sums = np.zeros(3)  # warping errors of input and output, tOF
    sharp = np.zeros(2)
    frames = 0
    last: tuple[np.ndarray, np.ndarray] | None = None
    for source, result in zip(inputs, outputs, strict=False):
        source, result = _fitted(source, result)
        sharp += [sharpness(grey(source)), sharpness(grey(result))]
        if last is not None:
            sums += _pair_scores(flow, (last[0], source), (last[1], result))
        last, frames = (source, result), frames + 1
    if frames < 2:
        raise MediaError(f"{frames} pairs of frames were found; temporal measures need at least 2")
    input_error, output_error, tof_px = (sums / (frames - 1)).tolist()
    input_sharpness, output_sharpness = (sharp / frames).tolist()
    return Comparison(
        frames,
        TemporalScores(input_error, 0.0, input_sharpness),
        TemporalScores(output_error, tof_px, output_sharpness),
    )


def _pair_scores(
    flow: DenseFlow, source: tuple[np.ndarray, np.ndarray], result: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float, float]:
    """Gives the warping errors of input and output and the tOF from one frame to the next."""
    earlier, later = map(grey, source)
    forward, backward = flow(earlier, later), flow(later, earlier)
    mask = consistent(forward, backward)
    motion = flow(*map(grey, result))
    tof_px = float(np.linalg.norm(motion - forward, axis=2).mean())
    return _warping_error(*source, backward, mask), _warping_error(*result, backward, mask), tof_px


def _warping_error(earlier: np.ndarray, later: np.ndarray, backward: np.ndarray, mask: np.ndarray) -> float:
    if not mask.any():
        return 0.0
    expected, _ = warp(earlier, backward)
    return float(cv2.absdiff(expected, later)[mask].mean())


def _fitted(source: np.ndarray, result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brings a frame of the input and one of the output to the same size."""
    (height, width), (result_height, result_width) = source.shape[:2], result.shape[:2]
    if result_height - height in (0, 1) and result_width - width in (0, 1):
        # video codecs have even sides: an odd input gains a row or column
        return source, result[:height, :width]
    if abs(width / height * result_height / result_width - 1) > 0.05:
        raise MediaError(
            f"the input's frames are {height}x{width} and the output's {result_height}x{result_width}, of another "
            "shape; compare a video with its own translation, made without --compare"
        )
    return cv2.resize(source, (result_width, result_height), interpolation=cv2.INTER_AREA), result
