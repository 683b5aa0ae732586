"""One training step of any system, and all the state that the next step depends on."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.systems.base import Recipe, Shape, System
from i2i_rt.systems.table import find
from i2i_rt.training.options import TrainingOptions, learning_rate_factor
from i2i_rt.training.processes import Processes

EXTRA = "_extra_state"  # PyTorch's key of what a module keeps beside its tensors


def build_system(options: TrainingOptions, domains: tuple[str, ...] = ()) -> tuple[System[Any], Recipe]:
    """Makes a system with weights drawn from the run's seed.

    Raises:
        I2IError: where the system is unknown, has no such setting, or cannot be made for crops of this size.
    """
    build, recipe = find(options.system)
    settings = recipe.settings.parse(options.system, options.settings)
    torch.manual_seed(options.seed)
    shape = Shape(
        options.width,
        options.blocks,
        options.discriminator_width,
        options.antialias,
        options.crop_size,
        domains,
        settings,
    )
    return build(shape), recipe


class Trainer:
    """A system with its optimisers, one a network. `step` counts the steps that are done.

    Random numbers are drawn anew for each step from the seed and the step's number, so there is no state of a
    generator to keep, and all processes draw the same patch positions.
    """

    def __init__(
        self, options: TrainingOptions, processes: Processes, *, domains: tuple[str, ...] = (), steps: int = 1
    ) -> None:
        self.options, self.processes, self.domains = options, processes, domains
        self.step = 0
        system, self.recipe = build_system(options, domains)
        self.system = system.to(processes.device).train()
        self.system.steps = steps
        if options.accumulate > 1 and type(self.system).stepped is not System.stepped:
            raise I2IError(f"{options.system} keeps what it knows of whole batches; leave --accumulate out")
        self._module = processes.wrap(self.system, synchronized=self.recipe.synchronized)
        self._optimizers = {
            name: self.recipe.optimization_of(name).optimizer(list(network.parameters()), options.learning_rate)
            for name, network in system.networks.items()
        }
        self._averages = {
            f"{name}.{key}": tensor.clone()
            for name in self.system.averaged()
            for key, tensor in system.networks[name].state_dict().items()
        }

    def begin_with(self, networks: Mapping[str, Mapping[str, Tensor]], source: str) -> list[str]:
        """Takes the weights of another run for every network that both have; gives those networks' names.

        Raises:
            I2IError: where there is none, one has another shape, or one that the system does not train is missing; or
                where one has to begin anew.
        """
        anew = [name for name in self.system.fresh() if name in networks]
        if anew:
            raise I2IError(
                f"--from {source}: it has {', '.join(anew)}, which the settings of this run say to begin anew; leave "
                "one of the two out"
            )
        shared = [name for name in self.system.networks if name in networks]
        if not shared:
            raise I2IError(
                f"--from {source}: it has {', '.join(networks)}, and {self.options.system} has none of these networks"
            )
        missing = [name for name in self.system.given() if name not in networks]
        if missing:
            raise I2IError(
                f"--from {source}: it has {', '.join(networks)}, and {self.options.system} takes {', '.join(missing)} "
                "from another run too"
            )
        for name in shared:
            try:
                self.system.networks[name].load_state_dict(networks[name])
            except RuntimeError as error:
                raise I2IError(
                    f"--from {source}: its network {name!r} has another shape; give the options of that run"
                ) from error
        for key in self._averages:
            name, _, parameter = key.partition(".")
            self._averages[key] = self.system.networks[name].state_dict()[parameter].clone()
        return shared

    def train(self, batch: Any, epoch: int) -> dict[str, Tensor]:
        """Runs every phase once on this process's part of a batch; gives the losses by name, detached."""
        options, device, system = self.options, self.processes.device, self.system
        rate = self.learning_rate(epoch)
        torch.manual_seed(int(np.random.SeedSequence((options.seed, 2, self.step)).generate_state(1)[0]))
        system.step = self.step
        parts = self._parts(batch)
        kept: list[dict[str, Tensor]] = [{} for _ in parts]
        losses: dict[str, Tensor] = {}
        for phase in system.phases:
            optimizers = {name: self._optimizers[name] for name in system.trained_in(phase)}
            if not optimizers:
                continue
            for name, optimizer in optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = rate * self.recipe.optimization_of(name).rate * system.rate(name)
            # those of other networks too: they are computed along, and must not add up until their own phase
            self._module.zero_grad()
            found: list[Any] = []
            for part, memory in zip(parts, kept, strict=True):
                with self.processes.averaging(self._module, now=part is parts[-1]):
                    with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
                        found.append(self._module(part, phase, memory))
                    (found[-1].pop("total") / len(parts)).backward()
            losses |= {name: torch.stack([of_part[name] for of_part in found]).mean(0) for name in found[0]}
            for optimizer in optimizers.values():
                optimizer.step()
        with torch.no_grad():
            system.stepped(kept[0])
            self._average()
        self.step += 1
        return losses

    def _parts(self, batch: Any) -> list[Any]:
        """Cuts a batch into parts whose gradients are added up, so that each needs less memory."""
        count = self.options.accumulate
        if count == 1:
            return [batch]
        fields = ([None] * count if field is None else field.chunk(count) for field in batch)
        return [type(batch)(*part) for part in zip(*fields, strict=True)]

    def _average(self) -> None:
        """Moves the averages of weights towards them; counts and other buffers are copied."""
        decay = self.recipe.ema
        for name in self.system.averaged() if decay is not None else ():
            network = self.system.networks[name]
            weights = dict(network.named_parameters())
            for key, tensor in network.state_dict().items():
                average = self._averages[f"{name}.{key}"]
                if key in weights and decay is not None:
                    average.lerp_(tensor, 1 - decay)
                else:
                    average.copy_(tensor)

    def learning_rates(self) -> dict[str, float]:
        """Gives the learning rate that each network had in its last step."""
        return {name: float(optimizer.param_groups[0]["lr"]) for name, optimizer in self._optimizers.items()}

    def learning_rate(self, epoch: int) -> float:
        """Gives the learning rate of an epoch, counted from 0, before the networks' own multiples."""
        options, recipe = self.options, self.recipe
        return options.learning_rate * learning_rate_factor(
            epoch,
            epochs=options.epochs,
            decay_epochs=options.decay_epochs,
            lead=recipe.decay_lead,
            decay=recipe.decay,
        )

    def networks(self, *, averaged: bool = True) -> dict[str, nn.Module]:
        """Gives copies of the networks, ready for use: with the averages of their weights, where there are any."""
        networks = {}
        for name, network in self.system.networks.items():
            module = copy.deepcopy(network)
            if averaged and name in self.system.averaged():
                prefix = f"{name}."
                module.load_state_dict(
                    {
                        key.removeprefix(prefix): tensor
                        for key, tensor in self._averages.items()
                        if key.startswith(prefix)
                    }
                )
            networks[name] = module.eval().requires_grad_(False)
        return networks

    def state(self) -> dict[str, Any]:
        """Gives all that training goes on from: tensors and plain values only. Every process must ask for it."""
        system = self.system.state_dict()
        return {
            "step": self.step,
            "system": system,
            # each process has an image pool of its own
            "pools": self.processes.gather(system.pop(EXTRA, None)),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "averages": self._averages,
            "domains": list(self.domains),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        if "averages" not in state:
            raise I2IError("the checkpoint was written by an older i2i_rt; start again without --resume")
        self.step = state["step"]
        pool = state["pools"][self.processes.rank % len(state["pools"])]
        self.system.load_state_dict(state["system"] | ({} if pool is None else {EXTRA: pool}))
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._averages = dict(state["averages"])
