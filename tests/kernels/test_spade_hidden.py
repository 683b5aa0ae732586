"""The first convolution on labels as a sum of columns: that of the one-hot map, borders included."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.kernels import fused
from i2i_rt.kernels.spade_hidden import (
    _test,
    launch_spade_hidden,
    reached,
    spade_hidden,
    spade_hidden_reference,
)
from i2i_rt.kernels.spade_layout import EDGE, SYMBOLS, launch_spade_layout, symbols_of
from tests.kernels.checks import DEVICE, DTYPES, assert_described, assert_no_worse, compiled, poisoned
from tests.kernels.test_spade_layout import label_map

SHAPES = {
    "one pixel, one channel": (1, 1, 1, 1),
    "odd": (2, 5, 7, 61),
    "three norms of one resolution": (1, 3, 9, 384),
}


def weights(channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator(DEVICE).manual_seed(1)
    columns = torch.randn(9, SYMBOLS, channels, device=DEVICE, generator=generator)
    return columns.to(dtype), torch.randn(channels, device=DEVICE, generator=generator)


def by_convolution(labels: Tensor, edges: Tensor | None, columns: Tensor, bias: Tensor) -> Tensor:
    """Gives relu(conv(one-hot symbols)) in float64, with the columns as the convolution's weight `[K, 512, 3, 3]`."""
    one_hot = functional.one_hot(symbols_of(labels, edges).long(), SYMBOLS).permute(0, 3, 1, 2).double()
    weight = columns.double().permute(2, 1, 0).unflatten(2, (3, 3))
    return functional.conv2d(one_hot, weight, bias.double(), padding=1).relu()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_sum_of_columns_is_the_convolution(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    *size, channels = shape
    labels, edges = label_map(tuple(size), patch=2)
    columns, bias = weights(channels, dtype)
    for given in (edges, None):
        with poisoned():
            hidden = launch_spade_hidden(labels, given, columns, bias)
        plain = spade_hidden_reference(labels, given, columns, bias)
        assert_no_worse(hidden, plain, by_convolution(labels, given, columns, bias))
        assert hidden.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(hidden, launch_spade_hidden(labels, given, columns, bias))


def test_labels_may_be_views_of_a_larger_map() -> None:
    labels, edges = label_map((2, 12, 10), patch=3)
    columns, bias = weights(16, torch.float32)
    hidden = launch_spade_hidden(labels[:, ::2, ::2], edges[:, ::2, ::2], columns, bias)
    expected = by_convolution(labels[:, ::2, ::2], edges[:, ::2, ::2], columns, bias)
    assert fused.relative_error(hidden, expected) < 1e-6


def test_only_what_borders_need_is_computed() -> None:
    labels, edges = label_map((1, 20, 21), patch=20)
    columns, bias = weights(16, torch.float32)
    symbols, _, _ = launch_spade_layout(labels, edges)
    with poisoned():
        hidden = launch_spade_hidden(labels, edges, columns, bias, symbols)
    expected = spade_hidden_reference(labels, edges, columns, bias, symbols)
    computed = hidden.isfinite().all(1)
    assert torch.equal(computed, reached(symbols)) and not computed.all()
    assert fused.relative_error(torch.where(computed[:, None], hidden, 0), expected) < 1e-6
    assert not expected[:, :, ~computed[0]].any()


def test_unknown_labels_and_edges_have_columns_of_their_own() -> None:
    labels = torch.tensor([[[0, 255]]], dtype=torch.uint8, device=DEVICE)
    edges = torch.tensor([[[1, 0]]], dtype=torch.uint8, device=DEVICE)
    columns = torch.zeros(9, SYMBOLS, 16, device=DEVICE)
    columns[4, EDGE], columns[4, 255] = 3.0, 5.0  # of the position itself
    hidden = launch_spade_hidden(labels, edges, columns, torch.zeros(16, device=DEVICE))
    assert hidden[0, 0].tolist() == [[3.0, 5.0]]


def test_gradient_is_that_of_the_formula() -> None:
    labels, edges = label_map((1, 4, 5), patch=2)
    columns, bias = weights(4, torch.float32)
    columns.requires_grad_()
    bias.requires_grad_()
    ours, plain = (
        torch.autograd.grad(function(labels, edges, columns, bias, None).square().sum(), (columns, bias))
        for function in (torch.ops.i2i_rt.spade_hidden, spade_hidden_reference)
    )
    assert all(torch.allclose(a, b) for a, b in zip(ours, plain, strict=True)) and plain[0].any()


def test_operator_is_described_rightly() -> None:
    labels, edges = label_map((2, 6, 5))
    columns, bias = weights(16, torch.float32)
    assert_described(torch.ops.i2i_rt.spade_hidden.default, (labels, edges, columns.requires_grad_(), bias, None))
    assert_described(torch.ops.i2i_rt.spade_hidden.default, (labels[:, ::2, ::2], None, columns, bias, None))
    with fused.mode("export"):
        hidden = spade_hidden(labels, edges, columns, bias)
    torch.testing.assert_close(hidden, spade_hidden(labels, edges, columns, bias))


def test_own_test_passes() -> None:
    for actual, expected in _test(torch.device(DEVICE), torch.float16):
        assert fused.relative_error(actual, expected) <= fused.TOLERANCES[torch.float16]


def test_compiled_code_moves_vectors_and_spills_nothing() -> None:
    for row in compiled("spade_hidden"):
        assert row["stack_bytes"] == 0 and row["registers"] <= 104
        assert row["instructions"]["LDG.E.128"] >= 18 and row["instructions"]["STG.E.128"] >= 2
