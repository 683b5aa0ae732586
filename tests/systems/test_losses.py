"""The losses, against their formulas written out."""

import math

import pytest
import torch

from i2i_rt.systems.losses import (
    adversarial,
    feature_matching,
    gradient_penalty,
    hinge,
    kl_divergence,
    mean_square,
    patch_nce,
)


@pytest.mark.parametrize(
    ("loss", "real", "expected"),
    [
        pytest.param("least-squares", True, ((2 - 1) ** 2 + (-1 - 1) ** 2) / 2, id="least-squares-real"),
        pytest.param("least-squares", False, (2**2 + 1) / 2, id="least-squares-fake"),
        pytest.param("cross-entropy", True, (math.log1p(math.exp(-2)) + math.log1p(math.exp(1))) / 2, id="bce-real"),
        pytest.param("softplus", False, (math.log1p(math.exp(2)) + math.log1p(math.exp(-1))) / 2, id="softplus-fake"),
    ],
)
def test_adversarial_loss_has_its_formula(loss: str, real: bool, expected: float) -> None:
    scores = torch.tensor([[2.0], [-1.0]])

    assert adversarial(scores, real=real, loss=loss).item() == pytest.approx(expected)


def test_adversarial_loss_is_float32_under_mixed_precision() -> None:
    assert adversarial(torch.ones(2, dtype=torch.bfloat16), real=True, loss="least-squares").dtype == torch.float32


def test_hinge_asks_for_a_margin_of_one_on_the_right_side() -> None:
    scores = torch.tensor([[2.0], [0.5], [-3.0]])

    assert hinge(scores, real=True).item() == pytest.approx((0 + 0.5 + 4) / 3)
    assert hinge(scores, real=False).item() == pytest.approx((3 + 1.5 + 0) / 3)


def unit_rows(rows: int, seed: int) -> torch.Tensor:
    vectors = torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (vectors / vectors.norm(dim=1, keepdim=True)).float()


@pytest.mark.parametrize("across_batch", [False, True])
def test_patch_nce_is_the_cross_entropy_of_the_own_key(across_batch: bool) -> None:
    images, patches = 2, 3
    query, key = unit_rows(images * patches, 0), unit_rows(images * patches, 1)

    loss = patch_nce(query, key, images=images, temperature=0.5, across_batch=across_batch)

    for row in range(len(query)):
        others = [
            other for other in range(len(key)) if other != row and (across_batch or other // patches == row // patches)
        ]
        positive = math.exp(query[row] @ key[row] / 0.5)
        # the masked place counts with e^(-10 / temperature)
        negatives = sum(math.exp(query[row] @ key[other] / 0.5) for other in others) + math.exp(-10 / 0.5)
        assert loss[row].item() == pytest.approx(-math.log(positive / (positive + negatives)), rel=1e-5)


def test_patch_nce_gives_the_keys_no_gradient() -> None:
    query, key = unit_rows(4, 0).requires_grad_(), unit_rows(4, 1).requires_grad_()

    patch_nce(query, key, images=1).sum().backward()

    assert query.grad is not None and query.grad.abs().sum() > 0
    assert key.grad is None


def test_gradient_penalty_of_a_linear_score_is_half_its_squared_slope() -> None:
    images = torch.rand(3, 1, 2, 2, requires_grad=True)
    scores = (images * 2).flatten(1).sum(1)

    assert gradient_penalty(scores, images).item() == pytest.approx(4 * 2**2 / 2)


def test_feature_matching_sums_over_layers_and_leaves_the_real_side() -> None:
    fake = [torch.zeros(2, 3, requires_grad=True), torch.zeros(1, 4, requires_grad=True)]
    real = [torch.full((2, 3), 2.0, requires_grad=True), torch.full((1, 4), -5.0, requires_grad=True)]

    loss = feature_matching(fake, real)
    loss.backward()

    assert loss.item() == pytest.approx(2 + 5)
    assert all(part.grad is not None for part in fake) and all(part.grad is None for part in real)


def test_mean_square_is_the_divergence_of_unit_variances_but_for_a_half() -> None:
    code = torch.randn(3, 4, 5, 5)
    exact = kl_divergence(code, torch.zeros_like(code)) / code.numel()
    assert mean_square(code).item() == pytest.approx(2 * exact.item(), rel=1e-5)


def test_kl_divergence_is_that_of_pytorchs_distributions() -> None:
    mean, log_variance = torch.randn(3, 4), torch.randn(3, 4)
    normal = torch.distributions.Normal
    exact = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0)).sum()

    assert kl_divergence(mean, log_variance).item() == pytest.approx(exact.item(), rel=1e-5)
