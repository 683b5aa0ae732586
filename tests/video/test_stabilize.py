"""Stabilisation over a session whose answers are known, and over a network."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from i2i_rt.errors import UnsupportedError
from i2i_rt.runtime.session import Session
from i2i_rt.spec import Axis, StageSpec, TensorSpec, frames_spec
from i2i_rt.testing import FakeSession, tiny_bundle
from i2i_rt.translator import Translator
from i2i_rt.video.stabilize import MOMENTUM, CutDetector, Stabilizer


class CentringSession(Session):
    """Moves each frame's mean to 128, with statistics of one channel: what a normalising network does, in short."""

    def __init__(self) -> None:
        self.backend, self.precision, self.device = "fake", "fp32", "cpu"
        one = Axis("N", size=1)
        statistics = (Axis("moment", size=2), Axis("S", size=1))
        frames, translated = (frames_spec(name, 1, 1) for name in ("frames", "translated"))
        self.stages = {
            "translate": StageSpec("translate", (frames,), (translated,)),
            "translate_stabilized": StageSpec(
                "translate_stabilized",
                (
                    TensorSpec("frames", "uint8", (one, *frames.axes[1:])),
                    TensorSpec("statistics", "float32", statistics),
                    TensorSpec("momentum", "float32", (Axis("M", size=1),)),
                ),
                (
                    TensorSpec("translated", "uint8", (one, *frames.axes[1:])),
                    TensorSpec("statistics_out", "float32", statistics),
                ),
            ),
        }

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        frames = inputs["frames"].astype(np.float32)
        own = np.array([[frames.mean()], [frames.var()]], np.float32)
        statistics = own
        if stage == "translate_stabilized":
            statistics = own + inputs["momentum"][0] * (inputs["statistics"] - own)
        translated = np.clip(frames - statistics[0, 0] + 128, 0, 255).round().astype(np.uint8)
        return {"translated": translated, "statistics_out": statistics}


