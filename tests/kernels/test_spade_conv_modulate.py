"""Two convolutions with the modulation as their epilogue: PyTorch's values for any shape and layout."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.kernels import fused
from i2i_rt.kernels.spade_conv_modulate import (
    launch_spade_conv_modulate,
    spade_conv_modulate,
    spade_conv_modulate_reference,
    tiles_for,
)
from tests.kernels.checks import DEVICE, DTYPES, assert_described, assert_no_worse, compiled, exactly, poisoned

# the interpreter multiplies bfloat16 wrongly
DOT_DTYPES = DTYPES if DEVICE == "cuda" else (torch.float32, torch.float16)
# name: N, C, H, W, and hidden channels
SHAPES = {
    "one pixel, one channel": (1, 1, 1, 1, 1),
    "odd": (3, 3, 5, 3, 8),
    "no multiples of a block": (1, 61, 3, 4, 40),
    "official hidden channels": (1, 64, 2, 5, 128),
    "more positions than a tile": (2, 16, 7, 6, 16),
}
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def inputs(shape: tuple[int, ...], dtype: torch.dtype) -> Inputs:
    generator = torch.Generator(DEVICE).manual_seed(0)
    batch, channels, height, width, depth = shape
    x = -2.3 + 0.5 * torch.randn(batch, channels, height, width, device=DEVICE, generator=generator)
    hidden = torch.randn(batch, depth, height, width, device=DEVICE, generator=generator).relu()
    weight = torch.randn(9 * depth, 2 * channels, device=DEVICE, generator=generator) / (9 * depth) ** 0.5
    factor, bias = torch.rand(2, 2 * channels, device=DEVICE, generator=generator) + 0.5
    return x.to(dtype), hidden.to(dtype).contiguous(memory_format=torch.channels_last), weight.to(dtype), factor, bias


@pytest.mark.parametrize("dtype", DOT_DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_result_is_that_of_two_convolutions(
    shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype
) -> None:
    x, *rest = inputs(shape, dtype)
    x = x.contiguous(memory_format=layout)
    with poisoned():
        y = launch_spade_conv_modulate(x, *rest, 0.2)
    assert y.is_contiguous(memory_format=layout)
    exact = exactly(spade_conv_modulate_reference, x, *rest, slope=0.2)
    assert_no_worse(y, spade_conv_modulate_reference(x, *rest, 0.2), exact)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_features_of_half_the_size_stand_for_four_positions_each(layout: torch.memory_format) -> None:
    x = inputs((2, 16, 2, 3, 16), torch.float32)[0]
    _, *rest = inputs((2, 16, 4, 6, 16), torch.float32)
    expected = spade_conv_modulate_reference(x.repeat_interleave(2, 2).repeat_interleave(2, 3), *rest, 0.2)
    with poisoned():
        y = launch_spade_conv_modulate(x.contiguous(memory_format=layout), *rest, 0.2, doubled=True)
    assert y.is_contiguous(memory_format=layout) and fused.relative_error(y, expected) < 1e-6
    torch.testing.assert_close(spade_conv_modulate(x, *rest, 0.2, doubled=True), expected)


def test_reference_is_the_published_formula() -> None:
    x, hidden, weight, _, _ = inputs((2, 3, 4, 5, 8), torch.float64)
    gamma, beta = (part.t().reshape(3, 3, 3, 8).permute(0, 3, 1, 2) for part in weight.chunk(2, 1))
    mean, variance, ones, zeros = torch.randn(3).double(), torch.rand(3).double() + 0.5, torch.ones(3), torch.zeros(3)
    inverse = variance.rsqrt()
    expected = functional.batch_norm(x, mean, variance, eps=0) * (1 + functional.conv2d(hidden, gamma, padding=1))
    expected = functional.leaky_relu(expected + functional.conv2d(hidden, beta, padding=1), 0.2)
    # x' = (x - mean) * inverse is given, so nothing else has to be folded
    normal = (x - mean[:, None, None]) * inverse[:, None, None]
    folded = (torch.cat([ones, ones]).double(), torch.cat([ones, zeros]).double())
    torch.testing.assert_close(spade_conv_modulate_reference(normal, hidden, weight, *folded, 0.2), expected)


def test_hidden_channels_may_be_a_range_of_a_wider_map_or_stored_otherwise() -> None:
    x, hidden, *rest = inputs((2, 16, 3, 5, 16), torch.float32)
    expected = spade_conv_modulate_reference(x, hidden, *rest, 1.0)
    wide = torch.cat([hidden + 1, hidden, hidden - 1], 1).contiguous(memory_format=torch.channels_last)
    for given in (
        wide[:, 16:32],
        hidden.contiguous(),
        hidden.contiguous().transpose(2, 3).contiguous().transpose(2, 3),
    ):
        assert fused.relative_error(launch_spade_conv_modulate(x, given, *rest, 1.0), expected) < 1e-6


def test_offsets_outliers_and_constants_stay_where_they_are() -> None:
    x, hidden, *rest = inputs((2, 16, 3, 3, 16), torch.float32)
    hidden[0, 0, 1, 1], hidden[1] = 1e4, 1000.0
    x[0] = 1000.0
    plain = spade_conv_modulate_reference(x, hidden, *rest, 0.2)
    y = launch_spade_conv_modulate(x, hidden, *rest, 0.2)
    assert_no_worse(y, plain, exactly(spade_conv_modulate_reference, x, hidden, *rest, slope=0.2))
    assert torch.equal(y, launch_spade_conv_modulate(x, hidden, *rest, 0.2))


def test_gradient_is_that_of_the_formula() -> None:
    given = tuple(tensor.double().requires_grad_() for tensor in inputs((1, 2, 3, 3, 2), torch.float32))
    if DEVICE == "cpu":
        assert torch.autograd.gradcheck(torch.ops.i2i_rt.spade_conv_modulate, (*given, 0.2, False))
    ours, plain = (
        torch.autograd.grad(function(*given, 0.2, False).square().sum(), given)
        for function in (torch.ops.i2i_rt.spade_conv_modulate, spade_conv_modulate_reference)
    )
    assert all(torch.allclose(a, b) for a, b in zip(ours, plain, strict=True))


def test_operator_is_described_rightly() -> None:
    given = inputs((1, 16, 4, 6, 16), torch.float32)
    small = inputs((1, 16, 2, 3, 16), torch.float32)[0]
    assert_described(torch.ops.i2i_rt.spade_conv_modulate.default, (small, *given[1:], 0.2, True))
    assert_described(torch.ops.i2i_rt.spade_conv_modulate.default, (*given, 0.2, False))
    nhwc = given[0].contiguous(memory_format=torch.channels_last).requires_grad_()
    assert_described(torch.ops.i2i_rt.spade_conv_modulate.default, (nhwc, *given[1:], 0.2, False))
    with fused.mode("export"):
        result = spade_conv_modulate(*given, 0.2)
    torch.testing.assert_close(result, spade_conv_modulate(*given, 0.2))


def test_tiles_are_narrow_where_positions_are_few() -> None:
    """So that a map of 16x16 with 1024 channels keeps more than a hundred multiprocessors busy."""
    for positions, least in ((64, 64), (256, 128), (1024, 512), (4096, 512)):
        tiles = tiles_for(torch.bfloat16, positions, 1024, 128)
        assert -(-positions // tiles.positions) * -(-1024 // tiles.channels) >= least
    for dtype in DTYPES:
        tiles = tiles_for(dtype, 7, 3, 5)
        assert tiles.channels == tiles.hidden == 16


def test_compiled_code_multiplies_on_tensor_cores_and_spills_nothing() -> None:
    for row in compiled("spade_conv_modulate"):
        assert row["stack_bytes"] == 0 and row["registers"] <= 240 and row["shared_bytes"] <= 160 * 1024
        assert row["instructions"]["LDG.E.128"] >= 1 and row["instructions"]["STG.E.128"] >= 1
        if not row["name"].startswith("fp32"):
            assert {80: "HMMA", 90: "HGMMA", 100: "HMMA"}[row["capability"]] in row["instructions"]
