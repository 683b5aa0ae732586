"""Sums, rows and random numbers of two processes are those of one."""

import torch

from i2i_rt.models import across
from tests.processes import run_together

PROGRAM = """
import torch
import torch.distributed as processes
from i2i_rt.models import across

processes.init_process_group("gloo")
rows = (torch.arange(4.0) + 1).view(4, 1)
own = across.own(rows).clone().requires_grad_()
assert torch.equal(across.gathered(own), rows)
# every process computes the loss of all rows: averaged over them, the gradient is that of one process
(across.gathered(own).pow(3).sum() / 4).backward()
assert torch.allclose(own.grad / across.count(), 3 * across.own(rows) ** 2 / 4), own.grad
weight = torch.tensor(2.0, requires_grad=True)
(gradient,) = torch.autograd.grad(across.total((weight * across.own(rows)).sum()) ** 2, weight, create_graph=True)
gradient.backward()
# averaged over the processes: 2 * 10^2, the second derivative of (10 w)^2
assert across.total(weight.grad).item() / across.count() == 2 * 10**2, weight.grad
torch.manual_seed(0)
drawn = across.normal(2, 3)
order = across.permutation(2)
torch.manual_seed(0)
assert torch.equal(across.gathered(drawn), torch.randn(4, 3))
assert torch.equal(across.gathered(order), torch.randperm(4))
processes.destroy_process_group()
"""


def test_two_processes_agree_with_one() -> None:
    run_together(PROGRAM)


def test_one_process_is_the_whole() -> None:
    rows = torch.rand(4, 2)

    assert across.count() == 1 and across.rank() == 0
    assert across.gathered(rows) is rows and across.total(rows) is rows and torch.equal(across.own(rows), rows)
    assert across.normal(3, 2).shape == (3, 2) and sorted(across.permutation(3).tolist()) == [0, 1, 2]
