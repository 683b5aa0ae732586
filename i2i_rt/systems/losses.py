"""The papers' losses: pure functions of tensors. Scores are raw outputs of a discriminator, of any shape.

All are computed in float32, also under automatic mixed precision. Those of the adversarial game come in pairs: one
for the discriminator, halved where the papers' code halves it by the system, and one for the generator.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

AdversarialLoss = Literal["least-squares", "cross-entropy", "softplus"]


def adversarial(scores: Tensor, *, real: bool, loss: AdversarialLoss) -> Tensor:
    """Gives a scalar that is small where `scores` say "real" (or, with `real=False`, "fake").

    `least-squares` is LSGAN (Mao et al. 2017) with targets 1 and 0, `cross-entropy` the loss of the first GAN, and
    `softplus` its non-saturating form as StyleGAN2 writes it. Averaged over patches and images.
    """
    return ADVERSARIAL_LOSSES[loss](scores.float(), real)


def adversarial_each(scores: Tensor, *, real: bool) -> Tensor:
    """Gives the softplus loss of every score: `adversarial` before its mean."""
    scores = scores.float()
    return functional.softplus(-scores if real else scores)


def _least_squares(scores: Tensor, real: bool) -> Tensor:
    return (scores - float(real)).square().mean()


def _softplus(scores: Tensor, real: bool) -> Tensor:
    return adversarial_each(scores, real=real).mean()


# the cross entropy of a sigmoid is a softplus; two names stay, because they are two papers' losses
ADVERSARIAL_LOSSES: dict[AdversarialLoss, Callable[[Tensor, bool], Tensor]] = {
    "least-squares": _least_squares,
    "cross-entropy": _softplus,
    "softplus": _softplus,
}


def hinge(scores: Tensor, *, real: bool) -> Tensor:
    """Gives a discriminator's hinge loss (Lim and Ye 2017), averaged; the generator's is `-scores.mean()`."""
    return functional.relu(1 - scores.float() if real else 1 + scores.float()).mean()


def feature_matching(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Gives the mean absolute differences between a discriminator's features, summed over the layers.

    Of pix2pixHD (Wang et al. 2018, arXiv:1711.11585, equation 4). No gradient flows into `real`.
    """
    return torch.stack([distance(f, r.detach()) for f, r in zip(fake, real, strict=True)]).sum()


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Gives how far normal distributions are from N(0, 1), a SUM over images and dimensions `[N, Z]`."""
    mean, log_variance = mean.float(), log_variance.float()
    return (mean.square() + log_variance.exp() - log_variance - 1).sum() / 2


def mean_square(code: Tensor) -> Tensor:
    """Gives UNIT's divergence of codes from N(0, 1), where variances are 1: their mean square."""
    return code.float().square().mean()


def patch_nce(
    query: Tensor, key: Tensor, *, images: int, temperature: float = 0.07, across_batch: bool = False
) -> Tensor:
    """Gives the cross entropy of picking each query's own key among all keys (equation 3.6 of Park's thesis).

    `query` and `key` are unit vectors `[images * P, D]`, image by image; the result has a value a row and is not
    reduced. Negatives are the other positions of the same image or, with `across_batch`, all other rows. No
    gradient flows into `key`.
    """
    groups = 1 if across_batch else images
    query = query.float().view(groups, -1, query.shape[1])  # [G, P, D]
    key = key.detach().float().view_as(query)
    positive = (query * key).sum(2, keepdim=True)  # [G, P, 1]
    negatives = query @ key.transpose(1, 2)  # [G, P, P]
    itself = torch.eye(negatives.shape[1], dtype=torch.bool, device=query.device)
    # -10 before the division, as in the papers' code: e^-143 is not quite nothing, but float32 cannot tell
    negatives = negatives.masked_fill(itself, -10.0)
    logits = (torch.cat([positive, negatives], 2) / temperature).flatten(0, 1)  # [G * P, 1 + P]
    first = torch.zeros(len(logits), dtype=torch.long, device=query.device)
    return functional.cross_entropy(logits, first, reduction="none")


def distance(image: Tensor, target: Tensor) -> Tensor:
    """Gives the mean absolute difference: cycle consistency, identity, and pix2pix's reconstruction."""
    return functional.l1_loss(image.float(), target.float())


def in_float32(images: Tensor) -> AbstractContextManager[None]:
    """Leaves mixed precision out of the scores whose gradient a penalty is: it is squared, and derived once more."""
    return torch.autocast(images.device.type, enabled=False)


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Gives R1 (Mescheder et al. 2018): half the squared gradient of `scores` by real `images`, a mean over images."""
    return gradient_penalty_each(scores, images).mean()


def gradient_penalty_each(scores: Tensor, *images: Tensor) -> Tensor:
    """Gives R1 of each image `[N]`: half the squared gradient by it, summed over what several inputs have of it."""
    with in_float32(scores):
        gradients = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return torch.stack([gradient.float().square().flatten(1).sum(1) for gradient in gradients]).sum(0) / 2


def adversarial_sum(scores: Sequence[Tensor], *, real: bool, loss: AdversarialLoss) -> Tensor:
    """Gives `adversarial` of a discriminator with several scales: the sum over them."""
    return torch.stack([adversarial(scale, real=real, loss=loss) for scale in scores]).sum()


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: float) -> Tensor:
    """Gives the triplet loss of embeddings `[N, D]` with squared distances, a mean over triplets.

    It is 0 where every negative is further from its anchor than the positive by `margin` (Schroff et al. 2015).
    """
    anchor, positive, negative = anchor.float(), positive.float(), negative.float()
    gap = (anchor - positive).square().sum(1) - (anchor - negative).square().sum(1)
    return functional.relu(gap + margin).mean()
