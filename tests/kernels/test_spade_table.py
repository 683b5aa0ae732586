"""Scales and shifts from a table: PyTorch's values in both layouts, and negative rows left alone."""

import pytest
import torch
from torch import Tensor

from i2i_rt.kernels import fused, spade_table
from i2i_rt.kernels.spade_table import launch_spade_table_apply, spade_table_apply, spade_table_apply_reference
from tests.kernels.checks import DEVICE, DTYPES, assert_described, assert_no_worse, compiled, poisoned

SHAPES = {
    "one pixel": (1, 1, 1, 1),
    "odd": (3, 3, 5, 7),
    "more than a block": (1, 64, 9, 8),
    "channels between blocks": (1, 61, 4, 3),
    "several blocks of channels": (1, 256, 3, 2),
}
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


def inputs(shape: tuple[int, ...], dtype: torch.dtype, ids: torch.dtype = torch.int32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator(DEVICE).manual_seed(0)
    batch, channels, height, width = shape
    x = -2.3 + 0.5 * torch.randn(shape, device=DEVICE, generator=generator)
    table = torch.randn(11, 2 * channels, device=DEVICE, generator=generator)
    index = torch.randint(0, 11, (batch, height, width), device=DEVICE, generator=generator)
    return x.to(dtype), index.to(ids), table.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_positions_get_their_rows(shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype) -> None:
    x, index, table = inputs(shape, dtype)
    x = x.contiguous(memory_format=layout)
    with poisoned():
        y = launch_spade_table_apply(x, index, table, 0.2)
    assert y.is_contiguous(memory_format=layout)
    exact = spade_table_apply_reference(x.double(), index, table.double(), 0.2)
    assert_no_worse(y, spade_table_apply_reference(x, index, table, 0.2), exact)
    assert torch.equal(y, launch_spade_table_apply(x, index, table, 0.2))


@pytest.mark.parametrize("slope", [1.0, 0.0])
@pytest.mark.parametrize("ids", [torch.int8, torch.int16, torch.int32], ids=str)
def test_rows_may_be_numbered_in_few_bytes_and_slopes_be_any(ids: torch.dtype, slope: float) -> None:
    x, index, table = inputs((2, 16, 3, 5), torch.float32, ids)
    plain = spade_table_apply_reference(x, index, table, slope)
    assert_no_worse(launch_spade_table_apply(x, index, table, slope), plain, plain.double())


def test_views_and_outliers_are_read_rightly() -> None:
    x, index, table = inputs((2, 16, 6, 5), torch.float32)
    x, index = x[:, :, ::2], index[:, ::2]
    x[0, 0, 0, 0], x[1] = 1e30, 1000.0
    plain = spade_table_apply_reference(x, index, table, 0.2)
    assert_no_worse(launch_spade_table_apply(x, index, table, 0.2), plain, plain.double())


def test_negative_rows_keep_what_is_there() -> None:
    x, index, table = inputs((1, 16, 4, 4), torch.float32)
    index[0, 1] = -1
    out = torch.full_like(x, 7.0)
    launch_spade_table_apply(x, index, table, 0.2, out=out)
    assert (out[:, :, 1] == 7).all() and not (out[:, :, 0] == 7).any()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_features_of_half_the_size_stand_for_four_positions_each(layout: torch.memory_format) -> None:
    x, _, table = inputs((2, 61, 5, 7), torch.float32)
    index = inputs((2, 61, 10, 14), torch.float32)[1]
    with poisoned():
        y = launch_spade_table_apply(x.contiguous(memory_format=layout), index, table, 0.2, doubled=True)
    large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert y.is_contiguous(memory_format=layout)
    torch.testing.assert_close(y, spade_table_apply_reference(large, index, table, 0.2))


def test_gradient_is_that_of_the_formula() -> None:
    x, index, table = inputs((2, 3, 4, 5), torch.float64)
    x.requires_grad_()
    table.requires_grad_()
    if DEVICE == "cpu":
        assert torch.autograd.gradcheck(torch.ops.i2i_rt.spade_table_apply, (x, index, table, 0.2))
    ours, plain = (
        torch.autograd.grad(function(x, index, table, 0.2).square().sum(), (x, table))
        for function in (torch.ops.i2i_rt.spade_table_apply, spade_table_apply_reference)
    )
    assert all(torch.allclose(a, b) for a, b in zip(ours, plain, strict=True))


def test_operator_is_described_rightly() -> None:
    x, index, table = inputs((2, 16, 4, 5), torch.float32)
    for layout in LAYOUTS.values():
        given = x.contiguous(memory_format=layout).requires_grad_()
        assert_described(torch.ops.i2i_rt.spade_table_apply.default, (given, index, table, 0.2))


def test_public_function_is_a_node_of_an_exported_graph() -> None:
    arguments = (*inputs((1, 16, 4, 5), torch.float32), 0.2)
    with fused.mode("export"):
        assert "i2i_rt.spade_table_apply" in str(
            torch.fx.experimental.proxy_tensor.make_fx(spade_table_apply)(*arguments)
        )
    assert torch.equal(spade_table_apply(*arguments), spade_table_apply_reference(*arguments))


def test_own_test_passes() -> None:
    for dtype in DTYPES:
        for actual, expected in spade_table._test(torch.device(DEVICE), dtype):
            assert fused.relative_error(actual, expected) <= fused.TOLERANCES[dtype]


def test_compiled_code_moves_vectors_and_spills_nothing() -> None:
    for row in compiled("spade_table"):
        assert row["stack_bytes"] == 0 and row["registers"] <= 64
        if "nchw" not in row["name"]:
            assert row["instructions"]["LDG.E.128"] >= 6 and row["instructions"]["STG.E.128"] >= 2
