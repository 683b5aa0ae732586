"""Noise, bias, activation, residual and style after a convolution: PyTorch's values in both layouts."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from i2i_rt.kernels import conv_epilogue, fused
from i2i_rt.kernels.conv_epilogue import BLOCK, WIDEST, _test, blocks, conv_epilogue_reference, launch_conv_epilogue
from tests.kernels.checks import DEVICE, DTYPES, assert_described, assert_no_worse, compiled, poisoned, traced_launches

SHAPES = {
    "two pixels": (1, 1, 2, 2),
    "odd channels, not square": (3, 3, 6, 10),
    "channels between blocks": (1, 61, 4, 6),
    "several blocks": (1, 256, 6, 8),
}
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
COMBINATIONS = {
    "bias": {"bias"},
    "nothing but the activation": set[str](),
    "residual": {"bias", "residual"},
    "generator's first": {"bias", "noise", "scale"},
    "generator's second": {"bias", "noise", "doubled"},
    "all": {"bias", "noise", "doubled", "scale"},
}


def inputs(shape: tuple[int, ...], dtype: torch.dtype, given: set[str], *, per_image: bool = False) -> list[Any]:
    generator = torch.Generator(DEVICE).manual_seed(0)

    def draw(*sizes: int) -> Tensor:
        return torch.randn(sizes, device=DEVICE, generator=generator).to(dtype)

    batch, channels, height, width = shape
    half = (batch, channels, height // 2, width // 2)
    noise = draw(batch, 1, height, width) if per_image else draw(1, 1, 3, 5)
    return [
        (-2.3 + 0.5 * draw(*shape)).to(dtype),
        draw(channels) if "bias" in given else None,
        noise if "noise" in given else None,
        draw(1) if "noise" in given else None,
        draw(*half) if "doubled" in given else draw(*shape) if "residual" in given else None,
        "doubled" in given,
        draw(batch, channels) if "scale" in given else None,
    ]


def laid_out(arguments: list[Any], layout: torch.memory_format) -> list[Any]:
    return [
        value.contiguous(memory_format=layout) if isinstance(value, Tensor) and value.ndim == 4 else value
        for value in arguments
    ]


def exactly(arguments: list[Any]) -> Tensor:
    return conv_epilogue_reference(*(value.double() if isinstance(value, Tensor) else value for value in arguments))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("given", COMBINATIONS.values(), ids=COMBINATIONS)
def test_combinations_give_what_pytorch_gives(given: set[str], layout: torch.memory_format, dtype: torch.dtype) -> None:
    arguments = laid_out(inputs((2, 5, 6, 10), dtype, given), layout)
    with poisoned():
        y = launch_conv_epilogue(*arguments)
    assert y.is_contiguous(memory_format=layout)
    assert_no_worse(y, conv_epilogue_reference(*arguments), exactly(arguments))
    assert torch.equal(y, launch_conv_epilogue(*arguments))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_shapes_of_all_kinds(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    arguments = laid_out(inputs(shape, torch.float32, COMBINATIONS["all"], per_image=True), layout)
    with poisoned():
        y = launch_conv_epilogue(*arguments)
    assert_no_worse(y, conv_epilogue_reference(*arguments), exactly(arguments))


def test_views_and_outliers_are_read_rightly() -> None:
    x, bias, *_ = inputs((2, 16, 6, 5), torch.float32, {"bias"})
    x = x[:, :, ::2]
    x[0, 0, 0, 0], x[1] = 1e30, 1000.0
    plain = conv_epilogue_reference(x, bias)
    assert_no_worse(launch_conv_epilogue(x, bias), plain, exactly([x, bias]))


def test_gradient_is_that_of_the_formula_and_has_one_itself() -> None:
    arguments = inputs((2, 3, 4, 6), torch.float64, COMBINATIONS["all"])
    tensors = [value.requires_grad_() for value in arguments if isinstance(value, Tensor)]

    def operator(*values: Tensor) -> Tensor:
        left = iter(values)
        given = [next(left) if isinstance(value, Tensor) else value for value in arguments]
        return torch.ops.i2i_rt.conv_epilogue(*given)  # type: ignore[no-any-return]

    if DEVICE == "cpu":
        assert torch.autograd.gradcheck(operator, tensors)
        assert torch.autograd.gradgradcheck(operator, tensors)
    ours, plain = (
        torch.autograd.grad(y.square().sum(), tensors)
        for y in (operator(*tensors), conv_epilogue_reference(*arguments))
    )
    assert all(torch.allclose(a, b) for a, b in zip(ours, plain, strict=True))


def test_operator_is_described_rightly() -> None:
    for layout in LAYOUTS.values():
        arguments = laid_out(inputs((2, 5, 4, 6), torch.float32, COMBINATIONS["all"]), layout)
        arguments[0].requires_grad_()
        assert_described(torch.ops.i2i_rt.conv_epilogue.default, tuple(arguments))


def test_public_function_is_a_node_of_an_exported_graph_and_plain_otherwise() -> None:
    x, bias, *_ = inputs((1, 3, 4, 6), torch.float32, {"bias"})
    with fused.mode("export"):
        graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x: conv_epilogue(x, bias))(x)
    assert "i2i_rt.conv_epilogue" in str(graph)
    assert torch.equal(conv_epilogue(x, bias), conv_epilogue_reference(x, bias))


TRACED = """
from i2i_rt.kernels.conv_epilogue import launch_conv_epilogue
from torch.library import wrap_triton

def run(x):
    return launch_conv_epilogue(x, wrap=wrap_triton)

for layout in (torch.contiguous_format, torch.channels_last):
    x = torch.randn(2, 64, 20, 24).contiguous(memory_format=layout)
    traced = make_fx(torch.func.functionalize(run), tracing_mode="symbolic")(x)
"""


def test_launch_can_be_traced_before_the_size_is_known() -> None:
    assert traced_launches(TRACED) == 1
    unknown = ShapeEnv().create_unbacked_symint()  # type: ignore[no-untyped-call]
    assert blocks(64, unknown, True) == (BLOCK // WIDEST, WIDEST) and blocks(64, unknown, False) == (BLOCK, 1)


def test_own_test_passes() -> None:
    for dtype in DTYPES:
        for actual, expected in _test(torch.device(DEVICE), dtype):
            assert fused.relative_error(actual, expected) <= fused.TOLERANCES[dtype]


def test_compiled_code_moves_vectors_and_spills_nothing() -> None:
    for row in compiled("conv_epilogue"):
        assert row["stack_bytes"] == 0
        assert row["instructions"]["STG.E.128"] >= 2 and row["instructions"]["LDG.E.128"] >= 2
        if "nhwc" in row["name"]:
            assert row["registers"] <= 96 and row["shared_bytes"] == 0
