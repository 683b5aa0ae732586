"""CUT's patch sampler: features at chosen positions, through a small MLP a layer, on the unit sphere.

Section 3.3 of Park's thesis; "Contrastive Learning for Unpaired Image-to-Image Translation" (Park et al. 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class PatchSamplerConfig:
    """Rebuilds a `PatchSampler`, together with its weights."""

    channels: tuple[int, ...]  # of each feature map
    width: int = 256  # of the hidden layer and of the embedding


class PatchSampler(nn.Module):
    """Embeds patches of feature maps `[N, C_l, H_l, W_l]` as unit vectors `[N * P, width]`, a tensor a layer."""

    def __init__(self, config: PatchSamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, config.width), nn.ReLU(), nn.Linear(config.width, config.width))
            for channels in config.channels
        )

    def forward(self, features: Sequence[Tensor], positions: Sequence[Tensor]) -> list[Tensor]:
        """`positions[l]` `[P]` indexes the row-major H_l * W_l grid and is shared by all images of the batch."""
        embedded = []
        for feature, at, mlp in zip(features, positions, self.mlps, strict=True):
            patches = feature.flatten(2)[:, :, at].transpose(1, 2)  # [N, P, C]
            vectors = mlp(patches.flatten(0, 1))
            embedded.append(vectors / (vectors.norm(dim=1, keepdim=True) + 1e-7))
        return embedded


def draw_positions(features: Sequence[Tensor], patches: int) -> list[Tensor]:
    """Draws up to `patches` different positions of each map's grid, from torch's generator of the CPU."""
    return [torch.randperm(feature.shape[2] * feature.shape[3])[:patches].to(feature.device) for feature in features]


def read_official(state: Mapping[str, Tensor]) -> tuple[PatchSamplerConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no patch sampler."""
    first = [state[f"mlp_{index}.0.weight"] for index in range(len(state)) if f"mlp_{index}.0.weight" in state]
    if not first:
        return None
    config = PatchSamplerConfig(tuple(weight.shape[1] for weight in first), first[0].shape[0])
    return config, {key.replace("mlp_", "mlps.", 1): tensor for key, tensor in state.items()}
