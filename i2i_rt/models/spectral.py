"""Spectral norm (Miyato et al. 2018, arXiv:1802.05957) as it is stored in official files, divided out once."""

from collections.abc import Mapping

import torch
from torch import Tensor

from i2i_rt.errors import CheckpointError

ORIGINAL, LEFT, RIGHT = "weight_orig", "weight_u", "weight_v"


def fold_spectral_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives a state dict with `weight` in place of each `weight_orig`, `weight_u` and `weight_v`.

    `weight_orig` `[out, …]` is divided by `sigma = u · W v`, with W as `[out, rest]` and the vectors as stored: they
    are what the trained network used, and another estimate of the same norm gives another picture. A weight whose
    vectors are missing is left as it is, so that the loader names it; vectors of another length are refused.

    PyTorch before 1.0 stored no `weight_v`, but the divided `weight` itself, which is taken as it is.
    """
    folded: dict[str, Tensor] = {}
    for key, tensor in state.items():
        prefix, _, name = key.rpartition(".")
        left, right = state.get(f"{prefix}.{LEFT}"), state.get(f"{prefix}.{RIGHT}")
        original = state.get(f"{prefix}.{ORIGINAL}")
        if name in (ORIGINAL, LEFT) and right is None and f"{prefix}.weight" in state:
            continue
        if name not in (ORIGINAL, LEFT, RIGHT) or original is None or left is None or right is None:
            folded[key] = tensor
        elif name == ORIGINAL:
            wide = original.float()
            if wide.ndim < 2 or (left.numel(), right.numel()) != (len(wide), wide[0].numel()):
                raise CheckpointError(
                    f"{key!r} has shape {list(original.shape)}, which its vectors of spectral norm, "
                    f"{left.numel()} and {right.numel()} long, do not fit"
                )
            sigma = torch.dot(left.float(), torch.mv(wide.flatten(1), right.float()))
            folded[f"{prefix}.weight"] = wide / sigma
    return folded
