"""What every backend offers: stages that run on NumPy arrays of any size."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Protocol, Self

import numpy as np

from i2i_rt.errors import I2IError, UnsupportedError, closest
from i2i_rt.spec import StageSpec


class SteadyVideo(Protocol):
    """One video whose smoothed statistics the backend keeps."""

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Translates the next frame, `[H, W, 3]` uint8 RGB."""

    def close(self) -> None:
        """Lets the backend forget the video."""


class Session(ABC):
    """One backend with one bundle loaded: a context manager. It belongs to one thread, if it has no `workers`.

    Attributes:
        backend: its name in `i2i_rt.runtime.backends`.
        precision: one of `i2i_rt.runtime.backends.PRECISIONS`.
        device: the device that it runs on, in words.
        stages: what can be run.
        workers: threads that run it at once, where that is of use: a server works on several requests.
    """

    backend: str
    precision: str
    device: str
    stages: Mapping[str, StageSpec]
    workers: Executor | None = None

    @abstractmethod
    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a stage on inputs whose shapes the graph takes as they are. The outputs belong to the caller."""

    def takes(self, stage: str, inputs: Mapping[str, np.ndarray]) -> bool:
        """Says whether a stage runs on inputs of these lengths; most artifacts take all that the stage allows."""
        return True

    def made_for(self, stage: str) -> list[tuple[int, int, int]]:
        """Gives the batches, heights and widths that an artifact was made for; empty where it takes all alike."""
        return []

    def style(self, image: np.ndarray | None, seed: int | None, domain: str | None) -> np.ndarray | None:
        """Gives the code `[S]` of a style where the backend makes it as a whole; None where the stages make it."""
        return None

    def steady_video(self, momentum: float) -> SteadyVideo | None:
        """Begins a video whose statistics follow their average; None where a stage of the session does that."""
        return None

    def close(self) -> None:  # noqa: B027 - most backends have nothing to free
        """Frees what the backend holds; the session cannot be used afterwards."""

    def can_run(self, stage: str) -> bool:
        """Says whether a stage is there; a bundle's stage that was not exported is not."""
        return stage in self.stages

    def run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a stage. Sizes that the graph does not take are padded by reflection; outputs are cropped back.

        Raises:
            UnsupportedError: where there is no such stage.
            I2IError: where an input is not what the stage takes.
        """
        if stage not in self.stages:
            raise UnsupportedError(f"this bundle has no stage {stage!r}; {closest(stage, self.stages)}")
        spec = self.stages[stage]
        sizes = check(spec, inputs)
        return cropped(spec, sizes, self._run(stage, padded(spec, inputs)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check(spec: StageSpec, inputs: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Gives the lengths of a stage's dynamic axes by name.

    Raises:
        I2IError: where an input is not what the stage takes.
    """
    sizes: dict[str, int] = {}
    for tensor in spec.inputs:
        array = inputs[tensor.name]
        tensor.check(array)
        for axis, length in zip(tensor.axes, array.shape, strict=True):
            whole = length * axis.divisor
            if axis.size is None and sizes.setdefault(axis.name, whole) != whole:
                raise I2IError(
                    f"{tensor.name} has shape {list(array.shape)}; its {axis.label} must be "
                    f"{sizes[axis.name] // axis.divisor}, as in {spec.inputs[0].name}"
                )
    return sizes


def zeros(spec: StageSpec, lengths: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Gives inputs of a stage, all zero; `lengths` are those of its dynamic axes."""
    return {
        tensor.name: np.zeros([axis.size or lengths[axis.name] for axis in tensor.axes], tensor.dtype)
        for tensor in spec.inputs
    }


def padded(spec: StageSpec, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gives a stage's inputs at lengths that its graph takes, extended by reflection where they have others."""
    result = {}
    for tensor in spec.inputs:
        array = inputs[tensor.name]
        widths = [(0, axis.fit(length) - length) for axis, length in zip(tensor.axes, array.shape, strict=True)]
        result[tensor.name] = np.pad(array, widths, mode="reflect") if any(map(any, widths)) else array
    return result


def cropped(spec: StageSpec, sizes: Mapping[str, int], outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gives a stage's outputs at the lengths that its inputs had before they were padded; `sizes` are from `check`."""
    for tensor in spec.outputs:
        # an axis that no input has, such as the height of a structure code, is as long as the graph makes it
        region = tuple(
            slice(axis.size or (sizes[axis.name] // axis.divisor if axis.name in sizes else None))
            for axis in tensor.axes
        )
        outputs[tensor.name] = outputs[tensor.name][region]
    return outputs
