"""Fréchet distances of normal distributions whose distance is known, and by SciPy's root of a matrix."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from i2i_rt.errors import I2IError
from i2i_rt.metrics.frechet import frechet_distance


def normal(count: int, size: int, seed: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_distance_in_one_dimension_is_that_of_means_and_deviations() -> None:
    a = torch.tensor([[0.0], [2.0]])  # mean 1, variance 2
    b = torch.tensor([[1.0], [5.0]])  # mean 3, variance 8
    assert frechet_distance(a, b) == pytest.approx((3 - 1) ** 2 + (8**0.5 - 2**0.5) ** 2)


def test_distance_is_that_of_the_root_of_a_matrix() -> None:
    mixed = normal(6, 6, 2)
    a, b = normal(200, 6, 0), normal(150, 6, 1) @ mixed + 0.3
    covariances = [np.cov(x.numpy().astype(np.float64), rowvar=False) for x in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    gap = (a.double().mean(0) - b.double().mean(0)).square().sum()
    expected = float(gap) + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_distance_is_that_of_torchmetrics_also_where_covariances_are_singular() -> None:
    from torchmetrics.image.fid import _compute_fid

    a, b = normal(20, 64, 0), normal(30, 64, 1) + 0.1
    expected = _compute_fid(
        *(part for x in (a, b) for part in (x.double().mean(0), torch.cov(x.double().T)))  # mean, covariance, …
    )
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-4)


def test_a_set_is_at_no_distance_from_itself_in_any_order() -> None:
    a = normal(50, 16, 0)
    assert frechet_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 1) == pytest.approx(16, rel=1e-6)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(I2IError, match="at least 2 images a set; here is 1"):
        frechet_distance(normal(5, 3, 0), normal(1, 3, 0))
