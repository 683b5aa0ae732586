"""`System`: the networks of a paper and its training step, cut into phases."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """How large a system's networks are; the defaults are the papers'."""

    width: int = 64  # of the generator, after its first convolution
    blocks: int = 9  # residual blocks of a ResNet generator
    discriminator_width: int = 64
    antialias: bool = False  # fixed low-pass filters in place of strided and transposed convolutions
    crop_size: int = 256  # a U-Net's depth follows from it


@dataclass(frozen=True)
class Recipe:
    """How a paper trains a system: every field is the default of an option of the command line."""

    data: Literal["unpaired", "paired", "single"]  # folders A and B, pictures A|B side by side, one picture each
    shape: Shape
    epochs: int  # with the full learning rate
    decay_epochs: int  # in which it falls linearly
    batch: int = 1
    load_size: int = 286
    crop_size: int = 256
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    decay_lead: int = 0  # epochs by which the decay runs ahead
    decay_augmented: bool = True  # whether random crops go on while the learning rate falls
    epoch_images: int | None = None  # None: the larger of the two sets


class Batch(NamedTuple):
    """Images of both domains, `[N, 3, H, W]` in [-1, 1]: pairs in pix2pix, unrelated in all other systems."""

    a: Tensor
    b: Tensor


class System(nn.Module, ABC):
    """Networks, its direct children, and losses.

    A training step runs the `phases` in order, each one forward, backward and optimiser step. A system is called
    with the name of a phase and gives its losses, so that DistributedDataParallel can wrap it as one module: each
    call is followed by one backward pass.
    """

    phases: ClassVar[tuple[str, ...]]

    @property
    def networks(self) -> dict[str, nn.Module]:
        return dict(self.named_children())

    @abstractmethod
    def trained_in(self, phase: str) -> tuple[str, ...]:
        """Names the networks whose weights the phase's optimiser moves."""

    @abstractmethod
    def losses(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives the phase's losses by name, already weighted: their sum is what is minimised.

        `kept` lives for one step: what an earlier phase computed and a later one needs again, graph included.
        """

    def forward(self, batch: Batch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives `losses`, detached, and their sum `total`, whose backward pass reaches the weights of the phase."""
        trained = self.trained_in(phase)
        for name, network in self.networks.items():
            # a generator's graph may be made in one phase and used in the next, so it is never cut
            network.requires_grad_(name in trained or not name.startswith("discriminator"))
        losses = self.losses(batch, phase, kept)
        total = next(iter(losses.values())).new_zeros(())
        for loss in losses.values():
            total = total + loss
        return {"total": total} | {name: loss.detach() for name, loss in losses.items()}

    def translators(self) -> dict[str, nn.Module]:
        """Gives the generators that are worth keeping, by the name of their bundle's folder in a run."""
        return {"bundle": self.networks["generator"]}
