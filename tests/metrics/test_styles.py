"""Smoothness of paths and diversity, on answers known by hand."""

import numpy as np
import pytest
import torch

from i2i_rt.metrics.lpips import Lpips, lpips
from i2i_rt.metrics.styles import diversity, path_smoothness, smoothness


@pytest.fixture(scope="module")
def distance() -> Lpips:
    return lpips("random")


def test_even_steps_along_a_line_are_perfect() -> None:
    scores = smoothness(np.full((1, 20), 0.1), np.array([2.0]))
    assert scores.alignment == pytest.approx(1, abs=1e-4)
    assert scores.uniformity == pytest.approx(1)
    assert scores.ps == pytest.approx(1, abs=1e-4)


def test_a_detour_lowers_the_alignment_and_a_jump_the_uniformity() -> None:
    steps = np.array([[1.0, 1.0, 1.0, 1.0], [4.0, 0.0, 0.0, 0.0]])
    scores = smoothness(steps, np.array([2.0, 4.0]))
    assert scores.alignment == pytest.approx([0.5, 1], abs=1e-5)
    assert scores.uniformity == pytest.approx([1, 0.25], abs=1e-5)  # 1 of 4 steps does it all
    assert scores.ps == pytest.approx([2 / 3, 0.4], abs=1e-5)


def test_uniformity_is_one_less_the_mean_difference_of_the_papers_equation() -> None:
    steps = np.random.default_rng(0).random((3, 20))
    differences = np.abs(steps[:, :, None] - steps[:, None]).sum((1, 2))
    expected = 1 - differences / (2 * 20**2 * steps.mean(1))
    assert smoothness(steps, np.ones(3)).uniformity == pytest.approx(expected, abs=1e-5)


def test_a_generator_that_has_collapsed_scores_nothing() -> None:
    assert smoothness(np.zeros((1, 20)), np.zeros(1)).ps == 0


def test_a_crossfade_is_smoother_than_a_cut(distance: Lpips) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 3, 32, 32, generator=generator) * 2 - 1
    shares = torch.linspace(0, 1, 6).view(-1, 1, 1, 1)
    crossfade, cut = torch.lerp(a, b, shares), torch.where(shares < 0.5, a, b)
    scores = path_smoothness(distance, torch.stack([crossfade, cut]))
    assert scores.ps[0] > 2 * scores.ps[1]
    assert scores.alignment[1] == pytest.approx(1, abs=1e-4)
    assert scores.uniformity[1] == pytest.approx(1 / 5, abs=1e-4)


def test_diversity_is_the_mean_distance_of_all_pairs(distance: Lpips) -> None:
    results = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    results[1] = results[1, :1]  # of the second source there is one result only, three times
    a, b, c = results[0, :, None]
    expected = (distance(a, b) + distance(a, c) + distance(b, c)) / 3
    assert diversity(distance, results) == pytest.approx([float(expected), 0], rel=1e-4)
