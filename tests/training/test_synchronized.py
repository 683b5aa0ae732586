"""Batch norm over several processes: two with two images each have the gradients of one with all four."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

# Losses alone would not show a wrong factor of the gradients, to which Adam is blind.
STEP = """
import sys
import torch
from i2i_rt.systems.base import LabelledBatch
from i2i_rt.training.processes import joined_processes
from i2i_rt.training.recipes import options_of
from i2i_rt.training.trainer import Trainer

torch.manual_seed(1)
labels = torch.randint(0, 3, (4, 8, 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
batch = LabelledBatch(labels, labels // 2, torch.rand(4, 3, 64, 64) * 2 - 1)
options = options_of(
    "spade", ".", batch=4, width=2, discriminator_width=2, crop_size=64, load_size=64,
    settings={"labels": "3", "hidden": "4", "vgg_weight": "0", "vae": "true"},
)
with joined_processes() as processes:
    trainer, kept, found = Trainer(options, processes), {}, {}
    part = LabelledBatch(*(tensor[processes.part(4)] for tensor in batch))
    torch.manual_seed(2)
    for phase in trainer.system.phases:
        trainer._module.zero_grad()
        losses = trainer._module(part, phase, kept)
        losses.pop("total").backward()
        found |= {name: processes.mean(loss) for name, loss in losses.items()}
        found |= {n: w.grad.clone() for n, w in trainer.system.named_parameters() if w.grad is not None}
    found |= {name: buffer for name, buffer in trainer.system.named_buffers()}
    if processes.first:
        torch.save(found, sys.argv[1])
"""


def stepped(file: Path, count: int) -> dict[str, torch.Tensor]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", STEP, str(file)],
            env={**os.environ, **place, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    found: dict[str, torch.Tensor] = torch.load(file)
    return found


def test_two_processes_have_the_gradients_and_statistics_of_one(tmp_path: Path) -> None:
    one, two = stepped(tmp_path / "one.pt", 1), stepped(tmp_path / "two.pt", 2)

    assert one.keys() == two.keys()
    assert {"G_KL", "D_real", "generator.first.weight", "generator.blocks.6.norm_s.plain.running_var"} < one.keys()
    for name, alone in one.items():
        # a bias in front of a norm has a gradient of 0 but for rounding
        largest = max(alone.abs().max().item(), 1e-4)
        assert (two[name] - alone).abs().max().item() < 2e-3 * largest, name
