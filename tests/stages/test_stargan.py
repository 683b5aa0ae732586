"""The stages of StarGAN v2: what they compute; `tests/test_capabilities.py` runs their graphs."""

import pytest
import torch

from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.stargan import SIDE, SMALL, STYLE
from tests.stages.inputs import inputs_of

VARIANTS = ("starganv2", "starganv2-masks")


@pytest.fixture(scope="module")
def stages() -> dict[str, dict[str, Stage]]:
    return {variant: stages_of("starganv2", SMALL[variant]().networks) for variant in VARIANTS}


def test_batch_may_mix_domains(stages: dict[str, dict[str, Stage]]) -> None:
    for name in ("style_from_image", "style_from_noise"):
        module = stages["starganv2"][name].module
        inputs = inputs_of(stages["starganv2"][name], SIDE, SIDE, 3)
        given = torch.from_numpy(next(iter(inputs.values())))
        mixed = module(given, torch.tensor([2, 0, 1]))
        alone = [module(given[n : n + 1], torch.tensor([domain])) for n, domain in enumerate((2, 0, 1))]
        torch.testing.assert_close(mixed, torch.cat(alone))
        assert not torch.allclose(mixed, module(given, torch.tensor([0, 1, 2])))


def test_a_style_moves_the_picture(stages: dict[str, dict[str, Stage]]) -> None:
    for variant in VARIANTS:
        module = stages[variant]["translate"].module
        frames, style = map(torch.from_numpy, inputs_of(stages[variant]["translate"], SIDE, SIDE, 1).values())
        assert style.shape == (1, STYLE)
        assert (module(frames, style.flip(1)).float() - module(frames, style).float()).abs().mean() > 2


def test_face_in_the_frames_makes_the_masks(stages: dict[str, dict[str, Stage]]) -> None:
    stage = stages["starganv2-masks"]["translate"]
    assert [axis.size for axis in stage.spec.inputs[0].axes] == [None, SIDE, SIDE, 3]
    frames, style = map(torch.from_numpy, inputs_of(stage, SIDE, SIDE, 1).values())
    with_masks = stage.module(frames, style).float()
    head = stage.module.fan.head  # type: ignore[union-attr]
    bias = head.bias.clone()  # type: ignore[operator, union-attr]
    head.bias.fill_(-1e4)  # type: ignore[operator, union-attr]
    without_heat = stage.module(frames, style).float()
    head.bias.copy_(bias)  # type: ignore[operator, union-attr]
    assert (with_masks - without_heat).abs().mean() > 1
