"""What a served model refuses before it looks at a single value: sizes that cost too much, or do not fit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from i2i_rt.errors import I2IError
from i2i_rt.spec import StageSpec, TensorSpec


@dataclass(frozen=True)
class Limits:
    """The largest request that a server takes.

    Attributes:
        side: pixels of a picture's height or width.
        pixels: of one picture, height times width.
        batch: pictures in one request.
        file_bytes: of an encoded picture.
    """

    side: int = 4096
    pixels: int = 4096 * 2304
    batch: int = 8
    file_bytes: int = 32 * 2**20

    @property
    def tensor_bytes(self) -> int:
        """The bytes of the largest tensor that passes: a batch of float32 pictures with three channels."""
        return max(self.batch * self.pixels * 3 * 4, self.file_bytes)

    def check_picture(self, height: int, width: int, name: str, *, padding: tuple[int, int] = (0, 0)) -> None:
        """Raises `I2IError` where one picture has a side or a count of pixels beyond the limits.

        As much of its height and width as `padding` says may have been added to make them multiples.
        """
        least = max(height - padding[0], 1), max(width - padding[1], 1)
        if min(height, width) < 1 or max(least) > self.side or least[0] * least[1] > self.pixels:
            raise I2IError(
                f"{name} is {width}x{height}; the server takes sides of 1 to {self.side} and up to {self.pixels} pixels"
            )

    def check_shape(self, tensor: TensorSpec, shape: Sequence[int]) -> None:
        """Checks the shape of one input by arithmetic on Python's integers, which cannot overflow.

        Raises:
            I2IError: where it has another rank or a length that the tensor does not allow, or is beyond the limits.
        """
        wanted = ", ".join(axis.label for axis in tensor.axes)
        if len(shape) != len(tensor.axes) or any(length < 1 for length in shape):
            raise I2IError(f"{tensor.name} has shape {list(shape)}; it must be [{wanted}]")
        sides: dict[str, tuple[int, int]] = {}  # the length, and how much of it may be padding
        for axis, length in zip(tensor.axes, shape, strict=True):
            whole = length * axis.divisor
            if axis.size is not None and length != axis.size:
                raise I2IError(f"{tensor.name} has shape {list(shape)}; it must be [{wanted}]")
            if axis.name == "N" and length > self.batch:
                raise I2IError(f"{tensor.name} has a batch of {length}; the server takes up to {self.batch}")
            if axis.name == "bytes" and length > self.file_bytes:
                raise I2IError(f"{tensor.name} has {length} bytes; the server takes up to {self.file_bytes}")
            # a picture beside the frames has sides of its own, such as reference_H
            if (side := axis.name.rpartition("_")[2]) in ("H", "W"):
                sides[side] = whole, 0 if axis.size else axis.multiple - 1
            if axis.size is None and (whole % axis.multiple or whole < axis.low):
                raise I2IError(
                    f"{tensor.name} has shape {list(shape)}; its {axis.name} must be a multiple of {axis.multiple} "
                    f"and at least {axis.low}"
                )
        if {"H", "W"} <= sides.keys():
            (height, more_height), (width, more_width) = sides["H"], sides["W"]
            self.check_picture(height, width, tensor.name, padding=(more_height, more_width))
        # what is no picture may be of any length that fits into the memory of the largest picture
        if math.prod(shape) * np.dtype(tensor.dtype).itemsize > self.tensor_bytes:
            raise I2IError(f"{tensor.name} has shape {list(shape)}; that is more than {self.tensor_bytes} bytes")

    def check(self, spec: StageSpec, shapes: Mapping[str, Sequence[int]]) -> None:
        """Checks the shapes of a request's inputs, by name; inputs that may be left out are not asked for.

        Raises:
            I2IError: where one is unknown, does not fit, or disagrees with another about the length of an axis.
        """
        tensors = {tensor.name: tensor for tensor in spec.inputs}
        lengths: dict[str, tuple[int, str]] = {}
        for name, shape in shapes.items():
            if name not in tensors:
                raise I2IError(f"there is no input {name!r}; the inputs are {', '.join(tensors)}")
            self.check_shape(tensors[name], shape)
            for axis, length in zip(tensors[name].axes, shape, strict=True):
                if axis.size is not None:
                    continue
                whole, first = lengths.setdefault(axis.name, (length * axis.divisor, name))
                if whole != length * axis.divisor:
                    raise I2IError(
                        f"{name} has shape {list(shape)}; its {axis.name} must be {whole // axis.divisor}, "
                        f"as in {first}"
                    )
