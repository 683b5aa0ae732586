"""CUDA C++ compiles without a GPU, for every architecture, and is launched as CuPy wants it."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from i2i_rt.kernels import cupy_module
from i2i_rt.kernels.aot import CAPABILITIES
from tests.kernels.checks import spilled_by_nvcc

CODE = """\
#include "element.cuh"
template <typename T, int COUNT>
__global__ void scaled(const T *__restrict__ x, T *__restrict__ y, float factor, int count) {
  const long long place = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * COUNT;
  if (place >= count) return;
  auto vector = load<T, COUNT>(x + place);
#pragma unroll
  for (int i = 0; i < COUNT; i++) vector.part[i] = rounded<T>(factor * widened(vector.part[i]));
  store<T, COUNT>(y + place, vector);
}
"""
ENTRIES = ("scaled<bf16, 8>", "scaled<fp16, 8>", "scaled<fp32, 4>")


@pytest.fixture
def scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Gives a file of a folder that stands in for `kernels/cuda/`."""
    shutil.copy(cupy_module.FOLDER / "element.cuh", tmp_path)
    (tmp_path / "scaled.cu").write_text(CODE)
    monkeypatch.setattr(cupy_module, "FOLDER", tmp_path)
    return "scaled.cu"


def test_source_holds_what_it_includes(scaled: str) -> None:
    assert "#include" not in cupy_module.source(scaled) and "struct alignas" in cupy_module.source(scaled)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_dtype_moves_vectors(scaled: str, entry: str, capability: int) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    compiled = cupy_module.compile_ahead(scaled, entry, capability)
    assert compiled["stack_bytes"] == 0 and compiled["registers"] <= 32
    assert {"LDG.E.128", "STG.E.128"} <= compiled["instructions"].keys()


def test_a_mistake_is_shown_with_the_compilers_log(scaled: str) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    with pytest.raises(RuntimeError, match=r"scaled.cu does not compile:[\s\S]*scaled<fp8"):
        cupy_module.compile_ahead(scaled, "scaled<fp8, 8>", 90)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_nvcc_compiles_the_same(scaled: str, tmp_path: Path) -> None:
    assert set(spilled_by_nvcc(scaled, ENTRIES, 90, tmp_path).values()) == {0}


def test_launch_passes_pointers_and_four_byte_numbers(scaled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launches: list[tuple[Any, ...]] = []

    class Function:
        max_dynamic_shared_size_bytes = 0

        def __call__(self, *arguments: Any, shared_mem: int) -> None:
            launches.append((*arguments, shared_mem, self.max_dynamic_shared_size_bytes))

    class Within:
        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> None: ...

        def __exit__(self, *_: Any) -> None: ...

    function = Function()

    def raw_module(code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> SimpleNamespace:
        assert "scaled" in code and options == ("-std=c++17",)
        find: Callable[[str], Function] = {name_expressions[0]: function}.__getitem__
        return SimpleNamespace(get_function=find)

    cuda = SimpleNamespace(Device=Within, ExternalStream=Within)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda, RawModule=raw_module))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(cuda_stream=0))
    x = torch.zeros(8)
    cupy_module.launch(scaled, ENTRIES[2], (2, 3), 128, None, x, 0.5, 8, shared_bytes=65536)
    (grid, block, arguments, shared, allowed) = launches[0]
    assert (grid, block, shared, allowed) == ((2, 3), (128,), 65536, 65536)
    assert arguments == (0, x.data_ptr(), 0.5, 8)
    assert [type(value) for value in arguments] == [np.uint64, np.uint64, np.float32, np.int32]
