"""A style folded into weights, and the modulated convolution that they are for."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from i2i_rt.kernels import cupy_module, fused, modulated_conv, modulated_conv2d
from i2i_rt.kernels.aot import CAPABILITIES
from i2i_rt.kernels.modulated_conv import (
    CUDA_VECTORS,
    Norm,
    _test,
    cuda_entry,
    folding_pays,
    launch_modulated_weights,
    modulated_conv2d_reference,
    modulated_weights_reference,
    takes,
)
from tests.kernels.checks import (
    DEVICE,
    DTYPES,
    assert_described,
    assert_no_worse,
    compiled,
    poisoned,
    spilled_by_nvcc,
)

SHAPES = {
    "one weight": (1, 1, 1, 1),
    "odd": (3, 61, 3, 3),
    "to RGB": (3, 128, 1, 1),
    "more than a block": (2, 512, 3, 3),
}
NORMS: tuple[Norm, ...] = ("none", "filters", "styled")
STORED = {
    "contiguous": lambda weight: weight.contiguous(),
    "channels last": lambda weight: weight.contiguous(memory_format=torch.channels_last),
    "by input channel": lambda weight: weight.transpose(0, 1).contiguous().transpose(0, 1),
    "with gaps": lambda weight: weight.repeat_interleave(2, 1)[:, ::2],
}


def inputs(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator(DEVICE).manual_seed(0)
    weight = torch.randn(shape, device=DEVICE, generator=generator)
    return weight.to(dtype), (1 + torch.randn(shape[1], device=DEVICE, generator=generator)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_weights_are_scaled_and_normed(shape: tuple[int, ...], norm: Norm, dtype: torch.dtype) -> None:
    weight, style = inputs(shape, dtype)
    with poisoned():
        folded = launch_modulated_weights(weight, style, norm)
    exact = modulated_weights_reference(weight.double(), style.double(), norm)
    assert_no_worse(folded, modulated_weights_reference(weight, style, norm), exact)
    assert torch.equal(folded, launch_modulated_weights(weight, style, norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stored", STORED)
def test_weights_stay_as_they_are_stored(stored: str, norm: Norm) -> None:
    weight, style = inputs((4, 5, 3, 3), torch.float32)
    given = STORED[stored](weight)
    assert torch.equal(given, weight)
    folded = launch_modulated_weights(given, style, norm)
    plain = modulated_weights_reference(weight, style, norm)
    assert_no_worse(folded, plain, plain.double())
    assert folded.stride() == torch.ops.i2i_rt.modulated_weights(given, style, norm).stride()
    if stored == "channels last" or (stored == "by input channel" and norm == "none"):
        assert folded.stride() == given.stride()


def test_large_styles_and_zero_filters_stay_finite() -> None:
    weight, style = inputs((3, 64, 3, 3), torch.float16)
    weight[0] = 0
    folded = launch_modulated_weights(weight, 1000 * style.float(), "styled")
    exact = modulated_weights_reference(weight.double(), 1000 * style.double(), "styled")
    assert_no_worse(folded, modulated_weights_reference(weight, 1000 * style.float(), "styled"), exact)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("up", [False, True])
def test_convolution_is_the_same_in_every_form(up: bool, norm: Norm, batch: int) -> None:
    weight, _ = inputs((4, 5, 3, 3), torch.float32)
    generator = torch.Generator(DEVICE).manual_seed(1)
    x = torch.randn(batch, 5, 8, 7, device=DEVICE, generator=generator)
    style = torch.randn(batch, 5, device=DEVICE, generator=generator)
    plain = modulated_conv2d_reference(x, weight, style, norm, up)
    assert torch.equal(modulated_conv2d(x, weight, style, norm=norm, up=up), plain)
    for given in (style, style[:, :, None, None]):
        if given.ndim == 4 and norm == "styled":
            continue
        with fused.mode("export"):
            torch.testing.assert_close(modulated_conv2d(x, weight, given, norm=norm, up=up), plain)


def test_style_at_every_place_and_none_at_all_scale_the_input() -> None:
    weight, _ = inputs((4, 5, 3, 3), torch.float32)
    x, style = torch.randn(1, 5, 8, 7, device=DEVICE), torch.randn(1, 5, 8, 7, device=DEVICE)
    for given in (style, None):
        with fused.mode("export"):
            ours = modulated_conv2d(x, weight, given, norm="filters")
        torch.testing.assert_close(ours, modulated_conv2d_reference(x, weight, given, "filters", False))


def test_folding_pays_for_images_that_are_larger_than_the_weights() -> None:
    weight = torch.empty(128, 256, 3, 3)
    assert folding_pays(torch.empty(1, 256, 64, 64), weight)
    assert not folding_pays(torch.empty(1, 256, 32, 32), weight)
    unknown = ShapeEnv().create_unbacked_symint()  # type: ignore[no-untyped-call]
    assert folding_pays(SimpleNamespace(shape=(1, 256, unknown, unknown)), weight)  # type: ignore[arg-type]


def test_gradient_is_that_of_the_formula() -> None:
    weight, style = (tensor.requires_grad_() for tensor in inputs((2, 3, 3, 3), torch.float64))
    for norm in NORMS:
        if DEVICE == "cpu":
            assert torch.autograd.gradcheck(torch.ops.i2i_rt.modulated_weights, (weight, style, norm))
        ours, plain = (
            torch.autograd.grad(function(weight, style, norm).square().sum(), (weight, style))
            for function in (torch.ops.i2i_rt.modulated_weights, modulated_weights_reference)
        )
        assert all(torch.allclose(a, b) for a, b in zip(ours, plain, strict=True))


def test_operator_is_described_rightly() -> None:
    weight, style = inputs((4, 5, 3, 3), torch.float32)
    for stored in STORED.values():
        given = stored(weight).requires_grad_()
        assert_described(torch.ops.i2i_rt.modulated_weights.default, (given, style, "filters"))


def test_own_test_passes() -> None:
    for dtype in DTYPES:
        for actual, expected in _test(torch.device(DEVICE), dtype):
            assert fused.relative_error(actual, expected) <= fused.TOLERANCES[dtype]


def test_compiled_code_moves_vectors_and_spills_nothing() -> None:
    for row in compiled("modulated_conv"):
        assert row["stack_bytes"] == 0 and row["registers"] <= 128
        assert row["instructions"]["LDG.E.128"] >= 4 and row["instructions"]["STG.E.128"] >= 4


CUDA_ENTRIES = [
    cuda_entry(dtype, norm, row_is_channel, CUDA_VECTORS[-1])
    for dtype in DTYPES
    for norm, row_is_channel in (("none", False), ("none", True), ("filters", False), ("styled", False))
]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_cuda_moves_vectors_and_spills_nothing(capability: int) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    for entry in CUDA_ENTRIES:
        row = cupy_module.compile_ahead("modulated_conv.cu", entry, capability)
        assert row["stack_bytes"] == 0 and row["registers"] <= 96, row
        assert {"LDG.E.128", "STG.E.128"} <= row["instructions"].keys(), row


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_cuda_is_accepted_by_nvcc(tmp_path: Path) -> None:
    assert set(spilled_by_nvcc("modulated_conv.cu", CUDA_ENTRIES, 90, tmp_path).values()) == {0}


def test_cuda_is_launched_with_a_block_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    launches: list[tuple[Any, ...]] = []
    monkeypatch.setattr(modulated_conv, "launch", lambda *arguments: launches.append(arguments))
    weight, style = inputs((4, 512, 3, 3), torch.bfloat16)
    turned = STORED["by input channel"](weight)
    modulated_conv.launch_modulated_weights_cuda(weight, style, "filters")
    modulated_conv.launch_modulated_weights_cuda(turned, style, "none")
    assert [entry for _, entry, *_ in launches] == [
        "modulated_weights<bf16, FILTERS, false, 4>",
        "modulated_weights<bf16, NONE, true, 1>",
    ]
    assert [(grid, threads) for _, _, grid, threads, *_ in launches] == [((4,), 256), ((512,), 256)]
    assert [arguments[-3:] for arguments in launches] == [(4608, 512, 9), (36, 512, 1)]
    assert all(arguments[5].dtype == torch.float32 for arguments in launches)


def test_cuda_takes_rows_of_whole_vectors() -> None:
    assert takes(torch.empty(4, 512, 3, 3), "filters") and takes(torch.empty(3, 128, 1, 1), "none")
    assert not takes(torch.empty(4, 5, 3, 3), "none") and not takes(torch.empty(4, 1024, 3, 3), "none")


@pytest.mark.gpu
def test_cuda_gives_what_pytorch_gives() -> None:
    for dtype in DTYPES:
        for actual, expected in modulated_conv._test_cuda(torch.device("cuda"), dtype):
            assert fused.relative_error(actual, expected) <= fused.TOLERANCES[dtype]
