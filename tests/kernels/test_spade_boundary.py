"""A table inside regions and the convolution along borders: together what the convolution gives everywhere."""

import pytest
import torch
from torch import Tensor

from i2i_rt.kernels import fused
from i2i_rt.kernels.spade_boundary import (
    _test as boundary_test,
)
from i2i_rt.kernels.spade_boundary import (
    launch_spade_boundary_conv,
    spade_boundary_conv,
    spade_boundary_conv_reference,
)
from i2i_rt.kernels.spade_conv_modulate import _test as dense_test
from i2i_rt.kernels.spade_conv_modulate import spade_conv_modulate_reference
from i2i_rt.kernels.spade_hidden import launch_spade_hidden, spade_hidden_reference
from i2i_rt.kernels.spade_layout import launch_spade_layout, spade_layout_reference
from tests.kernels.checks import DEVICE, assert_described, assert_no_worse, compiled, exactly, poisoned
from tests.kernels.test_spade_conv_modulate import DOT_DTYPES, LAYOUTS, inputs
from tests.kernels.test_spade_hidden import weights
from tests.kernels.test_spade_layout import label_map

# name: N, C, H, W, and hidden channels
SHAPES = {
    "all border": (2, 3, 3, 5, 4),
    "odd": (1, 61, 13, 11, 24),
    "more listed positions than programs at once": (2, 16, 19, 23, 16),
}


def class_table(columns: Tensor, bias: Tensor, weight: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """Gives the rows `[512, 2C]` of neighbourhoods of one symbol, from the weights alone."""
    depth = columns.shape[2]
    hidden = (columns.sum(0) + bias).relu()  # [512, K]
    return (hidden @ weight.unflatten(0, (9, depth)).sum(0)) * factor + shift


def case(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Gives labels and edges, columns and bias of the first convolution, and what the second takes, hidden apart."""
    batch, _, height, width, depth = shape
    labels, edges = label_map((batch, height, width), patch=8)
    columns, bias = weights(depth, dtype)
    x, _, *rest = inputs(shape, dtype)
    return labels, edges, columns, bias, x, *rest


@pytest.mark.parametrize("dtype", DOT_DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_result_is_that_of_the_convolution_everywhere(
    shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype
) -> None:
    labels, edges, columns, bias, x, *rest = case(shape, dtype)
    x = x.contiguous(memory_format=layout)
    table = class_table(*(tensor.double() for tensor in (columns, bias, *rest)))
    with poisoned():
        found = launch_spade_layout(labels, edges)
        hidden = launch_spade_hidden(labels, edges, columns, bias, found[0])
        y = launch_spade_boundary_conv(x, hidden, *rest, table.to(dtype), *found, 0.2)
    assert y.is_contiguous(memory_format=layout)
    truth = spade_hidden_reference(labels, edges, columns.double(), bias.double())
    exact = exactly(spade_conv_modulate_reference, x, truth, *rest, slope=0.2)
    dense = spade_hidden_reference(labels, edges, columns, bias)
    assert_no_worse(y, spade_conv_modulate_reference(x, dense, *rest, 0.2), exact)
    assert torch.equal(y, launch_spade_boundary_conv(x, hidden, *rest, table.to(dtype), *found, 0.2))


def test_reference_is_the_convolution_too() -> None:
    labels, edges, columns, bias, x, *rest = (
        tensor.double() if tensor.is_floating_point() else tensor for tensor in case((2, 3, 14, 13, 4), torch.float32)
    )
    table = class_table(columns, bias, *rest)
    layout = spade_layout_reference(labels, edges)
    hidden = spade_hidden_reference(labels, edges, columns, bias, layout[0])
    expected = spade_conv_modulate_reference(x, spade_hidden_reference(labels, edges, columns, bias), *rest, 0.2)
    assert 0 < int(layout[2]) < labels.numel()
    torch.testing.assert_close(spade_boundary_conv(x, hidden, *rest, table, layout, 0.2), expected)
    with fused.mode("export"):
        torch.testing.assert_close(spade_boundary_conv(x, hidden, *rest, table, layout, 0.2), expected)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_features_of_half_the_size_stand_for_four_positions_each(layout: torch.memory_format) -> None:
    labels, edges, columns, bias, _, *rest = case((2, 16, 12, 14, 16), torch.float32)
    x = inputs((2, 16, 6, 7, 1), torch.float32)[0].contiguous(memory_format=layout)
    table = class_table(columns, bias, *rest)
    found = launch_spade_layout(labels, edges)
    hidden = spade_hidden_reference(labels, edges, columns, bias, found[0])
    large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = spade_boundary_conv_reference(large, hidden, *rest, table, *found, 0.2)
    with poisoned():
        y = launch_spade_boundary_conv(x, hidden, *rest, table, *found, 0.2, doubled=True)
    assert y.is_contiguous(memory_format=layout) and fused.relative_error(y, expected) < 1e-6
    torch.testing.assert_close(spade_boundary_conv(x, hidden, *rest, table, found, 0.2, doubled=True), expected)


def test_gradient_is_that_of_the_formula() -> None:
    labels, edges, columns, bias, *wanted = case((1, 2, 9, 8, 3), torch.float32)
    layout = spade_layout_reference(labels, edges)
    hidden = spade_hidden_reference(labels, edges, columns, bias, layout[0])
    x, *rest = wanted
    given = tuple(
        tensor.detach().double().requires_grad_() for tensor in (x, hidden, *rest, columns[0, :, :2].repeat(1, 2))
    )
    ours, plain = (
        torch.autograd.grad(function(*given, *layout, 0.2, False).square().sum(), given)
        for function in (torch.ops.i2i_rt.spade_boundary_conv, spade_boundary_conv_reference)
    )
    assert all(torch.allclose(a, b) and b.any() for a, b in zip(ours, plain, strict=True))


def test_operator_is_described_rightly() -> None:
    labels, edges, columns, bias, x, *rest = case((1, 16, 9, 8, 16), torch.float32)
    layout = launch_spade_layout(labels, edges)
    hidden = spade_hidden_reference(labels, edges, columns, bias, layout[0])
    table = class_table(columns, bias, *rest)
    for memory in LAYOUTS.values():
        given = (x.contiguous(memory_format=memory).requires_grad_(), hidden, *rest, table, *layout, 0.2, False)
        assert_described(torch.ops.i2i_rt.spade_boundary_conv.default, given)


def test_own_tests_pass() -> None:
    for test in (boundary_test, dense_test):
        for actual, expected in test(torch.device(DEVICE), torch.float16):
            assert fused.relative_error(actual, expected) <= fused.TOLERANCES[torch.float16]


def test_compiled_code_multiplies_on_tensor_cores_and_spills_nothing() -> None:
    for row in compiled("spade_boundary"):
        assert row["stack_bytes"] == 0 and row["registers"] <= 240 and row["shared_bytes"] <= 160 * 1024
        assert row["instructions"]["LDG.E.128"] >= 2 and row["instructions"]["STG.E.128"] >= 2
        if not row["name"].startswith("fp32"):
            assert {80: "HMMA", 90: "HGMMA", 100: "HMMA"}[row["capability"]] in row["instructions"]
