"""The stages of TUNIT: what they compute; `tests/test_capabilities.py` runs their graphs."""

import pytest
import torch

from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.tunit import SIDE, small
from tests.stages.inputs import inputs_of


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    return stages_of("tunit", small().networks)


def test_style_of_a_picture_moves_the_translation(stages: dict[str, Stage]) -> None:
    frames = torch.from_numpy(inputs_of(stages["style_from_image"], SIDE, SIDE, 1)["reference"])
    styles = stages["style_from_image"].module(torch.cat([frames, frames // 4]))
    assert not torch.allclose(styles[0], styles[1], rtol=1e-2)
    first, second = stages["translate"].module(torch.cat([frames, frames]), styles).float()
    assert (first - second).abs().mean() > 2
