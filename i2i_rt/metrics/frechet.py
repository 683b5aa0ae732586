"""The Fréchet distance of two sets of features, as if both were normal: FID's, and SIFID's of a single image."""

import torch
from torch import Tensor

from i2i_rt.errors import I2IError


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Gives |µ_a - µ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½) of features `[N, D]` and `[M, D]`, in float64.

    The trace of the root is the sum of the singular values of A Bᵀ, where Σ_a = Aᵀ A and Σ_b = Bᵀ B: with no root of
    a singular matrix, it is exact where there are fewer features than D, and with few of them far quicker.

    Raises:
        I2IError: where a set has fewer than two features.
    """
    for features in (a, b):
        if len(features) < 2:
            raise I2IError(f"a Fréchet distance needs at least 2 images a set; here is {len(features)}")
    a, b = a.double(), b.double()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    root_a, root_b = _root(a), _root(b)
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = gap + root_a.square().sum() + root_b.square().sum() - 2 * cross
    return max(0.0, float(distance))  # rounding alone makes it negative


def _root(features: Tensor) -> Tensor:
    """Gives a matrix of at most D rows, A with Aᵀ A the covariance of features."""
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    root: Tensor = torch.linalg.qr(centred, mode="r").R
    return root
