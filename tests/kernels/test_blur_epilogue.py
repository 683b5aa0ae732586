"""The low-pass with and without what follows it: PyTorch's values in both layouts, at every edge."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from i2i_rt.kernels import blur, fused
from i2i_rt.kernels.blur_epilogue import (
    ENOUGH,
    LONGEST,
    _test,
    blocks,
    blur_epilogue_reference,
    blur_reference,
    launch_blur_epilogue,
)
from i2i_rt.models.resample import Blur, BlurPool
from tests.kernels.checks import DEVICE, DTYPES, assert_described, assert_no_worse, compiled, poisoned, traced_launches

LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
FILTERS = {  # taps, before, after, stride, reflect
    "after a transposed convolution": ((1, 3, 3, 1), 1, 1, 1, False),
    "before a reduction of 3x3": ((1, 3, 3, 1), 2, 2, 1, True),
    "of a skip": ((1, 3, 3, 1), 1, 1, 2, False),
    "before the encoder's reduction": ((1, 2, 1), 2, 1, 1, True),
    "of BlurPool": ((1, 2, 1), 1, 1, 2, True),
}
SHAPES = {
    "smallest": (1, 1, 3, 3),
    "odd, not square": (2, 3, 5, 9),
    "channels between blocks": (1, 61, 4, 6),
    "several blocks of channels": (1, 256, 3, 5),
    "several strips and blocks of columns": (1, 1, 20, 18),
}


def bank(taps: tuple[int, ...], channels: int, dtype: torch.dtype) -> Tensor:
    row = torch.tensor(taps, dtype=torch.float32, device=DEVICE)
    return (torch.outer(row, row) / row.sum() ** 2).repeat(channels, 1, 1, 1).to(dtype)


def inputs(shape: tuple[int, ...], name: str, dtype: torch.dtype, *, activate: bool = False) -> list[Any]:
    generator = torch.Generator(DEVICE).manual_seed(0)

    def draw(*sizes: int) -> Tensor:
        return torch.randn(sizes, device=DEVICE, generator=generator).to(dtype)

    taps, *rest = FILTERS[name]
    batch, channels = shape[:2]
    more = [draw(channels), draw(1, 1, 3, 4), draw(1), draw(batch, channels)] if activate else [None] * 4
    x = (-2.3 + 0.5 * draw(*shape)).to(dtype)
    return [x, bank(taps, channels, dtype), *rest, activate, *more]


def exactly(arguments: list[Any]) -> Tensor:
    return blur_epilogue_reference(*(value.double() if isinstance(value, Tensor) else value for value in arguments))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("name", FILTERS)
def test_filters_give_what_pytorch_gives(name: str, layout: torch.memory_format, dtype: torch.dtype) -> None:
    x, *rest = inputs((2, 3, 5, 6), name, dtype)
    x = x.contiguous(memory_format=layout)
    with poisoned():
        y = launch_blur_epilogue(x, *rest)
    assert y.is_contiguous(memory_format=layout)
    assert_no_worse(y, blur_epilogue_reference(x, *rest), exactly([x, *rest]))
    assert torch.equal(y, launch_blur_epilogue(x, *rest))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_shapes_of_all_kinds(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    if layout == torch.contiguous_format and shape[1] > 3:
        shape = (*shape[:1], 3, *shape[2:])  # where every channel has programs of its own, more of them show no more
    x, *rest = inputs(shape, "after a transposed convolution", torch.float32, activate=True)
    x = x.contiguous(memory_format=layout)
    with poisoned():
        y = launch_blur_epilogue(x, *rest)
    assert_no_worse(y, blur_epilogue_reference(x, *rest), exactly([x, *rest]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_epilogue_is_in_every_dtype(layout: torch.memory_format, dtype: torch.dtype) -> None:
    x, *rest = inputs((2, 3, 7, 5), "after a transposed convolution", dtype, activate=True)
    x = x.contiguous(memory_format=layout)
    assert_no_worse(launch_blur_epilogue(x, *rest), blur_epilogue_reference(x, *rest), exactly([x, *rest]))


def test_views_and_outliers_are_read_rightly() -> None:
    x, *rest = inputs((2, 3, 12, 5), "of BlurPool", torch.float32)
    x = x[:, :, ::2]
    x[0, 0, 0, 0], x[1] = 1e30, 1000.0
    assert_no_worse(launch_blur_epilogue(x, *rest), blur_epilogue_reference(x, *rest), exactly([x, *rest]))


@pytest.mark.parametrize("layer", [
    Blur(3, (1, 3, 3, 1), (1, 1), gain=4), Blur(3, (1, 2, 1), (2, 1), reflect=True), BlurPool(3),
], ids=["gain", "reflected", "pool"])  # fmt: skip
def test_layers_have_filters_that_the_kernel_takes(layer: torch.nn.Module) -> None:
    layer, x = layer.to(DEVICE), torch.randn(1, 3, 7, 5, device=DEVICE)
    assert isinstance(layer, Blur | BlurPool)
    stride, before, after = (2, 1, 1) if isinstance(layer, BlurPool) else (layer.stride, *layer.padding)
    reflect = True if isinstance(layer, BlurPool) else layer.reflect
    ours = launch_blur_epilogue(x, layer.kernel, before, after, stride, reflect)
    torch.testing.assert_close(ours, layer(x))


def test_other_filters_are_refused() -> None:
    with pytest.raises(ValueError, match="5 taps and stride 1; 3 or 4 taps"):
        launch_blur_epilogue(torch.zeros(1, 1, 9, 9, device=DEVICE), torch.ones(1, 1, 5, 5, device=DEVICE), 2, 2)


def test_strips_are_short_where_there_would_be_few_programs() -> None:
    assert blocks(1, 128, 512, 512, True) == (LONGEST, 16, 64)
    rows, across, wide = blocks(1, 512, 32, 32, True)
    assert rows < LONGEST and (across, wide) == (16, 64)
    assert (512 // wide) * (32 // across) * (32 // rows) >= ENOUGH or rows == 2
    assert blocks(1, 3, 8, 600, False)[1:] == (1024, 1)


def test_gradient_is_that_of_the_formula_and_has_one_itself() -> None:
    x, kernel, *sizes, activate, bias, noise, strength, scale = inputs(
        (2, 3, 4, 5), "after a transposed convolution", torch.float64, activate=True
    )
    tensors = [value.requires_grad_() for value in (x, bias, strength, scale)]

    def given(x: Tensor, bias: Tensor, strength: Tensor, scale: Tensor) -> list[Any]:
        return [x, kernel, *sizes, activate, bias, noise, strength, scale]

    if DEVICE == "cpu":
        for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
            assert check(lambda *values: torch.ops.i2i_rt.blur_epilogue(*given(*values)), tensors)
    ours, plain = (
        torch.autograd.grad(function(*given(*tensors)).square().sum(), tensors)
        for function in (torch.ops.i2i_rt.blur_epilogue, blur_epilogue_reference)
    )
    assert all(torch.allclose(a, b) for a, b in zip(ours, plain, strict=True))


def test_operator_is_described_rightly() -> None:
    for layout in LAYOUTS.values():
        x, *rest = inputs((2, 3, 5, 6), "after a transposed convolution", torch.float32, activate=True)
        given = (x.contiguous(memory_format=layout).requires_grad_(), *rest)
        assert_described(torch.ops.i2i_rt.blur_epilogue.default, given)


def test_public_function_is_a_node_of_an_exported_graph_and_plain_otherwise() -> None:
    x, kernel, *_ = inputs((1, 3, 6, 6), "of BlurPool", torch.float32)
    with fused.mode("export"):
        graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x: blur(x, kernel, (1, 1), stride=2))(x)
    assert "i2i_rt.blur_epilogue" in str(graph)
    assert torch.equal(blur(x, kernel, (1, 1)), blur_reference(x, kernel, 1, 1, 1, False))


TRACED = """
from i2i_rt.kernels.blur_epilogue import launch_blur_epilogue
from torch.library import wrap_triton

