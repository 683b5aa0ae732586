"""Sums, rows and random numbers of two processes are those of one."""

import os
import socket
import subprocess
import sys

import torch

from i2i_rt.models import across

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, **place, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_one_process_is_the_whole() -> None:
    rows = torch.rand(4, 2)

    assert across.count() == 1 and across.rank() == 0
    assert across.gathered(rows) is rows and across.total(rows) is rows and torch.equal(across.own(rows), rows)
    assert across.normal(3, 2).shape == (3, 2) and sorted(across.permutation(3).tolist()) == [0, 1, 2]
