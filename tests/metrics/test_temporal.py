"""Temporal measures on videos whose answer is known."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from i2i_rt.errors import MediaError
from i2i_rt.metrics.temporal import compare

SHIFT_PX = 2


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    """A picture with structure at several scales, `[140, 200, 3]`, as flow needs it."""
    generator = np.random.default_rng(0)
    layers = [
        cv2.resize(
            generator.random((140 // size, 200 // size, 3), np.float32), (200, 140), interpolation=cv2.INTER_CUBIC
        )
        for size in (3, 8, 20)
    ]
    return (sum(layers) / 3 * 255).clip(0, 255).astype(np.uint8)


def pan(texture: np.ndarray, frames: int = 5) -> Iterator[np.ndarray]:
    """A window that moves over the texture by whole pixels."""
    for index in range(frames):
        yield texture[20:116, 20 + SHIFT_PX * index : 20 + SHIFT_PX * index + 128]


def test_a_static_clip_has_no_warping_error_and_no_motion(texture: np.ndarray) -> None:
    comparison = compare([texture] * 3, [texture] * 3)

    assert comparison.frames == 3
    assert comparison.output.warping_error == comparison.input.warping_error == 0
    assert comparison.output.tof_px == 0
    assert comparison.output.sharpness == comparison.input.sharpness > 100


def test_a_pan_is_followed_by_the_flow(texture: np.ndarray) -> None:
    comparison = compare(pan(texture), pan(texture))

    unfollowed = np.mean([cv2.absdiff(a, b).mean() for a, b in zip(list(pan(texture))[1:], pan(texture), strict=False)])
    assert comparison.output.warping_error < 0.2 * unfollowed
    assert comparison.output.tof_px == 0


def test_flicker_raises_the_warping_error_by_its_amplitude(texture: np.ndarray) -> None:
    flicker = [cv2.add(frame // 2, np.full_like(frame, 10 * (index % 2))) for index, frame in enumerate(pan(texture))]
    steady = [frame // 2 for frame in pan(texture)]

    extra = compare(pan(texture), flicker).output.warping_error - compare(pan(texture), steady).output.warping_error

    assert 8 < extra <= 10.5


def test_a_result_that_stands_still_misses_the_motion(texture: np.ndarray) -> None:
    still = [next(pan(texture))] * 5

    assert compare(pan(texture), still).output.tof_px == pytest.approx(SHIFT_PX, abs=0.3)


def test_blur_lowers_the_warping_error_and_the_sharpness_tells(texture: np.ndarray) -> None:
    noise = np.random.default_rng(1)
    crawling = [np.clip(frame + noise.normal(0, 12, frame.shape), 0, 255).astype(np.uint8) for frame in pan(texture)]
    blurred = [cv2.GaussianBlur(frame, (0, 0), 2) for frame in crawling]

    sharp, soft = (compare(pan(texture), video).output for video in (crawling, blurred))

    assert soft.warping_error < 0.5 * sharp.warping_error
    assert soft.sharpness < 0.1 * sharp.sharpness


def test_the_input_is_brought_to_the_size_of_the_output(texture: np.ndarray) -> None:
    halved = [cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA) for frame in pan(texture)]

    comparison = compare(pan(texture), halved)

    assert comparison.output.tof_px == 0
    assert comparison.output == comparison.input


def test_the_row_that_a_codec_adds_is_left_out(texture: np.ndarray) -> None:
    odd = [frame[:95, :127] for frame in pan(texture)]
    even = [np.pad(frame, ((0, 1), (0, 1), (0, 0)), mode="edge") for frame in odd]

    comparison = compare(odd, even)

    assert comparison.output == comparison.input


def test_only_the_common_frames_are_compared(texture: np.ndarray) -> None:
    assert compare(pan(texture, 5), pan(texture, 3)).frames == 3


def test_another_shape_is_refused(texture: np.ndarray) -> None:
    doubled = [np.concatenate([frame, frame], axis=1) for frame in pan(texture)]

    with pytest.raises(MediaError, match="96x128 and the output's 96x256"):
        compare(pan(texture), doubled)


def test_one_frame_is_too_few(texture: np.ndarray) -> None:
    with pytest.raises(MediaError, match="1 pairs of frames"):
        compare([texture], [texture])


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (15, 9)], ids=["one-pixel", "one-row", "small"])
def test_tiny_frames_have_scores(size: tuple[int, int]) -> None:
    frames = [np.full((*size, 3), level, np.uint8) for level in (10, 20, 30)]

    assert compare(frames, frames).output.warping_error == 10
