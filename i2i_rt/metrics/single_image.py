"""What two single images share: their style (SIFID), and their structure (self-similarity distance).

Both compare features that a trained network has in many places of an image (Park's thesis, sections 4.3 and 4.4.11).
"""

import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.metrics.frechet import frechet_distance
from i2i_rt.pretrained import FrozenNetwork

GRID = 32  # places a side that self-similarity compares with one another


def sifid(stem: FrozenNetwork, images: Tensor, others: Tensor) -> Tensor:
    """Gives `[N]` distances of the styles of images `[N, 3, H, W]` in [-1, 1]; with `inception_stem`.

    The Fréchet distance of the 64 features in all places before Inception's first pooling (Shaham et al. 2019,
    SinGAN, arXiv:1905.01164, as in its code). The images of a pair may differ in size.
    """
    with torch.no_grad():
        ours, theirs = stem(images)[0], stem(others)[0]
    pairs = zip(ours.flatten(2), theirs.flatten(2), strict=True)
    return torch.tensor([frechet_distance(a.T, b.T) for a, b in pairs])


def self_similarity_distance(vgg: FrozenNetwork, images: Tensor, others: Tensor) -> Tensor:
    """Gives `[N]` distances of the structures, 0 to 2, of images `[N, 3, H, W]` in [-1, 1] of one size; with `vgg16`.

    The features of five layers at 32x32 places are compared by cosine with one another, and each row of distances is
    brought to the sum 1; the distance of two images is the absolute difference of two such rows, summed, a mean over
    the places. It is 1024 times the loss of STROTSS (Kolkin et al. 2019, arXiv:1904.12785), which takes random places.
    """
    with torch.no_grad():
        return (_self_similarity(vgg(images)) - _self_similarity(vgg(others))).abs().sum(2).mean(1)


def _self_similarity(activations: list[Tensor]) -> Tensor:
    """Gives cosine distances `[N, P, P]` of all places, each row with the sum 1."""
    places = [functional.adaptive_avg_pool2d(x, GRID) for x in activations]
    unit = functional.normalize(torch.cat(places, 1).flatten(2), dim=1)  # [N, C, P]
    distances = 1 - unit.transpose(1, 2) @ unit
    return distances / distances.sum(2, keepdim=True).clamp_min(1e-8)
