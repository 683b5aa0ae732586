"""What networks that were trained with TensorFlow share: its padding, its pixel norm, its layout of weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.official import noted, official_key


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Gives what TensorFlow's SAME adds before and after an axis: together the least for ceil(length / stride)."""
    total = max(kernel - (length % stride or stride), 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, for sides that are multiples of the stride.

    The odd place of an uneven padding lies after the picture: right of it and below it.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        before, after = same_padding(stride, kernel, stride)
        even = before == after
        super().__init__(in_channels, out_channels, kernel, stride, before if even else 0)
        self.before_after = None if even else (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        if self.before_after is not None:
            x = functional.pad(x, self.before_after)
        return super().forward(x)


class AnySameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding for sides of any length."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (same_padding(n, self.kernel_size[0], self.stride[0]) for n in x.shape[2:])
        return super().forward(functional.pad(x, (*columns, *rows)))


def pixel_norm(x: Tensor) -> Tensor:
    """Gives `x / sqrt(mean(x^2) + 1e-8)` over the channels (Karras et al. 2018, section 4.2); the mean in float32."""
    # a hundredfold on both sides of the fraction: ONNX's optimizer takes a sum with 1e-8 for one with nothing
    wide = 100 * x.float()
    return (wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + 1e-4)).to(x.dtype)


def to_torch(tensor: Tensor) -> Tensor:
    """Gives a kernel in PyTorch's layout.

    Convolutions from height, width, in, out; transposed ones from height, width, out, in, which come out as in, out,
    height, width; matrices from in, out. Vectors stay.
    """
    if tensor.ndim == 4:
        return noted(tensor.permute(3, 2, 0, 1).contiguous(), official_key(tensor))
    return noted(tensor.t().contiguous(), official_key(tensor)) if tensor.ndim == 2 else tensor
