"""The stages of BicycleGAN, StEP and EGSC-IT: what they compute; `tests/test_capabilities.py` runs their graphs."""

import numpy as np
import pytest
import torch

from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small import bicyclegan, egscit, step
from tests.stages.inputs import inputs_of

STAGES: dict[str, dict[str, Stage]] = {
    name: stages_of(name.split("-")[0], make().networks)
    for family in (bicyclegan, step, egscit)
    for name, make in family.SMALL.items()
}


@pytest.mark.parametrize("name", STAGES)
def test_style_moves_the_translation(name: str) -> None:
    translate = STAGES[name]["translate"]
    inputs = {key: torch.from_numpy(array) for key, array in inputs_of(translate, 64, 64, 1).items()}
    first = translate.module(*inputs.values()).float()
    second = translate.module(inputs["frames"], -inputs["style"]).float()
    assert (first - second).abs().mean() > 2


def test_grey_is_that_of_the_official_loader() -> None:
    from PIL import Image

    from i2i_rt.stages.bicyclegan import to_input

    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    generator = bicyclegan.drawings().networks["generator"]
    grey = to_input(torch.from_numpy(frames), generator)  # type: ignore[arg-type]
    expected = np.asarray(Image.fromarray(frames[0]).convert("L"))
    assert np.array_equal(((grey[0, 0].numpy() + 1) * 127.5).round(), expected)
