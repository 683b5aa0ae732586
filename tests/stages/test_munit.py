"""The stages of MUNIT: what they compute; `tests/test_capabilities.py` runs their graphs, and UNIT's."""

import torch

from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.munit import SMALL
from tests.stages.inputs import inputs_of


def stage_of(key: str, name: str) -> Stage:
    return stages_of(key.split("-")[0], SMALL[key]().networks)[name]


def test_style_of_a_picture_moves_the_translation() -> None:
    translate, style_from_image = stage_of("munit", "translate"), stage_of("munit", "style_from_image")
    frames = torch.from_numpy(inputs_of(style_from_image, 32, 32, 1)["reference"])
    styles = style_from_image.module(torch.cat([frames, frames // 4]))
    assert not torch.allclose(styles[0], styles[1], rtol=1e-2)
    first, second = translate.module(torch.cat([frames, frames]), styles).float()
    assert (first - second).abs().mean() > 2
