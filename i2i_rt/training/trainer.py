"""One training step of any system, and all the state that the next step depends on."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i_rt.systems.base import Batch, Recipe, Shape, System
from i2i_rt.systems.table import find
from i2i_rt.training.options import TrainingOptions, learning_rate_factor
from i2i_rt.training.processes import Processes

EXTRA = "_extra_state"  # PyTorch's key of what a module keeps beside its tensors


def build_system(options: TrainingOptions) -> tuple[System, Recipe]:
    """Makes a system with weights drawn from the run's seed.

    Raises:
        I2IError: where the system is unknown, or cannot be made for crops of this size.
    """
    build, recipe = find(options.system)
    torch.manual_seed(options.seed)
    shape = Shape(options.width, options.blocks, options.discriminator_width, options.antialias, options.crop_size)
    return build(shape), recipe


class Trainer:
    """A system with its optimisers, one a phase. `step` counts the steps that are done.

    Random numbers are drawn anew for each step from the seed and the step's number, so there is no state of a
    generator to keep, and all processes draw the same patch positions.
    """

    def __init__(self, options: TrainingOptions, processes: Processes) -> None:
        self.options, self.processes = options, processes
        self.step = 0
        system, self.recipe = build_system(options)
        self.system = system.to(processes.device).train()
        self._module = processes.wrap(self.system)
        self._optimizers = {phase: self._optimizer(phase) for phase in self.system.phases}

    def _optimizer(self, phase: str) -> torch.optim.Adam:
        networks = self.system.networks
        parameters = [weight for name in self.system.trained_in(phase) for weight in networks[name].parameters()]
        return torch.optim.Adam(parameters, self.options.learning_rate, self.recipe.betas, fused=True)

    def train(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Runs every phase once on this process's part of a batch; gives the losses by name, detached."""
        options, device = self.options, self.processes.device
        rate = self.learning_rate(epoch)
        torch.manual_seed(int(np.random.SeedSequence((options.seed, 2, self.step)).generate_state(1)[0]))
        kept: dict[str, Tensor] = {}
        losses: dict[str, Tensor] = {}
        for phase, optimizer in self._optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
                found = self._module(batch, phase, kept)
            found.pop("total").backward()
            optimizer.step()
            losses |= found
        self.step += 1
        return losses

    def learning_rate(self, epoch: int) -> float:
        """Gives the learning rate of an epoch, counted from 0."""
        options = self.options
        return options.learning_rate * learning_rate_factor(
            epoch, epochs=options.epochs, decay_epochs=options.decay_epochs, lead=self.recipe.decay_lead
        )

    def state(self) -> dict[str, Any]:
        """Gives all that training goes on from: tensors and plain values only. Every process must ask for it."""
        system = self.system.state_dict()
        return {
            "step": self.step,
            "system": system,
            # each process has an image pool of its own
            "pools": self.processes.gather(system.pop(EXTRA, None)),
            "optimizers": {phase: optimizer.state_dict() for phase, optimizer in self._optimizers.items()},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        pool = state["pools"][self.processes.rank % len(state["pools"])]
        self.system.load_state_dict(state["system"] | ({} if pool is None else {EXTRA: pool}))
        for phase, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][phase])
