"""TensorFlow's conventions: SAME padding, layouts, and the networks of StEP and EGSC-IT that use them."""

import numpy as np
import pytest
import torch

from i2i_rt.errors import I2IError
from i2i_rt.models import egscit, step, table
from i2i_rt.models.tensorflow import AnySameConv2d, SameConv2d, pixel_norm, same_padding, to_torch
from tests.small.egscit import SMALL as EGSCIT
from tests.small.step import SMALL as STEP


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "expected"),
    [
        (8, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (8, 4, 2, (1, 1)),
        (15, 4, 2, (1, 2)),
        (8, 4, 1, (1, 2)),
        (8, 7, 1, (3, 3)),
        (8, 1, 2, (0, 0)),
    ],
)
def test_same_padding(length: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(length, kernel, stride) == expected
    x = torch.zeros(1, 1, length, length)
    assert AnySameConv2d(1, 1, kernel, stride)(x).shape[-1] == -(-length // stride)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (7, 1), (4, 1), (1, 1)])
def test_fixed_padding_is_that_of_multiples_of_the_stride(kernel: int, stride: int) -> None:
    fixed, any_length = SameConv2d(2, 3, kernel, stride), AnySameConv2d(2, 3, kernel, stride)
    any_length.load_state_dict(fixed.state_dict())
    x = torch.randn(1, 2, 8, 12)
    torch.testing.assert_close(fixed(x), any_length(x))


def test_layouts() -> None:
    kernel = torch.arange(3 * 3 * 2 * 5.0).reshape(3, 3, 2, 5)
    assert to_torch(kernel)[4, 1, 2, 0] == kernel[2, 0, 1, 4]
    assert torch.equal(to_torch(kernel[0, 0]), kernel[0, 0].t())
    assert torch.equal(to_torch(kernel[0, 0, 0]), kernel[0, 0, 0])


@pytest.mark.parametrize("scale", [0, 1e-5, 1, 1e4])
def test_pixel_norm(scale: float) -> None:
    x = torch.randn(2, 3, 4, 4) * scale
    wide = x.double()
    expected = wide / (wide.square().mean(1, keepdim=True) + 1e-8).sqrt()
    np.testing.assert_allclose(pixel_norm(x).numpy(), expected.numpy(), rtol=1e-5, atol=1e-12)
    assert pixel_norm(x.half()).dtype == torch.float16 and pixel_norm(x.half()).isfinite().all()


@pytest.mark.parametrize("name", [*STEP, *EGSCIT])
def test_bundle_rebuilds_the_networks(name: str) -> None:
    for network in {**STEP, **EGSCIT}[name]().networks.values():
        rebuilt = table.build(table.describe(network))
        rebuilt.load_state_dict(network.state_dict())


def test_wrong_configs_are_sentences() -> None:
    with pytest.raises(I2IError, match="reductions is 0"):
        step.StepGeneratorConfig(reductions=0)
    with pytest.raises(I2IError, match="width is 0"):
        egscit.EgscitGeneratorConfig(width=0)


def test_division_is_by_the_variance() -> None:
    x, style = torch.randn(1, 2, 8, 8), torch.tensor([[0.5, -0.5, 1.0, 2.0]])
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    expected = torch.tensor([1.5, 0.5])[:, None, None] * (x - mean) / variance
    torch.testing.assert_close(egscit.restyle(x, style), expected + torch.tensor([1.0, 2.0])[:, None, None])


def test_planes_of_one_value_stay_finite() -> None:
    x = torch.full((1, 2, 8, 8), 3.0)
    assert egscit.restyle(x, torch.randn(1, 4)).isfinite().all()


def test_fixed_noise_is_one_draw_for_every_frame() -> None:
    generator = EGSCIT["egscit"]().networks["generator"]
    image = torch.rand(2, 3, 32, 48)
    noisy = generator.encode(image)
    plain = generator.encode(image, torch.zeros_like(noisy))
    drawn = noisy - plain
    torch.testing.assert_close(drawn[0], drawn[1])
    assert 0.8 < drawn.std() < 1.2
    again = EGSCIT["egscit"]().networks["generator"].encode(image)
    assert torch.equal(again, noisy)
