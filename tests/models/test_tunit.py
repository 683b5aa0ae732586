"""TUNIT's networks: the style acts on the decoder alone, and wrong configs are refused."""

from typing import Any

import pytest
import torch

from i2i_rt.errors import I2IError
from i2i_rt.models.tunit import GuidingNetworkConfig, TUNITGeneratorConfig
from tests.small.tunit import STYLE, small


def test_content_is_a_quarter_of_the_size_after_two_reductions() -> None:
    generator: Any = small().networks["generator"]
    assert (generator.multiple, generator.low, generator.config.image_size) == (4, 8, 64)
    image = torch.rand(2, 3, 24, 32)
    content = generator.content(image)
    assert content.shape == (2, 16, 6, 8)
    assert generator.decoded(content, torch.ones(2, STYLE)).shape == image.shape


def test_scale_of_the_style_is_the_whole_scale() -> None:
    generator: Any = small().networks["generator"]
    generator.mlp[-1].weight.zero_()
    generator.mlp[-1].bias.zero_()  # shift and scale 0: nothing of the decoder's layers is left
    first, second = (generator.decoded(torch.rand(1, 16, 6, 8), torch.ones(1, STYLE)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.allclose(first[0, :, 5, 5], generator.to_rgb.bias.tanh())


def test_guiding_network_takes_any_size() -> None:
    style, logits = small().networks["guiding_network"](torch.rand(1, 3, 40, 70))
    assert style.shape == (1, STYLE) and logits.shape == (1, 3)


@pytest.mark.parametrize("make", [
    lambda: TUNITGeneratorConfig(levels=0), lambda: GuidingNetworkConfig(widths=(4, 4)),
    lambda: GuidingNetworkConfig(clusters=0),
])  # fmt: skip
def test_wrong_configs_are_refused(make: Any) -> None:
    with pytest.raises(I2IError):
        make()
