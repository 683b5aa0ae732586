"""FID, KID and Inception score on features whose answer is known, and by torch-fidelity."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from i2i_rt.errors import I2IError
from i2i_rt.metrics.sets import SetFeatures, _clean, _original, fid, inception_score, kid, set_features
from i2i_rt.pretrained import FrozenNetwork, inception


@pytest.fixture(scope="module")
def network() -> FrozenNetwork:
    return inception("random")


def drawn(count: int, seed: int, shift: float = 0.0) -> SetFeatures:
    generator = torch.Generator().manual_seed(seed)
    return SetFeatures(
        torch.randn(count, 24, generator=generator) + shift, torch.randn(count, 10, generator=generator) * 3
    )


def test_fid_grows_with_the_shift_of_the_features() -> None:
    real = drawn(500, 0)
    assert fid(real, real) == pytest.approx(0, abs=1e-6)
    assert fid(real, SetFeatures(real.features + 2, real.logits)) == pytest.approx(24 * 4, rel=1e-5)


def test_kid_of_one_whole_subset_is_the_formula() -> None:
    real, fake = drawn(40, 0), drawn(40, 1, shift=0.5)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() @ b.double().T / 24 + 1) ** 3

    x, y = real.features, fake.features
    off = ~torch.eye(40, dtype=torch.bool)
    expected = kernel(x, x)[off].mean() + kernel(y, y)[off].mean() - 2 * kernel(x, y).mean()
    assert kid(real, fake).mean == pytest.approx(float(expected), rel=1e-6)
    assert kid(real, fake).deviation == 0


def test_kid_of_many_subsets_is_the_same_each_time() -> None:
    real, fake = drawn(60, 0), drawn(40, 1, shift=0.5)
    assert kid(real, fake) == kid(real, fake)
    assert kid(real, fake).deviation > 0


def test_inception_score_is_one_of_equal_answers_and_the_number_of_classes_at_best() -> None:
    equal = SetFeatures(torch.zeros(50, 4), torch.zeros(50, 10))
    assert inception_score(equal).mean == pytest.approx(1)
    sure = SetFeatures(torch.zeros(50, 4), torch.eye(10).repeat(5, 1) * 100)
    assert inception_score(sure).mean == pytest.approx(10, rel=1e-5)
    assert inception_score(sure).deviation == 0
    assert inception_score(drawn(250, 0)).deviation > 0  # two parts


def test_drawing_subsets_does_not_move_the_seed() -> None:
    state = torch.random.get_rng_state()
    kid(drawn(10, 0), drawn(10, 1))
    inception_score(drawn(10, 0))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_features_in_the_original_size_are_the_networks(network: FrozenNetwork) -> None:
    image = np.random.default_rng(0).integers(0, 256, (299, 299, 3), np.uint8)
    features, logits = network(torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1)
    for resize in ("original", "clean"):
        found = set_features(network, [image, image], resize)
        torch.testing.assert_close(found.features, features.expand(2, -1), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.logits, logits.expand(2, -1), rtol=1e-3, atol=1e-4)


def test_clean_resizing_does_not_alias() -> None:
    """Of white lines on black, a third of the picture, the original resizing keeps nothing but the white."""
    stripes = np.zeros((897, 897, 3), np.uint8)
    stripes[:, ::3] = 240
    assert _original(stripes).mean() == pytest.approx(240)
    assert _clean(stripes).mean() == pytest.approx(80, abs=1)


def test_clean_resizing_is_pillows_within_a_rounding() -> None:
    image = np.random.default_rng(0).integers(64, 192, (500, 400, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((299, 299), Image.Resampling.BICUBIC), np.float32)
    # in eight bits Pillow rounds after each of its two passes
    assert np.abs(_clean(image)[0].permute(1, 2, 0).numpy() - expected).max() <= 1.5


def test_sets_that_are_too_small_are_refused(network: FrozenNetwork) -> None:
    with pytest.raises(I2IError, match="a set without images"):
        set_features(network, [])
    with pytest.raises(I2IError, match="at least 2 images"):
        fid(drawn(1, 0), drawn(5, 1))
    with pytest.raises(I2IError, match="at least 2 images"):
        kid(drawn(1, 0), drawn(5, 1))
