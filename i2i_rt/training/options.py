"""What defines a training run: with the data and the machine it gives the same weights every time."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from i2i_rt.errors import I2IError
from i2i_rt.systems.base import Resize

Direction = Literal["AtoB", "BtoA"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class TrainingOptions:
    """Every field is an option of `i2i-rt train`; the run's folder keeps them, and `--resume` takes them from there."""

    system: str
    data: str
    epochs: int
    decay_epochs: int
    batch: int
    load_size: int
    crop_size: int
    learning_rate: float
    width: int
    blocks: int
    discriminator_width: int
    antialias: bool
    resize: Resize = "square"
    direction: Direction = "AtoB"
    precision: Precision = "fp32"
    seed: int = 0
    accumulate: int = 1  # parts that a batch is computed in, one after another
    threads: int | None = None  # of the CPU; another number sums in another order, so the last bits differ
    settings: dict[str, str] = field(default_factory=dict)  # of the system, as text
    start: str | None = None  # a run whose weights this one begins with

    def __post_init__(self) -> None:
        for name, kind in (("resize", Resize), ("direction", Direction), ("precision", Precision)):
            if getattr(self, name) not in get_args(kind):
                raise I2IError(f"--{name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(kind))}")
        for name in ("batch", "load_size", "crop_size", "width", "blocks", "discriminator_width", "accumulate"):
            if getattr(self, name) < 1:
                raise I2IError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise I2IError(f"--threads is {self.threads}; it must be at least 1")
        if min(self.epochs, self.decay_epochs) < 0 or self.epochs + self.decay_epochs < 1 or self.seed < 0:
            raise I2IError(
                f"--epochs is {self.epochs}, --decay-epochs {self.decay_epochs} and --seed {self.seed}; "
                "none may be negative, and there must be an epoch to train"
            )
        if not 0 < self.learning_rate < 1:
            raise I2IError(f"--learning-rate is {self.learning_rate}; it must lie between 0 and 1")
        if self.crop_size % 4 or self.crop_size < 32:
            raise I2IError(f"--crop-size is {self.crop_size}; it must be a multiple of 4 and at least 32")
        if self.resize != "none" and self.load_size < self.crop_size:
            raise I2IError(
                f"--load-size is {self.load_size}, smaller than --crop-size {self.crop_size}; crops are cut from "
                "pictures of the load size"
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "TrainingOptions":
        return cls(**{field.name: content[field.name] for field in fields(cls) if field.name in content})


def learning_rate_factor(
    epoch: int, *, epochs: int, decay_epochs: int, lead: int, decay: Callable[[int, int], float]
) -> float:
    """Gives what the learning rate is multiplied with in an epoch, counted from 0.

    It is 1 for `epochs - lead` epochs and then falls as `decay` says. A `lead` of one is what CycleGAN's and pix2pix's
    code does, whose last epoch has a rate of 0.
    """
    fallen = epoch + 1 + lead - epochs
    return decay(fallen, decay_epochs) if fallen > 0 else 1.0
