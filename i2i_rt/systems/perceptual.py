"""Losses and distances of activations of VGG: how alike two images look, and how alike their styles are."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.pretrained import FrozenNetwork

WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of the five layers, the first one the finest


def vgg_loss(vgg: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    """Gives SPADE's loss with `vgg19`: mean absolute differences of five layers. Targets get no gradient."""
    pairs = zip(WEIGHTS, *_activations(vgg, images, targets), strict=True)
    return torch.stack([weight * (a - b).abs().mean() for weight, a, b in pairs]).sum()


def squared_vgg_loss(vgg: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    """Gives StEP's loss with `vgg16`: means of `(0.1 (a - b))²` of five layers. Targets get no gradient."""
    pairs = zip(WEIGHTS, *_activations(vgg, images, targets), strict=True)
    return torch.stack([weight * (0.1 * (a - b)).square().mean() for weight, a, b in pairs]).sum()


def evenly_weighted_vgg_loss(vgg: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    """Gives GP-UNIT's loss with `vgg19`: mean absolute differences of five layers, each times 0.3.

    Images are normalised as those of ImageNet were. Targets get no gradient.
    """
    pairs = zip(*_activations(vgg, _as_imagenet(images), _as_imagenet(targets)), strict=True)
    return torch.stack([0.3 * (a - b).abs().mean() for a, b in pairs]).sum()


def _as_imagenet(images: Tensor) -> Tensor:
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], device=images.device)
    normalised: Tensor = ((images.float() + 1) / 2 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    return normalised


def normalised_vgg_loss(vgg: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    """Gives MUNIT's loss with `vgg16_without_last_reduction`: the mean squared difference after instance norm.

    Without means and deviations, features tell what stands where rather than in which colours. Targets get no gradient.
    """
    ((made, wanted),) = zip(*_activations(vgg, images, targets), strict=True)
    return (functional.instance_norm(made) - functional.instance_norm(wanted)).square().mean()


def _activations(vgg: FrozenNetwork, images: Tensor, targets: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    with torch.no_grad():
        wanted = vgg(targets)
    return vgg(images), wanted


def gram(activations: Tensor) -> Tensor:
    """Gives the Gram matrices `[N, C, C]` of activations `[N, C, H, W]`, divided by C·H·W."""
    flat = activations.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


def style_features(vgg: FrozenNetwork, images: Tensor) -> Tensor:
    """Gives vectors `[N, D]` whose squared distance is StEP's distance of styles, with `vgg16`.

    That is the mean squared difference of the Gram matrices of a layer, summed over the five layers; D is 610304.
    """
    grams = [gram(activations) for activations in vgg(images)]
    return torch.cat([matrix.flatten(1) / matrix.shape[1] for matrix in grams], 1)


def directions(vgg: FrozenNetwork, images: Tensor) -> list[Tensor]:
    """Gives EGSC-IT's activations: each channel `[H, W]` has a Euclidean length of 1, so only where it is high counts.

    The official code never divides by less than 1e-6.
    """
    return [
        functional.normalize(activations.flatten(2), dim=2, eps=1e-6).view_as(activations)
        for activations in vgg(images)
    ]


def content_distance(activations: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Gives EGSC-IT's content loss of `directions`: mean absolute differences, the coarser the layer the heavier."""
    pairs = enumerate(zip(activations, wanted, strict=True), 1)
    return torch.stack([level / len(wanted) * (a - b).abs().mean() for level, (a, b) in pairs]).sum()


def style_distance(activations: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Gives EGSC-IT's style loss of `directions`: mean absolute differences of Gram matrices, divided by H·W alone."""
    pairs = zip(activations, wanted, strict=True)
    return torch.stack([a.shape[1] * (gram(a) - gram(b)).abs().mean() for a, b in pairs]).sum()
