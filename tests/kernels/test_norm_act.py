"""Instance norm and what follows it: the kernels against float64, in every layout, with everything that can follow."""

import os
import subprocess
import sys
from collections.abc import Iterator
from math import ceil
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.kernels import fused
from i2i_rt.kernels.norm_act import (
    MAX_TILES,
    Tiling,
    launch_norm_act,
    launch_norm_stats,
    norm_act,
    norm_act_reference,
    tiling,
)
from tests.kernels.checks import (
    DEVICE,
    DTYPES,
    assert_described,
    assert_no_worse,
    compiled,
    exactly,
    poisoned,
)

LAYOUTS = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}
SHAPES = {
    "two pixels": (1, 1, 1, 2),
    "odd, fewer channels than a block": (3, 3, 7, 5),
    "one channel more than a block": (1, 33, 6, 9),
    "no multiple of a vector": (1, 61, 3, 8),
    "several blocks of channels": (1, 64, 9, 10),
}
# what follows the norm -> the arguments of `arguments`
USES: dict[str, dict[str, Any]] = {
    "alone": {},
    "affine and ReLU": {"affine": "channel", "slope": 0.0},
    "AdaIN, leaky, twice as large": {"affine": "image", "one_plus": True, "slope": 0.2, "upsample": True},
    "residual and edges": {"residual": True, "pad": 1},
    "twice as large with edges": {"affine": "image", "residual": True, "upsample": True, "pad": 2},
    "masked, by the variance": {"affine": "image", "one_plus": True, "by_variance": True, "mask": True, "eps": 1e-6},
}
# planes in many tiles and blocks, as large ones are, the last of them partly or all empty
SMALL = Tiling(block_p=16, block_c=16, warps=1, tiles=8, blocks=3)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def arguments(
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    affine: str = "",
    residual: bool = False,
    mask: bool = False,
    **options: Any,
) -> tuple[list[Tensor | None], dict[str, Any]]:
    """Gives scales, shifts, residual and mask, and the other options."""
    batch, channels, height, width = shape

    def random(*lengths: int) -> Tensor:
        return torch.randn(lengths, device=DEVICE).to(dtype)

    weight, bias = random(batch, 2 * channels).chunk(2, 1) if affine == "image" else random(2, channels)
    beside = random(batch, height + 2, width + 2, channels)[:, 1:-1, 1:-1].permute(0, 3, 1, 2)
    tensors = [
        weight if affine else None,
        bias if affine else None,
        beside if residual else None,
        random(*shape).sigmoid() if mask else None,
    ]
    return tensors, options


def assert_right(x: Tensor, tensors: list[Tensor | None], options: dict[str, Any], cut: Tiling | None = None) -> Tensor:
    with poisoned():
        actual = launch_norm_act(x, *tensors, **options, cut=cut)
    plain = norm_act_reference(x, *tensors, **options)
    assert_no_worse(actual, plain, exactly(norm_act_reference, x, *tensors, **options))
    return actual


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_and_layout(
    shape: tuple[int, int, int, int], layout: torch.memory_format, dtype: torch.dtype
) -> None:
    x = (0.5 * torch.randn(shape, device=DEVICE) - 2.3).to(dtype).contiguous(memory_format=layout)
    tensors, options = arguments(shape, dtype, affine="channel", slope=0.2)
    actual = assert_right(x, tensors, options)
    assert actual.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_everything_that_follows(use: dict[str, Any], layout: torch.memory_format, dtype: torch.dtype) -> None:
    shape = (2, 19, 5, 11)
    x = (0.5 * torch.randn(shape, device=DEVICE) - 2.3).to(dtype).contiguous(memory_format=layout)
    tensors, options = arguments(shape, dtype, **use)
    actual = assert_right(x, tensors, options, SMALL)
    assert torch.equal(launch_norm_act(x, *tensors, **options, cut=SMALL), actual), "two runs differ"


def test_large_means_do_not_cancel() -> None:
    x = torch.randn(1, 5, 7, 9, device=DEVICE) + 1000
    assert_right(x, *arguments(tuple(x.shape), x.dtype), SMALL)


@pytest.mark.parametrize("place", [0, 40], ids=["which everything is relative to", "within"])
def test_one_huge_value(place: int) -> None:
    x = torch.randn(1, 5, 7, 9, device=DEVICE)
    x.view(1, 5, 63)[:, :, place] = 3e4
    assert_right(x, *arguments(tuple(x.shape), x.dtype), SMALL)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_planes_of_one_value_become_the_shift(dtype: torch.dtype) -> None:
    x = torch.full((1, 5, 7, 9), 0.1, device=DEVICE, dtype=dtype)
    weight, bias = torch.randn(2, 5, device=DEVICE).to(dtype)
    actual = launch_norm_act(x, weight, bias, cut=SMALL)
    assert torch.equal(actual, bias[:, None, None].expand_as(x))


