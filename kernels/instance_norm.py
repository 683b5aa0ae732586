"""Instance norm whose statistics stay in float32, whatever the dtype of the tensor.

`y = (x - mean) / sqrt(var + eps) * weight + bias` over each `[H, W]` plane (Ulyanov et al. 2016, arXiv:1607.08022).
A plane of a 256x256 image has 65,536 values: their sum of squares leaves float16's range, and bfloat16's eight bits
of mantissa lose the mean. So half precision is widened here, and the exported graphs carry the same two casts.
"""

import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.kernels import statistics


def instance_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalises each plane of `[N, C, H, W]`; `weight` and `bias` are `[C]`. Gives the dtype of `x`."""
    moments = statistics.taken(x)
    if moments is not None:
        return statistics.scaled(x, moments, weight, bias, eps)
    if x.dtype in (torch.float16, torch.bfloat16):
        wide_weight = None if weight is None else weight.float()
        wide_bias = None if bias is None else bias.float()
        return functional.instance_norm(x.float(), None, None, wide_weight, wide_bias, eps=eps).to(x.dtype)
    return functional.instance_norm(x, None, None, weight, bias, eps=eps)
