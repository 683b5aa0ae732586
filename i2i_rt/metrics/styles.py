"""What a space of styles is worth: how diverse results are, and how smoothly one becomes another."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from i2i_rt.metrics.lpips import Lpips


@dataclass(frozen=True)
class Smoothness:
    """Perceptual smoothness of paths between two styles (Liu et al. 2021, section 5), each in [0, 1], `[P]` float64.

    Attributes:
        alignment: distance of a path's ends over the length of the path; 1: no detour.
        uniformity: 1 less the Gini coefficient of the steps' lengths; 1: all steps are alike.
    """

    alignment: np.ndarray
    uniformity: np.ndarray

    @property
    def ps(self) -> np.ndarray:
        """The harmonic mean of both; the published score is its mean over paths."""
        score: np.ndarray = 2 * self.alignment * self.uniformity / (self.alignment + self.uniformity)
        return score


def smoothness(steps: np.ndarray, ends: np.ndarray) -> Smoothness:
    """Gives the smoothness of `P` paths, from the distances of consecutive images `[P, T]` and of the ends `[P]`."""
    lengths = np.sort(np.asarray(steps, np.float64), axis=1) + 1e-6  # as published: a path of equal images has score 0
    count, total = lengths.shape[1], lengths.sum(axis=1)
    gini = (lengths * (2 * np.arange(1, count + 1) - count - 1)).sum(axis=1) / (count * total)
    return Smoothness(np.minimum(1.0, np.asarray(ends, np.float64) / total), 1 - gini)


def path_smoothness(lpips: Lpips, paths: Tensor) -> Smoothness:
    """Gives the smoothness of paths of images `[P, T + 1, 3, H, W]` in [-1, 1], by LPIPS's form that is a metric."""
    steps, ends = [], []
    with torch.no_grad():
        for path in paths:
            features = lpips.normalized(path)
            earlier, later = [x[:-1] for x in features], [x[1:] for x in features]
            steps.append(lpips.between(earlier, later, metric=True))
            first, last = [x[:1] for x in features], [x[-1:] for x in features]
            ends.append(lpips.between(first, last, metric=True)[0])
    return smoothness(torch.stack(steps).cpu().numpy(), torch.stack(ends).cpu().numpy())


def diversity(lpips: Lpips, images: Tensor) -> Tensor:
    """Gives the mean LPIPS `[N]` of all pairs of results `[N, K, 3, H, W]`, in [-1, 1], of the same `N` sources."""
    with torch.no_grad():
        features = [lpips.normalized(results) for results in images.unbind(1)]
        return torch.stack([lpips.between(a, b) for i, a in enumerate(features) for b in features[i + 1 :]]).mean(0)
