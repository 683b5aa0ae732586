"""The stages of CyCADA: what they compute; `tests/test_capabilities.py` runs their graphs."""

import numpy as np
import pytest
import torch

from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.cycada import SMALL

TASKS = [
    ("cycada-drn", "segment"),
    ("cycada-fcn8s", "segment"),
    ("cycada-lenet", "classify"),
    ("cycada-dtn", "classify"),
]


def stage_of(key: str, name: str) -> Stage:
    return stages_of("cycada", SMALL[key]().networks)[name]


@pytest.mark.parametrize(("key", "name"), TASKS)
def test_pictures_have_different_classes(key: str, name: str) -> None:
    stage = stage_of(key, name)
    side = stage.spec.inputs[0].axes[1].size or 32
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (40, 2, 2, 3), np.uint8)  # pictures of four fields
    frames = torch.from_numpy(colours.repeat(side // 2, 1).repeat(side // 2, 2))
    assert len(stage.module(frames).unique()) > 1


def test_generator_has_cyclegans_stages() -> None:
    assert list(stages_of("cycada", SMALL["cycada"]().networks)) == ["translate", "translate_stabilized"]
