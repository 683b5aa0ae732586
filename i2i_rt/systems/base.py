"""`System`: the networks of a paper and its training step, cut into phases."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import LabelInfo, StyleInfo
from i2i_rt.systems import decay
from i2i_rt.systems.settings import Settings

Resize = Literal["square", "short", "none"]
Arrangement = Literal[
    "unpaired", "paired", "single", "labelled", "domains", "views", "triplets", "adaptation", "pictures", "linked"
]


@dataclass(frozen=True)
class Shape:
    """How large a system's networks are, and what they are made for; the defaults are the papers'."""

    width: int = 64  # of the generator, after its first convolution
    blocks: int = 9  # residual blocks of a ResNet generator
    discriminator_width: int = 64
    antialias: bool = False  # fixed low-pass filters in place of strided and transposed convolutions
    crop_size: int = 256  # the depth of many networks follows from it
    domains: tuple[str, ...] = ()  # names in the order of their indices, of data that has domains
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Optimization:
    """How a network's weights are moved; `rate` is a multiple of the run's learning rate."""

    rate: float = 1.0
    betas: tuple[float, float] = (0.5, 0.999)  # of SGD, the first one is the momentum
    weight_decay: float = 0.0
    method: Literal["adam", "rmsprop", "sgd"] = "adam"

    def optimizer(self, parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Makes the optimiser of a network."""
        rate, decay = self.rate * learning_rate, self.weight_decay
        if self.method == "adam":
            return torch.optim.Adam(parameters, rate, self.betas, weight_decay=decay, fused=True)
        if self.method == "sgd":
            return torch.optim.SGD(parameters, rate, self.betas[0], weight_decay=decay, fused=True)
        return torch.optim.RMSprop(parameters, rate, weight_decay=decay)


@dataclass(frozen=True)
class Recipe:
    """How a paper trains a system: most fields are the defaults of options of the command line.

    Attributes:
        data: what files the training set has, as `i2i_rt.training.data` tells.
        epochs, decay_epochs: with the full learning rate, and those in which it falls.
        decay: how it does, as `i2i_rt.systems.decay` tells.
        decay_lead: epochs by which the decay runs ahead.
        decay_augmented: whether random crops go on while the learning rate falls.
        resize: how pictures are scaled to `load_size`, as `--resize` tells.
        epoch_images: how many images an epoch has; None: as many as the set, or the larger of its sides.
        optimization: of networks by name; "" stands for all others.
        settings: what `--set` can change.
        uses: which of `width`, `blocks`, `discriminator_width`, `antialias` and `direction` mean something.
        ema: decay of the moving averages of the networks that `System.averaged` names.
        synchronized: whether batch norm takes the statistics of all processes.
        multiple: of which number of images every process must have some at once.
    """

    data: Arrangement
    shape: Shape
    epochs: int
    decay_epochs: int
    batch: int = 1
    resize: Resize = "square"
    load_size: int = 286
    crop_size: int = 256
    learning_rate: float = 2e-4
    decay: Callable[[int, int], float] = decay.linear
    decay_lead: int = 0
    decay_augmented: bool = True
    epoch_images: int | None = None
    optimization: Mapping[str, Optimization] = field(default_factory=lambda: {"": Optimization()})
    settings: type[Settings] = Settings
    uses: frozenset[str] = frozenset({"width", "blocks", "discriminator_width", "antialias", "direction"})
    ema: float | None = None
    synchronized: bool = False
    multiple: int = 1

    def optimization_of(self, network: str) -> Optimization:
        return self.optimization.get(network) or self.optimization.get("", Optimization())


class Batch(NamedTuple):
    """Images of both domains, `[N, 3, H, W]` in [-1, 1]: pairs or unrelated pictures."""

    a: Tensor
    b: Tensor


class LabelledBatch(NamedTuple):
    """Label maps `[N, H, W]` int64 (255: unknown), instances likewise or None, images `[N, 3, H, W]` in [-1, 1]."""

    labels: Tensor
    instances: Tensor | None
    image: Tensor


class DomainBatch(NamedTuple):
    """Images with their domains, and two references of another domain each.

    Images are `[N, 3, H, W]` in [-1, 1], domains `[N]` int64; both references of a row are of the domain `target`.
    """

    image: Tensor
    domain: Tensor
    reference: Tensor
    other_reference: Tensor
    target: Tensor


class ViewsBatch(NamedTuple):
    """Images `[N, 3, H, W]` in [-1, 1], the same pictures augmented otherwise, and, `[N]` int64, which they are.

    `domain` counts the folders that pictures lie in, `number` the pictures of the set. Outside training, where there is
    nothing to augment, a view is another picture.
    """

    image: Tensor
    view: Tensor
    domain: Tensor
    number: Tensor


