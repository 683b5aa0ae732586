"""What every backend offers: stages that run on NumPy arrays of any size."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

import numpy as np

from i2i_rt.errors import I2IError, UnsupportedError, closest
from i2i_rt.spec import StageSpec


class Session(ABC):
    """One backend with one bundle loaded: a context manager. Not safe for use by several threads at once.

    Attributes:
        backend: its name in `i2i_rt.runtime.backends.BACKENDS`.
        precision: one of `i2i_rt.runtime.backends.PRECISIONS`.
        device: the device that it runs on, in words.
        stages: what can be run.
    """

    backend: str
    precision: str
    device: str
    stages: Mapping[str, StageSpec]

    @abstractmethod
    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a stage on inputs whose shapes the graph takes as they are. The outputs belong to the caller."""

    def takes(self, stage: str, inputs: Mapping[str, np.ndarray]) -> bool:
        """Says whether a stage runs on inputs of these lengths; most artifacts take all that the stage allows."""
        return True

    def made_for(self, stage: str) -> list[tuple[int, int, int]]:
        """Gives the batches, heights and widths that an artifact was made for; empty where it takes all alike."""
        return []

    def close(self) -> None:  # noqa: B027 - most backends have nothing to free
        """Frees what the backend holds; the session cannot be used afterwards."""

    def run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a stage. Sizes that the graph does not take are padded by reflection; outputs are cropped back.

        Raises:
            UnsupportedError: where there is no such stage.
            I2IError: where an input is not what the stage takes.
        """
        if stage not in self.stages:
            raise UnsupportedError(f"this bundle has no stage {stage!r}; {closest(stage, self.stages)}")
        spec = self.stages[stage]
        sizes: dict[str, int] = {}
        for tensor in spec.inputs:
            array = inputs[tensor.name]
            tensor.check(array)
            for axis, length in zip(tensor.axes, array.shape, strict=True):
                if axis.size is None and sizes.setdefault(axis.name, length) != length:
                    raise I2IError(
                        f"{tensor.name} has shape {list(array.shape)}; its {axis.name} must be {sizes[axis.name]}, "
                        f"as in {spec.inputs[0].name}"
                    )
        outputs = self._run(stage, padded(spec, inputs))
        for tensor in spec.outputs:
            # an axis that no input has, such as the height of a structure code, is as long as the graph makes it
            region = tuple(slice(axis.size or sizes.get(axis.name)) for axis in tensor.axes)
            outputs[tensor.name] = outputs[tensor.name][region]
        return outputs

    def warm_up(self, height: int, width: int, *, batch: int = 1, runs: int = 2) -> None:
        """Pays first-run costs for frames of this size now, so that the first real frame does not."""
        spec = self.stages["translate"]
        lengths = {"N": batch, "H": height, "W": width}
        inputs = {
            tensor.name: np.zeros([axis.size or lengths[axis.name] for axis in tensor.axes], tensor.dtype)
            for tensor in spec.inputs
        }
        for _ in range(runs):
            self.run("translate", inputs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def padded(spec: StageSpec, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gives a stage's inputs at lengths that its graph takes, extended by reflection where they have others."""
    result = {}
    for tensor in spec.inputs:
        array = inputs[tensor.name]
        widths = [(0, axis.fit(length) - length) for axis, length in zip(tensor.axes, array.shape, strict=True)]
        result[tensor.name] = np.pad(array, widths, mode="reflect") if any(map(any, widths)) else array
    return result
