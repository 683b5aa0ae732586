"""SPADE's kernel in CUDA C++: compiled without spills, and its arithmetic run thread by thread on the CPU."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i_rt.kernels import cupy_module, fused, spade_table
from i2i_rt.kernels.aot import CAPABILITIES
from i2i_rt.kernels.spade_table import BATCH, INDICES, THREADS, entry, fits_vectors, launch_spade_table_apply
from tests.kernels.checks import DEVICE, DTYPES, spilled_by_nvcc
from tests.kernels.test_spade_table import inputs

# what CUDA C++ has and C++ has not, in float32
ON_THE_CPU = """\
#include <cmath>
#define __global__
#define __restrict__
#define __launch_bounds__(threads)
struct Place { int x; };
static Place blockIdx, blockDim, threadIdx;
using fp32 = float;
static float widened(fp32 x) { return x; }
template <typename T> static T rounded(float x) { return x; }
template <typename T, int COUNT> struct Vector { T part[COUNT]; };
template <typename T, int COUNT> static Vector<T, COUNT> load(const T *from) {
  Vector<T, COUNT> vector;
  for (int i = 0; i < COUNT; i++) vector.part[i] = from[i];
  return vector;
}
template <typename T, int COUNT> static void store(T *to, const Vector<T, COUNT> &vector) {
  for (int i = 0; i < COUNT; i++) to[i] = vector.part[i];
}
"""
RUN = """
extern "C" void run(int blocks, int threads, const float *x, const short *index, const float *table, float *y,
                    int vectors, int group, int width, float slope, bool doubled) {
  blockDim.x = threads;
  for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
    for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)
      if (doubled) ENTRY<float, short, 4, BATCH, true>(x, index, table, y, vectors, group, width, slope);
      else ENTRY<float, short, 4, BATCH, false>(x, index, table, y, vectors, group, width, slope);
}
"""
ENTRIES = [entry(dtype, index, doubled=doubled) for dtype in DTYPES for index in INDICES for doubled in (False, True)]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_compiled_code_moves_vectors_and_spills_nothing(capability: int) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    for name in ENTRIES:
        compiled = cupy_module.compile_ahead("spade.cu", name, capability)
        assert compiled["stack_bytes"] == 0 and compiled["registers"] <= 64
        assert compiled["instructions"]["LDG.E.128"] == 3 * BATCH and compiled["instructions"]["STG.E.128"] == BATCH


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_nvcc_spills_nothing(capability: int, tmp_path: Path) -> None:
    assert set(spilled_by_nvcc("spade.cu", tuple(ENTRIES), capability, tmp_path).values()) == {0}


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("channels", [4, 12, 64])
def test_threads_compute_every_position_but_those_of_negative_rows(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (cupy_module.FOLDER / "spade.cu").read_text().replace('#include "element.cuh"', ON_THE_CPU)
    unit, library = tmp_path / "spade.cpp", tmp_path / "spade.so"
    unit.write_text(code + RUN.replace("ENTRY", "spade_table_apply").replace("BATCH", str(BATCH)))
    subprocess.run(["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-o", library, unit], check=True)
    run = ctypes.CDLL(str(library)).run

    def launch(file: str, name: str, grid: tuple[int], threads: int, *arguments: Any) -> None:
        doubled = name == entry(torch.float32, torch.int16, doubled=True)
        assert file == "spade.cu" and (doubled or name == entry(torch.float32, torch.int16, doubled=False))
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in arguments[:4]]
        run(grid[0], threads, *pointers, *arguments[4:7], ctypes.c_float(arguments[7]), doubled)

    monkeypatch.setattr(cupy_module, "launch", launch)
    x, index, table = inputs((3, channels, 11, 13), torch.float32, torch.int16)
    x = x.cpu().contiguous(memory_format=torch.channels_last)
    index, table = index.cpu(), table.cpu()
    index[0, :3], index[2] = -1, 5
    assert x.numel() // 4 % (THREADS * BATCH), "the last block is not full"
    expected, y = torch.full_like(x, 7.0), torch.full_like(x, 7.0)
    launch_spade_table_apply(x, index, table, 0.2, out=expected)
    spade_table.launch_cuda(x, index, table, 0.2, y)
    torch.testing.assert_close(y, expected)
    large = index.repeat_interleave(2, 1).repeat_interleave(2, 2)
    expected = launch_spade_table_apply(x, large.clamp_min(0), table, 0.2, doubled=True)
    y = torch.full_like(expected, 7.0)
    spade_table.launch_cuda(x, large, table, 0.2, y)
    torch.testing.assert_close(y, torch.where(large[:, None] < 0, 7.0, expected))


def test_only_whole_vectors_of_channels_fit() -> None:
    nhwc = torch.channels_last
    assert fits_vectors(torch.empty(1, 8, 3, 3, dtype=torch.float16).contiguous(memory_format=nhwc))
    assert not fits_vectors(torch.empty(1, 12, 3, 3, dtype=torch.float16).contiguous(memory_format=nhwc))
    assert not fits_vectors(torch.empty(1, 8, 3, 3))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_own_test_passes_on_the_gpu(dtype: torch.dtype) -> None:
    pytest.importorskip("cupy")
    for actual, expected in spade_table._test_cuda(torch.device(DEVICE), dtype):
        assert fused.relative_error(actual, expected) <= fused.TOLERANCES[dtype]
