"""Neighbourhoods of one symbol are numbered, all others listed in order, and their number stays on the device."""

import numpy as np
import pytest
import torch
from torch import Tensor

from i2i_rt.kernels import fused
from i2i_rt.kernels.spade_layout import (
    BLOCK,
    _test,
    launch_spade_layout,
    spade_layout,
    spade_layout_reference,
)
from tests.kernels.checks import DEVICE, assert_described, compiled, poisoned

SHAPES = {
    "one pixel": (1, 1, 1),
    "smaller than a neighbourhood": (2, 4, 9),
    "odd": (3, 13, 17),
    "many blocks": (1, 40, 3 * BLOCK // 40 + 1),
}


def label_map(shape: tuple[int, ...], *, patch: int = 7) -> tuple[Tensor, Tensor]:
    """Draws regions of `patch` x `patch` with one of three labels, and edges here and there."""
    generator = torch.Generator().manual_seed(0)
    batch, height, width = shape
    coarse = torch.randint(0, 3, (batch, height // patch + 1, width // patch + 1), generator=generator)
    labels = coarse.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, :height, :width]
    edges = torch.rand(shape, generator=generator) < 0.01
    return labels.to(torch.uint8).to(DEVICE), edges.to(torch.uint8).to(DEVICE)


@pytest.mark.parametrize("with_edges", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_position_is_numbered_or_listed(shape: tuple[int, ...], with_edges: bool) -> None:
    labels, edges = label_map(shape)
    given = edges if with_edges else None
    with poisoned():
        found = launch_spade_layout(labels, given)
    for actual, expected in zip(found, spade_layout_reference(labels, given), strict=True):
        assert actual.dtype == expected.dtype and torch.equal(actual, expected)


def test_neighbourhoods_are_compared_position_by_position() -> None:
    labels, edges = label_map((2, 19, 23))
    symbols, places, count = spade_layout_reference(labels, edges)
    whole = np.pad((labels.int() + 256 * edges.int()).cpu().numpy(), ((0, 0), (2, 2), (2, 2)), constant_values=-1)
    for image, row, column in np.ndindex(2, 19, 23):
        window = whole[image, row : row + 5, column : column + 5]
        assert symbols[image, row, column] == (window[0, 0] if (window == window[0, 0]).all() else -1)
    listed = places[: int(count)].cpu()
    assert (
        torch.equal(listed, (symbols.flatten() < 0).nonzero().flatten().int().cpu()) and 0 < len(listed) < 2 * 19 * 23
    )
    assert torch.equal(places.sort().values.cpu(), torch.arange(2 * 19 * 23, dtype=torch.int32))


def test_lower_resolutions_are_views() -> None:
    labels, edges = label_map((2, 48, 40), patch=16)
    coarse, coarse_edges = labels[:, ::2, ::2], edges[:, ::2, ::2]
    expected = spade_layout_reference(coarse.contiguous(), coarse_edges.contiguous())
    for given in (coarse_edges, coarse_edges.contiguous()):
        found = launch_spade_layout(coarse, given)
        assert all(torch.equal(actual, wanted) for actual, wanted in zip(found, expected, strict=True))


def test_a_map_of_one_class_lists_its_border_alone() -> None:
    labels = torch.full((1, 9, 12), 255, dtype=torch.uint8, device=DEVICE)
    symbols, _, count = launch_spade_layout(labels, None)
    assert int(count) == 9 * 12 - 5 * 8 and (symbols[:, 2:-2, 2:-2] == 255).all()


def test_operator_is_described_rightly() -> None:
    labels, edges = label_map((2, 12, 13))
    assert_described(torch.ops.i2i_rt.spade_layout.default, (labels, edges))
    assert_described(torch.ops.i2i_rt.spade_layout.default, (labels[:, ::2, ::2], None))
    with fused.mode("export"):
        found = spade_layout(labels, edges)
    assert all(torch.equal(a, b) for a, b in zip(found, spade_layout(labels, edges), strict=True))


def test_own_test_passes() -> None:
    for actual, expected in _test(torch.device(DEVICE), torch.float32):
        assert torch.equal(actual, expected)


def test_compiled_code_spills_nothing() -> None:
    for row in compiled("spade_layout"):
        assert row["stack_bytes"] == 0 and row["registers"] <= 64 and row["shared_bytes"] <= 4096
