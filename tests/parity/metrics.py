"""Metrics of StarGAN v2 and of the Smoothing paper: LPIPS and the smoothness of paths."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from i2i_rt.metrics.lpips import Lpips
from i2i_rt.metrics.styles import smoothness
from i2i_rt.pretrained import alexnet
from tests.parity.case import Answer


def find(case: Mapping[str, Any]) -> Answer | None:
    """Gives what answers a case of a metric; None for other cases."""
    for word, answer in (("LPIPS distance", answer_lpips), ("PS metric", answer_smoothness)):
        if case["network"].startswith(word):
            return answer
    return None


def answer_lpips(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Compares the images pair by pair with the case's AlexNet and weights of the channels."""
    network = alexnet("random")
    convolutions = {key.removeprefix("alexnet.layers."): tensor for key, tensor in state.items() if "alexnet" in key}
    network.layers.load_state_dict(convolutions)
    lpips = Lpips(network, [state[f"lpips_weights.{index}.main.1.weight"].flatten() for index in range(5)])
    images = [inputs[name] for name in sorted(inputs)]
    pairs = torch.stack([lpips(a, b).mean() for a, b in combinations(images, 2)])
    normalized = {f"normalized_feature_{index}": x for index, x in enumerate(lpips.normalized(images[0]))}
    return {"pair_distances": pairs, "mean_distance": pairs.mean(), **normalized}


def answer_smoothness(
    case: Mapping[str, Any], state: dict[str, Tensor], inputs: dict[str, Tensor], wanted: set[str]
) -> dict[str, Any]:
    """Scores the paths; the official code names alignment efficiency, and uniformity equality."""
    steps, ends = inputs["distances"].numpy(), inputs["end_distance"].numpy()
    scores = smoothness(steps, ends)
    return {
        "ps": scores.ps,
        "mean_ps": scores.ps.mean(),
        "equality": scores.uniformity,
        "efficiency": scores.alignment,
        "efficiency_before_the_shift": (ends / steps.sum(1)).clip(max=1),
    }