def run(x):
    return launch_blur_epilogue(x, torch.ones(64, 1, 4, 4), 1, 1, wrap=wrap_triton)

for layout in (torch.contiguous_format, torch.channels_last):
    x = torch.randn(2, 64, 20, 24).contiguous(memory_format=layout)
    traced = make_fx(torch.func.functionalize(run), tracing_mode="symbolic")(x)
"""


def test_launch_can_be_traced_before_the_size_is_known() -> None:
    assert traced_launches(TRACED) == 1
    unknown = ShapeEnv().create_unbacked_symint()  # type: ignore[no-untyped-call]
    assert blocks(unknown, 128, unknown, unknown, True) == (LONGEST, 16, 64)


def test_own_test_passes() -> None:
    for dtype in DTYPES:
        for actual, expected in _test(torch.device(DEVICE), dtype):
            assert fused.relative_error(actual, expected) <= fused.TOLERANCES[dtype]


def test_compiled_code_moves_vectors_and_spills_nothing() -> None:
    for row in compiled("blur_epilogue"):
        assert row["stack_bytes"] == 0 and row["registers"] <= 144 and row["shared_bytes"] == 0
        # a strip reads each of its rows 3 or 4 times, and those that follow it once
        assert row["instructions"]["LDG.E.128"] >= 30 and row["instructions"]["STG.E.128"] >= LONGEST
