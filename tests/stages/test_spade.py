"""SPADE's stages: what they compute; `tests/test_capabilities.py` runs their graphs."""

import numpy as np
import pytest
import torch

from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.spade import CLASSES, SMALL, STYLE


@pytest.fixture(scope="module")
def stages() -> dict[tuple[str, str], Stage]:
    return {
        (kind, name): stage
        for kind, small in SMALL.items()
        for name, stage in stages_of("spade", small().networks).items()
    }


def inputs_of(key: tuple[str, str], size: tuple[int, int], batch: int) -> dict[str, np.ndarray]:
    """Draws inputs; the generator with a VAE takes label maps of 64x96 alone."""
    random = np.random.default_rng(0)
    kind, name = key
    if name == "style_from_image":
        return {"reference": random.integers(0, 256, (batch, *size, 3), np.uint8)}
    height, width = size if kind == "spade" else (64, 96)
    coarse = random.integers(0, CLASSES + 1, (batch, height // 8, width // 8), np.uint8)
    labels = coarse.repeat(8, 1).repeat(8, 2)
    labels[labels == CLASSES] = 255
    inputs = {"labels": labels, "edges": random.integers(0, 2, labels.shape, np.uint8)}
    return inputs | ({"style": random.standard_normal((batch, STYLE), np.float32)} if kind == "spade-vae" else {})


def expected_of(stage: Stage, inputs: dict[str, np.ndarray]) -> np.ndarray:
    result: np.ndarray = stage.module(*map(torch.from_numpy, inputs.values())).numpy()
    return result


def test_every_input_moves_the_picture(stages: dict[tuple[str, str], Stage]) -> None:
    key = ("spade-vae", "translate")
    inputs = inputs_of(key, (64, 96), 1)
    plain = expected_of(stages[key], inputs).astype(int)
    assert 20 < plain.std() < 110
    for name in inputs:
        changed = {**inputs, name: np.flip(inputs[name], -1).copy()}
        assert np.abs(expected_of(stages[key], changed) - plain).mean() > 1, name


def test_unknown_has_a_channel_of_its_own(stages: dict[tuple[str, str], Stage]) -> None:
    stage = stages["spade", "translate"]
    edges = np.zeros((1, 32, 32), np.uint8)
    pictures = [
        expected_of(stage, {"labels": np.full_like(edges, label), "edges": edges}) for label in (255, CLASSES, 0)
    ]
    assert (pictures[0] == pictures[1]).all() and (pictures[0] != pictures[2]).any()
