"""What a graph takes and gives: plain data with a JSON form, free of torch.

A *stage* is one exportable graph. `translate` takes frames and gives frames; systems with a style code add
`style_from_image` and `style_from_noise`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from i2i_rt.errors import I2IError

# two stages that give what `translate` gives, for label maps: what the map alone decides, and the picture
LABEL_STAGES = ("layout", "render")


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor: fixed (`size`), or dynamic, a multiple of `multiple` that is at least `low`.

    Axes of one name are of one length, which `divisor` divides: the map of features that has a place for every
    eighth pixel of H has the axis H with divisor 8. `multiple` and `low` are those of the whole length.
    """

    name: str
    size: int | None = None
    multiple: int = 1
    low: int = 1
    divisor: int = 1

    def fit(self, length: int) -> int:
        """Gives the smallest allowed length that is not below `length`."""
        multiple, low = self.multiple // self.divisor, -(-self.low // self.divisor)
        return self.size or max(-(-length // multiple) * multiple, low)

    @property
    def label(self) -> str:
        """What it is called in words: its size where that is fixed."""
        return str(self.size or (self.name if self.divisor == 1 else f"{self.name}/{self.divisor}"))


@dataclass(frozen=True)
class TensorSpec:
    """A named input or output: NumPy's name of the dtype and the axes in order."""

    name: str
    dtype: str
    axes: tuple[Axis, ...]

    def check(self, array: np.ndarray) -> None:
        """Raises `I2IError` where `array` is not what the graph takes."""
        if array.dtype != np.dtype(self.dtype):
            raise I2IError(f"{self.name} has dtype {array.dtype}; it must be {self.dtype}")
        names = ", ".join(axis.label for axis in self.axes)
        if array.ndim != len(self.axes):
            raise I2IError(f"{self.name} has shape {list(array.shape)}; it must be [{names}]")
        for axis, length in zip(self.axes, array.shape, strict=True):
            if length < 1 or (axis.size is not None and length != axis.size):
                raise I2IError(f"{self.name} has shape {list(array.shape)}; it must be [{names}]")


@dataclass(frozen=True)
class StageSpec:
    """One exportable graph: its name, inputs and outputs."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The height and width of the frames that the graph is bound to; None where it takes any."""
        sides = {axis.name: axis.size for axis in self.inputs[0].axes}
        height, width = sides.get("H"), sides.get("W")
        return (height, width) if height is not None and width is not None else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "StageSpec":
        def tensors(entries: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
            return tuple(TensorSpec(e["name"], e["dtype"], tuple(Axis(**axis) for axis in e["axes"])) for e in entries)

        return cls(data["name"], tensors(data["inputs"]), tensors(data["outputs"]))


def frames_spec(name: str, multiple: int, low: int) -> TensorSpec:
    """Describes RGB frames `[N, H, W, 3]`, uint8, with sides that are multiples of `multiple`."""
    height, width = (Axis(side, multiple=multiple, low=low) for side in ("H", "W"))
    return TensorSpec(name, "uint8", (Axis("N"), height, width, Axis("C", size=3)))


@dataclass(frozen=True)
class StyleInfo:
    """What a system's styles are, beside the shape of `translate`'s input `style`.

    Attributes:
        prior: where a style comes from when no picture is given: the code itself is drawn from a normal distribution
            ("normal"), the stage `style_from_noise` maps noise to it ("network"), or it is drawn around the styles of
            a folder of pictures ("fitted", after `i2i-rt style --fit`).
        domains: names of the target domains in the order of their indices; empty where there is only one.
        mixing: how two codes are mixed: on the straight line or, for codes from a normal prior whose length matters,
            on the arc between them.
    """

    prior: Literal["normal", "network", "fitted"]
    domains: tuple[str, ...] = ()
    mixing: Literal["linear", "spherical"] = "linear"

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "StyleInfo":
        return cls(**{**data, "domains": tuple(data["domains"])})


@dataclass(frozen=True)
class LabelInfo:
    """The classes of a system whose frames are label maps.

    Attributes:
        names: of the classes, by index.
        palette: a colour (R, G, B) for each class.
        unknown: whether 255 is allowed and means "no known class".
        edges: whether the network takes the edges between instances too.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    unknown: bool = True
    edges: bool = False

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "LabelInfo":
        palette = tuple((int(r), int(g), int(b)) for r, g, b in data["palette"])
        return cls(tuple(data["names"]), palette, data["unknown"], data["edges"])
