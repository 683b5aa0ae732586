"""The pictures behind an 8-bit artifact: some to measure ranges on, others, never the same, to judge it by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.export import verify
from i2i_rt.export.trial import Inputs, Trial
from i2i_rt.runtime import backends
from i2i_rt.runtime.backends import BACKENDS, Choice
from i2i_rt.runtime.session import padded
from i2i_rt.spec import StageSpec

SIZE = (256, 256)
PICTURES = 32  # more of them narrow no range any further, and cost minutes


@dataclass(frozen=True)
class Calibration:
    """What `--calibrate` gives.

    Attributes:
        pictures: RGB photographs `[H, W, 3]`, uint8, like those that will be translated.
        held_out: other photographs; an artifact is judged by them.
        gate_db: that it has to reach; None: that of its precision.
    """

    pictures: Sequence[np.ndarray]
    held_out: Sequence[np.ndarray]
    gate_db: float | None = None

    def __post_init__(self) -> None:
        verify.check_apart(self.digests(), self.held_out, "those of --calibrate")

    @classmethod
    def read(cls, folder: Path, held_out: Sequence[np.ndarray], gate_db: float | None = None) -> "Calibration":
        """Reads a folder's pictures, at most `PICTURES` of them, spread over all.

        Raises:
            MediaError: where there are fewer than two that can be read.
            I2IError: where a held-out picture is among them.
        """
        found = verify.read_photographs(folder, "--calibrate")
        chosen = np.linspace(0, len(found) - 1, min(len(found), PICTURES)).round().astype(int)
        return cls([found[index] for index in chosen], held_out, gate_db)

    def digests(self) -> tuple[str, ...]:
        """Gives what the pictures are known by."""
        return tuple(verify.digest(picture) for picture in self.pictures)


@dataclass(frozen=True)
class Samples:
    """A stage's inputs of the calibration pictures, and trials on the others: inputs with the network's outputs."""

    spec: StageSpec
    pictures: tuple[str, ...]  # digests of the calibration pictures
    inputs: Sequence[Inputs]
    trials: Sequence[tuple[Inputs, verify.Outputs]]


def samples(bundle: Bundle, calibration: Calibration, stage: str) -> Samples:
    """Makes a stage's samples; codes that it takes are those that the network makes of the same pictures."""
    spec = bundle.stages[stage]
    with backends.open_session(bundle, Choice(BACKENDS["torch"], "fp32", "")) as reference:
        inputs = [
            padded(spec, Trial(bundle, reference, [picture], seed=seed).inputs(stage, SIZE, 1))
            for seed, picture in enumerate(calibration.pictures)
        ]
        judged = Trial(bundle, reference, calibration.held_out)
        return Samples(spec, calibration.digests(), inputs, verify.trials(bundle, stage, judged, reference))