class Pictures(NamedTuple):
    """Images `[N, 3, H, W]` in [-1, 1] of one set; `other`: other ones of it, which only samples and scores have."""

    image: Tensor
    other: Tensor | None


class Triplets(NamedTuple):
    """Images `[N, 3, H, W]` in [-1, 1]: the positive is to be closer to the anchor than the negative."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


class LinkedBatch(NamedTuple):
    """Pairs of linked pictures, which have their content in common, with shapes and classes.

    Images and shapes are `[N, 3, H, W]` in [-1, 1]; a shape shows where the object is. Domains `[N]` int64 count the
    classes. A picture that is linked to no other one is its own partner.
    """

    image: Tensor
    shape: Tensor
    domain: Tensor
    other: Tensor
    other_shape: Tensor
    other_domain: Tensor


class AdaptationBatch(NamedTuple):
    """Images of the source with their labels `[N, H, W]` int64 (255: unknown), and unrelated ones of the target."""

    source: Tensor
    labels: Tensor
    target: Tensor


@dataclass(frozen=True)
class Product:
    """What a run leaves for use: networks by the names that the stages ask for, and what a bundle says of them.

    `system` is a name in `i2i_rt.stages.table`, where it is another than the one that is trained.
    """

    networks: Mapping[str, nn.Module]
    system: str | None = None
    preprocessing: Preprocessing | None = None
    style: StyleInfo | None = None
    labels: LabelInfo | None = None

    def description(self) -> dict[str, Any]:
        """Gives what `Bundle.create` takes beside networks and stages."""
        preprocessing = None if self.preprocessing is None else asdict(self.preprocessing)
        return {"preprocessing": preprocessing, "style": self.style, "labels": self.labels}


Data = TypeVar("Data", bound=tuple[Any, ...])


class System(nn.Module, ABC, Generic[Data]):
    """Networks, its direct children, and losses.

    A training step runs the `phases` in order, each one forward, backward and optimiser step. A system is called
    with the name of a phase and gives its losses, so that DistributedDataParallel can wrap it as one module: each
    call is followed by one backward pass. Every network has one optimiser, which is stepped in each phase that trains
    it.

    Attributes:
        step, steps: the number of the step that runs, from 0, and how many the whole schedule has.
    """

    phases: ClassVar[tuple[str, ...]]
    step: int = 0
    steps: int = 1

    @property
    def networks(self) -> dict[str, nn.Module]:
        return dict(self.named_children())

    @abstractmethod
    def trained_in(self, phase: str) -> tuple[str, ...]:
        """Names the networks whose weights the phase moves; none: the phase is left out at this step."""

    @abstractmethod
    def losses(self, batch: Data, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives the phase's losses by name, already weighted: their sum is what is minimised.

        `kept` lives for one step: what an earlier phase computed and a later one needs again, graph included.
        """

    def needs_gradient(self, name: str, phase: str) -> bool:
        """Says whether gradients of a network's weights are computed in a phase.

        A generator's graph may be made in one phase and used in the next, so it is never cut.
        """
        if name in self.given():
            return False
        return name in self.trained_in(phase) or not name.startswith("discriminator")

    def given(self) -> tuple[str, ...]:
        """Names the networks that stay as another run left them, which has to be named (`--from`)."""
        return ()

    def fresh(self) -> tuple[str, ...]:
        """Names the networks that have to begin with weights that are drawn, not with another run's (`--from`)."""
        return ()

    def forward(self, batch: Data, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives `losses`, detached, and their sum `total`, whose backward pass reaches the weights of the phase."""
        for name, network in self.networks.items():
            network.requires_grad_(self.needs_gradient(name, phase))
        losses = self.losses(batch, phase, kept)
        total = next(iter(losses.values())).new_zeros(())
        for loss in losses.values():
            total = total + loss
        return {"total": total} | {name: loss.detach() for name, loss in losses.items()}

    def stepped(self, kept: dict[str, Tensor]) -> None:
        """Is called after the last phase of a step: the place for queues and averages that losses need."""

    def rate(self, name: str) -> float:
        """Gives what a network's learning rate is multiplied with, beside its recipe's, by settings or by the step."""
        return 1.0

    def averaged(self) -> tuple[str, ...]:
        """Names the networks of whose weights a moving average is kept."""
        return ()

    @abstractmethod
    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        """Gives what is worth keeping, by the name of the bundle's folder in a run; `networks`: which to take."""

    @abstractmethod
    def samples(self, batch: Data, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives the columns of the sample grid, images `[N, 3, H, W]` in [-1, 1]."""

    def scores(self, batch: Data, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Gives what is measured of each held-out image by name, `[N, ...]`, for `figures`."""
        return {}

    def figures(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Says how far a training has come, from the means `[...]` of `scores` over all held-out images."""
        return {name: float(mean) for name, mean in means.items()}
