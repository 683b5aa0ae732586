"""Between uint8 frames `[N, H, W, 3]` and images `[N, 3, H, W]` in [-1, 1].

`frame_in`: `x = frame / 127.5 - 1`. `frame_out`: `frame = round((clamp(x, -1, 1) + 1) * 127.5)`.
Both compute in float32. Eagerly each is four to six passes over the image, most of them in float32; here it is one:
`(1 + e) * 3NHW` bytes for images of e bytes an element, the least that is possible. Images are stored channels-last,
which is the order of the frame's bytes already and what tensor cores want. torch.compile fuses as much, up to the
layout; alone these kernels do not pay there.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.library import wrap_triton

from i2i_rt.kernels import fused
from i2i_rt.kernels.aot import Build
from i2i_rt.kernels.language import Wrap, plain, tl, triton
from i2i_rt.kernels.operator import define

BLOCK = 1024


def frame_in(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """Gives frames `[N, H, W, 3]` uint8 as images `[N, 3, H, W]` in [-1, 1]."""
    if fused.chosen("frame_in", frames, dtype):
        image: Tensor = torch.ops.i2i_rt.frame_in(frames, dtype)
        return image
    return frame_in_reference(frames, dtype)


def frame_out(image: Tensor) -> Tensor:
    """Gives images `[N, 3, H, W]` in [-1, 1] as frames `[N, H, W, 3]` uint8, rounded to the nearest level.

    The official test scripts truncate instead, which makes their pictures half a level darker on average.
    """
    if fused.chosen("frame_out", image):
        frames: Tensor = torch.ops.i2i_rt.frame_out(image)
        return frames
    return frame_out_reference(image)


def frame_in_reference(frames: Tensor, dtype: torch.dtype) -> Tensor:
    return (frames.permute(0, 3, 1, 2).float() / 127.5 - 1).to(dtype)


def frame_out_reference(image: Tensor) -> Tensor:
    levels: Tensor = ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1)


@triton.jit
def _frame_in_kernel(frames, image, count, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    level = tl.load(frames + place, mask=place < count).to(tl.float32)
    tl.store(image + place, (level / 127.5 - 1).to(image.dtype.element_ty), mask=place < count)


@triton.jit
def _frame_out_kernel(image, frames, count, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(image + place, mask=place < count).to(tl.float32)
    level = (tl.minimum(tl.maximum(x, -1.0), 1.0) + 1) * 127.5
    # to the nearest, halves to the even one, as `torch.round`: adding 2^23 leaves no bits for a fraction
    level = (level + 8388608.0) - 8388608.0
    tl.store(frames + place, level.to(tl.uint8), mask=place < count)


def launch_frame_in(frames: Tensor, dtype: torch.dtype, wrap: Wrap = plain) -> Tensor:
    frames = frames.contiguous()
    image = torch.empty(frames.shape, dtype=dtype, device=frames.device)
    count = image.numel()
    wrap(_frame_in_kernel)[(triton.cdiv(count, BLOCK),)](frames, image, count, BLOCK)
    return image.permute(0, 3, 1, 2)


def launch_frame_out(image: Tensor, wrap: Wrap = plain) -> Tensor:
    image = image.permute(0, 2, 3, 1).contiguous()
    frames = torch.empty(image.shape, dtype=torch.uint8, device=image.device)
    count = image.numel()
    wrap(_frame_out_kernel)[(triton.cdiv(count, BLOCK),)](image, frames, count, BLOCK)
    return frames


def _frame_in(frames: Tensor, dtype: torch.dtype) -> Tensor:
    return launch_frame_in(frames, dtype, wrap_triton)


def _frame_in_fake(frames: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(frames.shape, dtype=dtype, device=frames.device).permute(0, 3, 1, 2)


def _frame_in_cpu(frames: Tensor, dtype: torch.dtype) -> Tensor:
    return frame_in_reference(frames, dtype).contiguous(memory_format=torch.channels_last)


def _frame_out(image: Tensor) -> Tensor:
    return launch_frame_out(image, wrap_triton)


def _frame_out_fake(image: Tensor) -> Tensor:
    batch, channels, height, width = image.shape
    return torch.empty((batch, height, width, channels), dtype=torch.uint8, device=image.device)


def _frame_out_cpu(image: Tensor) -> Tensor:
    return frame_out_reference(image).contiguous()


define("frame_in", _frame_in, fake=_frame_in_fake, reference=_frame_in_cpu)
define("frame_out", _frame_out, fake=_frame_out_fake, reference=_frame_out_cpu)


def _test_in(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    frames = torch.arange(2 * 7 * 61 * 3, device=device).to(torch.uint8).view(2, 7, 61, 3)
    yield launch_frame_in(frames, dtype), frame_in_reference(frames, dtype)


def _test_out(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    image = torch.linspace(-1.2, 1.2, 2 * 3 * 7 * 61, device=device).to(dtype).view(2, 3, 7, 61)
    yield launch_frame_out(image), frame_out_reference(image)


fused.register_test("frame_in", _test_in)
fused.register_test("frame_out", _test_out)

BUILDS = tuple(
    build
    for name in ("fp32", "fp16", "bf16")
    for build in (
        Build(
            f"in {name}",
            _frame_in_kernel,
            {"frames": "*u8", "image": f"*{name}", "count": "i32"},
            {"BLOCK": BLOCK},
            ("frames", "image", "count"),
        ),
        Build(
            f"out {name}",
            _frame_out_kernel,
            {"image": f"*{name}", "frames": "*u8", "count": "i32"},
            {"BLOCK": BLOCK},
            ("frames", "image", "count"),
        ),
    )
)
