"""The one-pass norm in CUDA C++: its code on a CPU, what is compiled for every architecture, what it is chosen for."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.kernels import cupy_module
from i2i_rt.kernels.norm_act import launch_norm_once, norm_act_reference
from i2i_rt.kernels.norm_cluster import FILE, Cluster, cluster, fitting, launch_norm_cluster
from tests.kernels.checks import DTYPES, assert_no_worse, exactly, spilled_by_nvcc
from tests.kernels.cuda_on_cpu import on_cpu

HOPPER, AMPERE = (9, 0), (8, 0)
LAST = torch.channels_last
# how the channels are shared out -> shapes with parts of a plane, more channels than a cluster's, more images than one
SHARED_OUT = {
    "two blocks": (Cluster(lanes=2, vectors=1, blocks=2), (2, 16, 7, 9)),
    "one block with several vectors": (Cluster(lanes=2, vectors=4, blocks=1), (1, 8, 9, 11)),
    "four blocks, the last with nothing": (Cluster(lanes=4, vectors=2, blocks=4), (1, 32, 3, 3)),
}
USES: dict[str, dict[str, Any]] = {
    "alone": {},
    "ReLU and edges": {"slope": 0.0, "pad": 2},
    "AdaIN, leaky, twice as large with edges": {
        "affine": True,
        "one_plus": True,
        "slope": 0.2,
        "upsample": True,
        "pad": 2,
    },
    "residual within edges": {"residual": True, "pad": 1},
}


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize(("shared_out", "shape"), SHARED_OUT.values(), ids=SHARED_OUT)
def test_code_computes_the_norm(
    shared_out: Cluster, shape: tuple[int, int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    threads, (batch, channels, height, width) = 64, shape
    kernel = on_cpu(FILE, shared_out.entry(torch.float32, torch.float32), threads, shared_out.blocks, tmp_path)
    launched = []

    def launch(file: str, entry: str, grid: tuple[int, int], count: int, *arguments: Tensor | float | None) -> None:
        launched.append((file, entry, count))
        kernel(grid, *arguments)

    monkeypatch.setattr(cupy_module, "launch", launch)
    for use in USES.values():
        options = {"slope": 1.0, "one_plus": False, "upsample": False, "pad": 0, "eps": 1e-5} | use
        affine, residual = options.pop("affine", False), options.pop("residual", False)
        x = (torch.randn(shape) / 2 - 2.3).contiguous(memory_format=LAST)
        weight, bias = torch.randn(batch, 2 * channels).chunk(2, 1) if affine else (None, None)
        edged = torch.randn(batch, channels, height + 2, width + 2).contiguous(memory_format=LAST)
        beside = edged[:, :, 1:-1, 1:-1] if residual else None
        plain = norm_act_reference(x, weight, bias, beside, **options)
        y = torch.full_like(plain, torch.nan).contiguous(memory_format=LAST)
        launch_norm_cluster(x, weight, bias, 2 * channels, beside, y, shared_out, **options)
        assert_no_worse(y, plain, exactly(norm_act_reference, x, weight, bias, beside, **options))
        again = torch.full_like(y, torch.nan)
        launch_norm_cluster(x, weight, bias, 2 * channels, beside, again, shared_out, **options)
        assert torch.equal(y, again), "two runs differ"
    assert set(launched) == {(FILE, shared_out.entry(torch.float32, torch.float32), 512)}


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_large_means_do_not_cancel(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shared_out, shape = SHARED_OUT["two blocks"]
    x = (torch.randn(shape) + 1000).contiguous(memory_format=LAST)
    kernel = on_cpu(FILE, shared_out.entry(torch.float32, torch.float32), 64, shared_out.blocks, tmp_path)
    y = torch.full_like(x, torch.nan)
    kernel((4, 2), x, None, None, None, y, 16, 7, 9, 0, 0, 0, 0, 1e-5, 1.0, 0, 1, 0)
    assert_no_worse(y, norm_act_reference(x), norm_act_reference(x.double()))


OFFICIAL = ((1, 256, 64, 64), (8, 256, 64, 64), (1, 128, 128, 128), (1, 512, 16, 16), (1, 512, 32, 32), (1, 64, 8, 8))


@pytest.mark.parametrize("element", [2, 4])
@pytest.mark.parametrize("capability", [AMPERE, HOPPER])
def test_clusters_hold_whole_planes(capability: tuple[int, int], element: int) -> None:
    for shape in OFFICIAL:
        shared_out, pixels = cluster(shape, element, capability), shape[2] * shape[3]
        if capability == AMPERE and pixels > 8 * 256:
            assert shared_out is None
            continue
        assert shared_out is not None
        held = shared_out.vectors * shared_out.blocks * 512 // shared_out.lanes
        assert pixels <= held and shared_out.vectors <= 8 and shared_out.blocks <= (1 if capability == AMPERE else 8)
        assert shape[1] * element % (16 * shared_out.lanes) == 0
    assert cluster((1, 64, 256, 256), element, capability) is None, "more than a cluster's registers hold"
    assert cluster((1, 61, 64, 64), element, capability) is None, "vectors would cross pixels"


def test_other_strides_and_types_are_left_to_the_other_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i_rt.kernels.norm_cluster._capability", lambda _: HOPPER)
    x = torch.zeros(1, 16, 4, 4).contiguous(memory_format=LAST)
    weight = torch.ones(16)
    assert fitting(x, weight, weight, x) is not None
    assert fitting(x, weight, weight.half(), None) is None
    assert fitting(x, None, None, x.contiguous()) is None
    assert fitting(x, None, None, x.half()) is None
    shifted = torch.zeros(257)[1:].view(1, 4, 4, 16).permute(0, 3, 1, 2)
    assert fitting(shifted, None, None, None) is None, "its vectors are not aligned"
    assert launch_norm_once(x.contiguous()) is None


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_compiled_code_moves_vectors_and_spills_nothing(capability: int) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    chosen = {cluster(shape, 2, (capability // 10, 0)) for shape in OFFICIAL} - {None}
    entries = [plan.entry(torch.bfloat16, torch.bfloat16) for plan in chosen if plan is not None]
    largest = Cluster(2, 8, 1 if capability < 90 else 8)
    entries += [largest.entry(dtype, torch.float32) for dtype in DTYPES]
    for entry in entries:
        compiled = cupy_module.compile_ahead(FILE, entry, capability)
        assert compiled["stack_bytes"] == 0 and compiled["registers"] <= 128, compiled
        assert {"LDG.E.128", "STG.E.128"} <= compiled["instructions"].keys(), compiled


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_nvcc_compiles_the_same(tmp_path: Path) -> None:
    entries = tuple(Cluster(2, 8, 8).entry(dtype, torch.float32) for dtype in DTYPES)
    assert set(spilled_by_nvcc(FILE, entries, 90, tmp_path).values()) == {0}
