"""Spectral norm (Miyato et al. 2018, arXiv:1802.05957): added for a training, and divided out once behind it.

Networks of bundles have divided weights alone; so have those of official files, once they are read.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from i2i_rt.errors import CheckpointError

ORIGINAL, LEFT, RIGHT = "weight_orig", "weight_u", "weight_v"  # in official files
# as PyTorch's own layer calls them
OURS = {
    "parametrizations.weight.original": ORIGINAL,
    "parametrizations.weight.0._u": LEFT,
    "parametrizations.weight.0._v": RIGHT,
}


def add_spectral_norm(layers: Iterable[nn.Module]) -> None:
    """Divides the weights of layers by an estimate of their largest singular value, at every use and in place.

    Every use in training mode brings the estimate one step nearer, as in the papers' code. It depends on the weights
    alone, so several processes have the same one.
    """
    for layer in layers:
        spectral_norm(layer)


def convolutions(network: nn.Module) -> list[nn.Module]:
    """Gives all convolutions of a network: what papers that say no more divide."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def without_spectral_norm(network: nn.Module) -> nn.Module:
    """Gives a copy of a network, rebuilt from its `config`, with the divided weights: what it is in evaluation mode."""
    weights = {}
    for key, tensor in network.state_dict().items():
        for ours, official in OURS.items():
            key = key.replace(ours, official)
        weights[key] = tensor.clone()
    with torch.device("meta"):
        plain = type(network)(network.config)
    plain.load_state_dict(fold_spectral_norm(weights), assign=True)
    return plain.eval().requires_grad_(False)


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
