"""Batch norm over the images of all processes (Park et al. 2019, section 4: "synchronized BatchNorm").

PyTorch's own works on GPUs alone; this one also between processes on CPUs.
"""

import torch
from torch import Tensor, nn

from i2i_rt.models import across


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """Batch norm that in training takes the statistics of all processes' images where `synchronized` is set.

    So several processes compute what one with all the images does, running statistics included. The official code of
    SPADE clamps the variance there, and adds 1e-5 to it on one device; here it is added always. All processes have
    the same number of images, of the same size.
    """

    synchronized = False

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and self.synchronized and across.count() > 1):
            return super().forward(input)
        variance, mean = self._statistics(input)
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        result = (input - mean[:, None, None]) * scale[:, None, None]
        return result if self.bias is None else result + self.bias[:, None, None]

    def _statistics(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Gives variances and means `[C]` over all processes, and brings the running ones nearer to them."""
        own = torch.stack(torch.var_mean(input, (0, 2, 3), correction=0))  # [2, C]
        variances, means = across.gathered(own[None]).unbind(1)  # [processes, C]
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        positions = across.count() * input.numel() // input.shape[1]
        running_mean, running_variance, share = self.running_mean, self.running_var, self.momentum
        assert running_mean is not None and running_variance is not None and share is not None
        with torch.no_grad():
            running_mean.lerp_(mean, share)
            running_variance.lerp_(variance * positions / (positions - 1), share)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return variance, mean


def synchronize(network: nn.Module) -> None:
    """Makes the batch norms of a network take the statistics of all processes in training."""
    for module in network.modules():
        if isinstance(module, SynchronizedBatchNorm):
            module.synchronized = True
