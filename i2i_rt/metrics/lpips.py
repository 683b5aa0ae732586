"""LPIPS (Zhang et al. 2018, arXiv:1801.03924), version 0.1 with AlexNet: how different two images look to people."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.pretrained import Features, FrozenNetwork, alexnet

SMALLEST = 31  # side of the smallest images that AlexNet has an answer for


class Lpips:
    """Gives the distances of pairs of images; differentiable, so that it serves as a loss too."""

    def __init__(self, network: FrozenNetwork, weights: Sequence[Tensor]) -> None:
        """Takes the network, and for each of its activations the weights of the channels, `[C]`."""
        self.features = network.features
        self._network, self._weights = network, list(weights)

    def __call__(self, a: Tensor, b: Tensor, *, metric: bool = False) -> Tensor:
        """Gives `[N]` distances of images `[N, 3, H, W]` in [-1, 1], 0 for equal ones.

        `metric` takes absolute differences in place of squares, so that the triangle inequality holds: what ways are
        measured with (Liu et al. 2021, section 5).

        Raises:
            I2IError: where the images are too small.
        """
        return self.between(self.normalized(a), self.normalized(b), metric=metric)

    def named(self, score: str) -> str:
        """Gives a score's name; with random features it is another one, for such scores compare with no others."""
        return score if self.features == "pretrained" else f"{score}_random_features"

    def normalized(self, images: Tensor) -> list[Tensor]:
        """Gives the activations `[N, C, H, W]` of five layers, of length 1 in every place: what is compared."""
        height, width = images.shape[2:]
        if min(height, width) < SMALLEST:
            raise I2IError(f"LPIPS needs images of {SMALLEST} pixels a side and more; these are {height}x{width}")
        # rsqrt with the epsilon inside, whose gradient is finite where a place has no activation at all
        return [x * x.square().sum(1, keepdim=True).add(1e-10).rsqrt() for x in self._network(images)]

    def between(self, a: Sequence[Tensor], b: Sequence[Tensor], *, metric: bool = False) -> Tensor:
        """Gives `[N]` distances of what `normalized` gave: for many pairs of few images."""
        total = a[0].new_zeros(len(a[0]))
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            self._weights[index] = weights = self._weights[index].to(x.device)
            gap = (x - y).abs() if metric else (x - y).square()
            total = total + functional.conv2d(gap, weights.view(1, -1, 1, 1)).mean((1, 2, 3))
        return total


def lpips(features: Features) -> Lpips:
    """Gives LPIPS with the published weights, which come with torchmetrics; random features weigh all channels alike.

    Raises:
        I2IError: where AlexNet's weights cannot be had.
    """
    return Lpips(alexnet(features), _uniform() if features == "random" else _published())


def _published() -> list[Tensor]:
    """Reads the weights of version 0.1 out of torchmetrics, whose own LPIPS takes long to import."""
    package = importlib.util.find_spec("torchmetrics")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'torchmetrics'", name="torchmetrics")
    file = Path(package.origin).parent / "functional" / "image" / "lpips_models" / "alex.pth"
    state = torch.load(file, map_location="cpu", weights_only=True)
    return [state[f"lin{index}.model.1.weight"].flatten() for index in range(5)]


def _uniform() -> list[Tensor]:
    return [torch.full((channels,), 1 / 5) for channels in (64, 192, 384, 256, 256)]
