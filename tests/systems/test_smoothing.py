"""The smoothing losses, against their formulas written out, and in the system that they are given to."""

import math

import pytest
import torch

from i2i_rt.errors import I2IError
from i2i_rt.models import across
from i2i_rt.systems.smoothing import Smoothing, SmoothingSettings, Triplet, style_regularization, triplet_loss

ANCHOR = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 2.0]])
POSITIVE = torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, 2.0]])
NEGATIVE = torch.tensor([[0.0, 2.0], [1.0, 6.0], [2.0, 3.0]])
WITHOUT_CONTENT = SmoothingSettings(content=0.0)


def triplet(*apart: bool) -> Triplet:
    return Triplet(ANCHOR, POSITIVE, NEGATIVE, torch.tensor(apart))


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        # distances to the positive 5, 0, 0 and to the negative 2, 6, 1; margin 1.5
        pytest.param((True, True, True), (5 - 2 + 1.5 + 0 + 0.5) / 3, id="all"),
        pytest.param((True, False, False), 5 - 2 + 1.5, id="a-negative-of-the-same-domain-does-not-count"),
        pytest.param((False, False, True), 0.5, id="within-the-margin"),
        pytest.param((False, False, False), 0.0, id="none"),
    ],
)
def test_triplet_loss_has_its_formula(apart: tuple[bool, ...], expected: float) -> None:
    assert triplet_loss(triplet(*apart), margin=1.5).item() == pytest.approx(expected, abs=1e-5)


def test_triplet_loss_of_two_processes_is_their_mean_over_all_triplets(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = triplet_loss(triplet(True, False, True), margin=1.5).item()
    monkeypatch.setattr(across, "count", lambda: 2)
    monkeypatch.setattr(across, "total", lambda values: torch.full_like(values, 2.0))  # one triplet in each part

    parts = [
        triplet_loss(Triplet(*(column[part] for column in triplet(True, False, True))), margin=1.5).item()
        for part in (slice(0, 2), slice(2, 3))
    ]

    assert sum(parts) / 2 == pytest.approx(whole, rel=1e-6)


def test_style_regularization_is_the_mean_square_of_each_kind_of_codes() -> None:
    assert style_regularization(ANCHOR, NEGATIVE).item() == pytest.approx((1 + 8) / 6 + (4 + 37 + 13) / 6)


@pytest.mark.parametrize(("done", "weight"), [(0.0, 0.0), (0.4, 0.0), (0.7, 1.0), (1.0, 2.0)])
def test_style_regularization_grows_after_two_fifths_of_the_training(done: float, weight: float) -> None:
    assert Smoothing(SmoothingSettings(regularization=2.0, content=0.0)).regularization_weight(done) == pytest.approx(
        weight
    )


def test_losses_are_weighted() -> None:
    settings = SmoothingSettings(triplet=0.5, margin=1.5, regularization=2.0, regularization_start=0.0, content=0.0)

    losses = Smoothing(settings).of_codes(triplet(True, True, True), done=0.25)

    assert losses["triplet"].item() == pytest.approx(0.5 * 5 / 3, rel=1e-5)
    assert losses["regularization"].item() == pytest.approx(2 * 0.25 * (9 + 54) / 6)


def test_content_loss_grows_with_the_distance_of_a_translation_and_reaches_it() -> None:
    smoothing = Smoothing(SmoothingSettings(content=2.0, features="random"))
    source = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    near, far = (torch.lerp(source, source.flip(3), share).requires_grad_() for share in (0.1, 0.9))

    losses = [smoothing.of_images(source, image)["content"] for image in (source, near, far)]
    losses[1].backward()

    assert losses[0].item() == 0
    assert 0 < losses[1].item() < losses[2].item()
    assert near.grad is not None and near.grad.abs().sum() > 0


def test_without_a_content_loss_no_weights_are_asked_for() -> None:
    assert Smoothing(WITHOUT_CONTENT).of_images(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)) == {}


@pytest.mark.parametrize("wrong", [{"triplet": -1.0}, {"content": -0.5}, {"regularization_start": 1.5}])
def test_wrong_weight_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(I2IError, match=f"--set {next(iter(wrong))} is"):
        SmoothingSettings(**wrong)


def test_no_weight_is_infinite_where_the_regularization_never_starts() -> None:
    weights = [
        Smoothing(SmoothingSettings(regularization_start=1.0, content=0.0)).regularization_weight(done)
        for done in (0.0, 1.0)
    ]

    assert all(math.isfinite(weight) for weight in weights)