def flat(level: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((1, *size, 3), level, np.uint8)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (20, 26, 3), np.uint8)
    return cv2.resize(coarse, (208, 160), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_the_first_frame_is_that_of_the_plain_network(strength: str, photo: np.ndarray) -> None:
    translator = Translator(CentringSession())

    np.testing.assert_array_equal(Stabilizer(translator, strength)(photo[None]), translator(photo[None]))


def test_off_is_the_translator_itself(photo: np.ndarray) -> None:
    session = FakeSession()
    batch = np.stack([photo, photo // 2])

    np.testing.assert_array_equal(Stabilizer(Translator(session), "off")(batch), 255 - batch)
    assert session.calls == [batch.shape]


def test_light_follows_a_change_of_the_statistics_slowly() -> None:
    stabilizer = Stabilizer(Translator(CentringSession()), "light")

    levels = [int(stabilizer(flat(level))[0, 0, 0, 0]) for level in (100, 110, 110)]

    # the plain network gives 128 each time; here the mean is still nearly that of the first frame
    assert levels == [128, round(128 + 10 * MOMENTUM), round(128 + 10 * MOMENTUM**2)]


def test_light_starts_anew_at_a_cut() -> None:
    stabilizer = Stabilizer(Translator(CentringSession()), "light")

    assert [int(stabilizer(flat(level))[0, 0, 0, 0]) for level in (100, 230)] == [128, 128]


def test_a_batch_gives_what_its_frames_give_one_by_one(photo: np.ndarray) -> None:
    frames = np.stack([photo, photo // 2 + 60, photo // 2 + 64])
    together, alone = (Stabilizer(Translator(CentringSession()), "strong") for _ in range(2))

    np.testing.assert_array_equal(together(frames), np.concatenate([alone(frame[None]) for frame in frames]))


def test_reset_forgets_the_frames_before() -> None:
    stabilizer = Stabilizer(Translator(CentringSession()), "strong")
    stabilizer(flat(100))
    stabilizer.reset()

    assert stabilizer(flat(110))[0, 0, 0, 0] == 128


def test_strong_lowers_flicker_on_a_moving_picture(photo: np.ndarray) -> None:
    noise = np.random.default_rng(1)

    def flickering(frames: np.ndarray) -> np.ndarray:
        return np.clip(frames + noise.normal(0, 20, frames.shape), 0, 255).astype(np.uint8)

    stabilizer = Stabilizer(Translator(FakeSession(flickering)), "strong")
    windows = [photo[None, 8:136, 2 * index : 2 * index + 160] for index in range(8)]

    results = [stabilizer(window) for window in windows]

    inner = np.s_[:, 16:-16, 16:-16]
    error = [float(np.abs(r[inner].astype(int) - w[inner]).mean()) for r, w in zip(results, windows, strict=True)]
    assert error[-1] < 0.75 * error[0]


def test_strong_does_not_drag_the_old_picture_over_a_new_one(photo: np.ndarray) -> None:
    stabilizer = Stabilizer(Translator(FakeSession(lambda frames: frames)), "strong")
    other = photo.copy()
    other[60:100, 60:100] = (255, 0, 0)  # something appears, without a cut
    stabilizer(photo[None])

    assert np.abs(stabilizer(other[None])[0, 64:96, 64:96].astype(int) - other[64:96, 64:96]).mean() < 4


def test_another_frame_size_starts_anew() -> None:
    stabilizer = Stabilizer(Translator(CentringSession()), "strong")
    stabilizer(flat(100))

    result = stabilizer(flat(110, (33, 17)))

    assert result.shape == (1, 33, 17, 3)
    assert result[0, 0, 0, 0] == 128


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (15, 31)], ids=["one-pixel", "one-row", "small"])
def test_tiny_frames_pass(size: tuple[int, int]) -> None:
    stabilizer = Stabilizer(Translator(FakeSession(lambda frames: frames, multiple=1)), "strong")

    for level in (10, 12):
        assert stabilizer(flat(level, size)).shape == (1, *size, 3)


def test_large_frames_keep_their_size_though_the_flow_is_sought_on_smaller_ones(photo: np.ndarray) -> None:
    stabilizer = Stabilizer(Translator(FakeSession(lambda frames: frames)), "strong")
    large = cv2.resize(photo, (811, 603))
    moved = np.roll(large, 6, axis=1)
    stabilizer(large[None])

    result = stabilizer(moved[None])

    assert np.abs(result[0, 20:-20, 20:-20].astype(int) - moved[20:-20, 20:-20]).mean() < 2


@pytest.mark.parametrize(
    ("strength", "note"),
    [
        ("off", ""),
        ("light", "this model has no statistics that could be smoothed, so that --stabilize light changes nothing"),
        ("strong", "this model has no statistics that could be smoothed, so that only the flow steadies the video"),
    ],
)
def test_a_network_without_statistics_is_told_of(strength: str, note: str) -> None:
    assert Stabilizer(Translator(FakeSession()), strength).note == note


def test_a_wrong_strength_gets_the_closest() -> None:
    with pytest.raises(UnsupportedError, match="no stabilisation is called 'strng'; did you mean 'strong'"):
        Stabilizer(Translator(FakeSession()), "strng")


def test_cuts_are_found_and_motion_is_none(photo: np.ndarray) -> None:
    detector = CutDetector()
    pan = [photo[8:136, 4 * index : 4 * index + 160] for index in range(10)]

    assert not any(detector(frame) for frame in pan)
    assert not detector(pan[-1] - pan[-1] // 10), "a change of exposure is no cut"
    assert detector(255 - pan[-1] // 3)


def test_a_network_with_statistics_settles(tmp_path: Path, photo: np.ndarray) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    with Translator.load(bundle.path, backend="torch") as translator:
        stabilizer = Stabilizer(translator, "light")
        frame = photo[None, :61, :83]
        stabilizer.warm_up(61, 83)
        first, second = stabilizer(frame), stabilizer(frame)
        darker = frame - frame // 8
        held = stabilizer(darker)

        # sums are taken in another order
        assert np.abs(first.astype(int) - translator(frame)).max() <= 1
        assert np.abs(second.astype(int) - first).max() <= 1
        assert np.abs(held.astype(int) - translator(darker)).mean() > 1


def test_momentum_is_the_share_of_earlier_statistics() -> None:
    quick, slow = (Stabilizer(Translator(CentringSession()), "light", momentum=share) for share in (0.0, 0.5))
    for stabilizer in (quick, slow):
        stabilizer(flat(100))
    assert (quick(flat(110)) == 128).all()
    assert (slow(flat(110)) == 133).all()  # half of the ten levels remain