def test_a_picture_without_a_layout_of_its_own() -> None:
    x = torch.randn(2, 3, 9, 16, device=DEVICE)[:, :, ::2, 1::2]
    assert assert_right(x, *arguments(tuple(x.shape), x.dtype)).is_contiguous()


def test_statistics_are_those_of_each_tile() -> None:
    x = torch.randn(1, 3, 6, 9, device=DEVICE)  # 54 pixels: tiles of 16, 16, 16 and 6
    partial = launch_norm_stats(x, None, SMALL)
    for tile, part in enumerate(x.flatten(2).split(16, 2)):
        torch.testing.assert_close(partial[:, tile, 0], part.mean(2))
        torch.testing.assert_close(partial[:, tile, 1], part.var(2, correction=0) * part.shape[2])


@pytest.mark.parametrize("element", [2, 4])
@pytest.mark.parametrize("channels_last", [True, False])
def test_tilings_cover_every_plane_with_programs_for_a_gpu(channels_last: bool, element: int) -> None:
    for batch, channels, side in ((1, 256, 64), (1, 64, 256), (8, 64, 256), (1, 512, 8), (1, 128, 512), (2, 3, 5)):
        pixels = side * side
        cut = tiling((batch, channels, side, side), pixels, element, channels_last)
        span = ceil(ceil(pixels / cut.tiles) / cut.block_p) * cut.block_p
        assert 1 <= cut.tiles <= MAX_TILES
        assert (cut.tiles - 1) * span < pixels <= cut.tiles * span, "a tile would be empty"
        assert cut.block_p * cut.block_c * element <= 16384 and 1 <= cut.warps <= 8
        if pixels * channels * element > 1 << 20:
            assert batch * ceil(channels / cut.block_c) * cut.tiles >= 128


def uses() -> Iterator[tuple[Any, ...]]:
    x = torch.randn(2, 5, 4, 6, device=DEVICE, requires_grad=True)
    weight, bias = torch.randn(2, 2, 5, device=DEVICE).requires_grad_().unbind()
    beside = torch.randn(2, 5, 4, 6, device=DEVICE, requires_grad=True)
    mask = torch.rand(2, 5, 4, 6, device=DEVICE, requires_grad=True)
    yield x, weight[0], bias[0], beside, None, 1e-5, 1.0, False, False, False, 1
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    yield last, weight, bias, None, mask, 1e-5, 0.2, True, True, True, 0


def test_operator_is_described_rightly() -> None:
    for use in uses():
        assert_described(torch.ops.i2i_rt.norm_act.default, use)


def test_gradient_is_that_of_the_reference() -> None:
    for use in uses():
        inputs = [part for part in use if isinstance(part, Tensor)]
        found, expected = (
            torch.autograd.grad(function(*use).square().sum(), inputs)
            for function in (torch.ops.i2i_rt.norm_act, norm_act_reference)
        )
        for actual, exact in zip(found, expected, strict=True):
            torch.testing.assert_close(actual, exact)


def test_public_function_is_one_node_of_an_exported_graph_and_plain_otherwise() -> None:
    class Norm(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return norm_act(x, slope=0.0, pad=1)

    x = (torch.randn(1, 3, 4, 4),)
    with fused.mode("export"):
        targets = [str(node.target) for node in torch.export.export(Norm(), x).graph.nodes]
    assert "i2i_rt.norm_act.default" in targets and len(targets) == 3  # x, the node, the output
    targets = [str(node.target) for node in torch.export.export(Norm(), x).graph.nodes]
    assert not any(target.startswith("i2i_rt") for target in targets)


TRACED = """
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from i2i_rt.kernels.norm_act import launch_norm_act

def normalised(x, style):
    weight, bias = style.chunk(2, 1)
    return launch_norm_act(x, weight, bias, x, slope=0.0, pad=1, wrap=torch.library.wrap_triton)

x = torch.randn(2, 64, 20, 24).contiguous(memory_format=torch.channels_last)
traced = make_fx(torch.func.functionalize(normalised), tracing_mode="symbolic")(x, torch.randn(2, 128))
print([str(node.target) for node in traced.graph.nodes].count("triton_kernel_wrapper_functional"))
"""


def test_launches_can_be_traced_before_the_size_is_known() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    result = subprocess.run(
        [sys.executable, "-c", TRACED], capture_output=True, text=True, env=environment, check=False
    )
    assert result.stdout == "2\n", result.stderr


def test_compiled_code_moves_vectors_and_spills_nothing() -> None:
    rows = compiled("norm_act")
    assert {row["capability"] for row in rows} == {80, 90, 100}
    for row in rows:
        assert row["stack_bytes"] == 0 and row["registers"] <= 192 and row["shared_bytes"] <= 8192, row
        if "nchw" in row["name"] and "pad" in row["name"]:
            continue  # rows with edges begin at any address
        assert "LDG.E.128" in row["instructions"], row
        assert row["name"].startswith("stats") or "STG.E.128" in row["instructions"], row
