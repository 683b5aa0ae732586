"""Batch norm over several processes is PyTorch's over the images of all of them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from tests.processes import run_together

PROCESS = """
import sys
import torch
import torch.distributed as processes
from i2i_rt.models.norm import RunningNorm
from i2i_rt.models.synchronized import synchronize

processes.init_process_group("gloo")
images, wanted = (rows.chunk(2)[processes.get_rank()] for rows in torch.load(f"{sys.argv[1]}/images"))
images = images.clone().requires_grad_()
norm = RunningNorm(3)
synchronize(norm)
result = norm(images)
(result * wanted).sum().backward()
torch.save([result.detach(), images.grad, norm.running_mean, norm.running_var], f"{sys.argv[1]}/{processes.get_rank()}")
processes.destroy_process_group()
"""


def test_two_processes_compute_what_one_does_with_all_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images, wanted = torch.randn(4, 3, 5, 2) * 3 + 2, torch.randn(4, 3, 5, 2)
    torch.save([images, wanted], tmp_path / "images")
    run_together(PROCESS, str(tmp_path))
    found: list[list[Tensor]] = [torch.load(tmp_path / str(rank)) for rank in range(2)]

    norm = nn.BatchNorm2d(3)
    result = norm(images.requires_grad_())
    (result * wanted).sum().backward()
    torch.testing.assert_close(torch.cat([results for results, *_ in found]), result)
    torch.testing.assert_close(torch.cat([gradients for _, gradients, *_ in found]), images.grad)
    for _, _, mean, variance in found:
        torch.testing.assert_close(mean, norm.running_mean)
        torch.testing.assert_close(variance, norm.running_var)
