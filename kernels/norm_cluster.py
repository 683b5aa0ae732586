"""`norm_act` in one pass, in CUDA C++: a cluster of blocks keeps some channels of an image in its registers.

For planes of up to 128x128 in channels-last: 2eA bytes instead of 3eA, and one launch instead of two. Larger planes do
not fit the registers of eight blocks, and before compute capability 9.0 a cluster is one block, for up to 32x32.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from i2i_rt.kernels import cupy_module
from i2i_rt.kernels.cupy_module import NAMES

FILE = "norm_act.cu"
THREADS = 512
ENOUGH = 132  # blocks for an H100's processors


@dataclass(frozen=True)
class Cluster:
    """How an image's channels are shared out.

    Attributes:
        lanes: vectors of 16 bytes side by side, the channels of one cluster.
        vectors: that each thread keeps, for as many pixels.
        blocks: of a cluster, each with its part of the pixels.
    """

    lanes: int
    vectors: int
    blocks: int

    def entry(self, x: torch.dtype, affine: torch.dtype) -> str:
        """Gives the kernel's name for the dtypes of x and of scale and shift."""
        return f"norm_cluster<{NAMES[x]}, {NAMES[affine]}, {self.lanes}, {self.vectors}, {self.blocks}>"


def cluster(shape: tuple[int, int, int, int], element: int, capability: tuple[int, int]) -> Cluster | None:
    """Chooses by the shape `[N, C, H, W]` and the bytes of an element; None where the registers do not suffice."""
    batch, channels, height, width = shape
    pixels, most = height * width, 8 if capability >= (9, 0) else 1
    for lanes in (4, 2):  # 64 bytes side by side where there are enough blocks, else a sector of 32
        groups, rest = divmod(channels * element, 16 * lanes)
        step = THREADS // lanes
        blocks = 1
        while blocks < most and blocks * step < pixels:
            blocks *= 2
        vectors = 1
        while vectors * step * blocks < pixels:
            vectors *= 2
        if not rest and vectors <= 8 and (lanes == 2 or batch * groups * blocks >= ENOUGH):
            return Cluster(lanes, vectors, blocks)
    return None


def fitting(x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None) -> Cluster | None:
    """Gives how dense channels-last features are shared out; None where this kernel cannot take what is given."""
    affine = {part.dtype for part in (weight, bias) if part is not None}
    vector = 16 // x.element_size()
    if len(affine) > 1 or not affine <= NAMES.keys() or x.data_ptr() % 16:
        return None
    if residual is not None:
        images, channel, *steps = residual.stride()
        aligned = residual.data_ptr() % 16 == 0 and not any(step % vector for step in (images, *steps))
        if channel != 1 or not aligned or residual.dtype != x.dtype:
            return None
    batch, channels, height, width = x.shape
    return cluster((batch, channels, height, width), x.element_size(), _capability(x.device))


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def launch_norm_cluster(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    row: int,
    residual: Tensor | None,
    y: Tensor,
    shared_out: Cluster,
    *,
    eps: float,
    slope: float,
    one_plus: bool,
    upsample: bool,
    pad: int,
) -> None:
    """Writes `y`; the arguments are those of `norm_act`, and `row` is how far an image's scales lie from the last's."""
    batch, channels, height, width = x.shape
    given = weight if weight is not None else bias
    images, _, rows, columns = (0, 0, 0, 0) if residual is None else residual.stride()
    groups = channels * x.element_size() // (16 * shared_out.lanes)
    cupy_module.launch(
        FILE,
        shared_out.entry(x.dtype, x.dtype if given is None else given.dtype),
        (groups * shared_out.blocks, batch),
        THREADS,
        *(x, weight, bias, residual, y, channels, height, width, row, images, rows, columns),
        *(float(eps), float(slope), int(one_plus), 2 if upsample else 1, pad),
    )
