"""Equalised learning rate: what is drawn, what is computed with, and what a bundle gets."""

import pytest
import torch
from torch import nn

from i2i_rt.models.equalised import equalise, plain
from i2i_rt.models.step import StepEncoder, StepEncoderConfig
from i2i_rt.systems.step_networks import draw

ORIGINAL = "parametrizations.weight.original"


@pytest.mark.parametrize(("slope", "scale"), [(1.0, (1 / 72) ** 0.5), (0.2, (2 / 1.04 / 72) ** 0.5)])
def test_parameter_has_variance_one_and_the_weight_hes_scale(slope: float, scale: float) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 512, 3)

    equalise(layer, slope)

    (parameter,) = [value for name, value in layer.named_parameters() if name == ORIGINAL]
    assert parameter.std().item() == pytest.approx(1.0, rel=0.02)
    torch.testing.assert_close(layer.weight, parameter * scale)
    assert not layer.bias.any()


def test_a_step_of_adam_moves_every_layer_in_proportion_to_its_weights() -> None:
    moved = []
    for channels in (4, 400):
        layer = nn.Conv2d(channels, 8, 3)
        equalise(layer, 1.0)
        before = layer.weight.detach().clone()
        optimizer = torch.optim.Adam(layer.parameters(), 0.01)
        layer(torch.rand(1, channels, 5, 5)).square().mean().backward()
        optimizer.step()
        moved.append(((layer.weight - before).abs().mean() / before.abs().mean()).item())

    assert moved[0] == pytest.approx(moved[1], rel=0.2)


def test_plain_copy_computes_the_same_and_leaves_the_trained_network_alone() -> None:
    torch.manual_seed(0)
    encoder = StepEncoder(StepEncoderConfig(style_size=4, widths=(4, 8, 12, 16)))
    draw(encoder)
    image = torch.rand(2, 3, 32, 32)

    copies = [plain(encoder), plain(encoder)]

    for copy in copies:
        torch.testing.assert_close(copy(image), encoder(image))
        assert set(copy.state_dict()) == set(StepEncoder(encoder.config).state_dict())
    assert f"conv.{ORIGINAL}" in encoder.state_dict()


def test_step_networks_are_drawn_as_the_official_code_does() -> None:
    torch.manual_seed(0)
    encoder = StepEncoder(StepEncoderConfig())
    draw(encoder)

    # gain one inside blocks, that of a leaky ReLU of 0.2 outside; linear layers from N(0, 0.02)
    assert encoder.blocks[2].conv1.weight.std().item() == pytest.approx((1 / (256 * 9)) ** 0.5, rel=0.02)
    assert encoder.conv.weight.std().item() == pytest.approx((2 / 1.04 / 48) ** 0.5, rel=0.04)
    assert encoder.mean.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not encoder.mean.bias.any()
