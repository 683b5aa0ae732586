"""What can be chosen of a TensorRT engine: above all its optimisation profiles, the sizes and batches it is made for.

    256x256                            this size alone: the fastest engine for it, which takes no other
    64x64..256x256..1024x1024          the least, the usual and the greatest height and width
    256x256,64x64..1024x1024           two profiles: one size at its best, and a range for the rest

Height comes first, as in arrays.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.runtime.tensorrt_builder import STRUCTURE_STRIDE
from i2i_rt.spec import Axis, StageSpec

Shapes = dict[str, list[list[int]]]  # of each input: the least, the usual and the greatest
SIZES = "64x64..256x256..1024x1024"
BATCH = "1..4"
DISTINCT = ("U", "V")  # axes of SPADE's stages, with the divisor of the resolution: one entry for each neighbourhood
MOST_DISTINCT = 2**18  # entries, so that an engine's largest tensors stay below 2^31 elements; as many as 512x512 has


class Span(NamedTuple):
    """Lengths that an axis may have."""

    least: int
    usual: int
    greatest: int


@dataclass(frozen=True)
class Profile:
    """What one optimisation profile is made for."""

    height: Span
    width: Span
    batch: Span


def parse(sizes: str = SIZES, batch: str = BATCH) -> tuple[Profile, ...]:
    """Reads the options `--profile` and `--batch`.

    Raises:
        I2IError: where they are no sizes, or not in ascending order.
    """
    count = _span([_number(word, "--batch", batch) for word in batch.split("..")], "--batch", batch)
    profiles = []
    for text in sizes.split(","):
        found = [re.fullmatch(r"(\d+)x(\d+)", word.strip()) for word in text.split("..")]
        pairs = [(int(pair[1]), int(pair[2])) for pair in found if pair is not None]
        if len(pairs) != len(found):
            raise I2IError(
                f"--profile {text!r} is no size; write HEIGHTxWIDTH, such as 256x256, or a range such as {SIZES}"
            )
        height, width = (_span([pair[side] for pair in pairs], "--profile", text) for side in (0, 1))
        profiles.append(Profile(height, width, count))
    return tuple(profiles)


def _number(word: str, option: str, text: str) -> int:
    if not word.strip().isdecimal():
        raise I2IError(f"{option} {text!r} is no number; write one such as 1, or a range such as {BATCH}")
    return int(word)


def _span(lengths: Sequence[int], option: str, text: str) -> Span:
    """Gives one length, the two ends, or the least, the usual and the greatest; two ends: the least is the usual."""
    if len(lengths) > 3 or lengths[0] < 1 or list(lengths) != sorted(lengths):
        raise I2IError(f"{option} {text!r} must be one value or an ascending range of two or three, all above 0")
    return Span(lengths[0], lengths[len(lengths) // 2 if len(lengths) == 3 else 0], lengths[-1])


def shapes_of(spec: StageSpec, profiles: Sequence[Profile]) -> list[Shapes]:
    """Gives the shapes of a stage's inputs for each profile; profiles that mean the same for it are one.

    Raises:
        UnsupportedError: where the stage has an axis whose range does not follow from sizes and batches.
    """
    found: list[Shapes] = []
    for profile in profiles:
        shapes = {
            tensor.name: [list(shape) for shape in zip(*(_lengths(axis, profile) for axis in tensor.axes), strict=True)]
            for tensor in spec.inputs
        }
        if shapes not in found:
            found.append(shapes)
    return found


def _lengths(axis: Axis, profile: Profile) -> Span:
    if axis.size is not None:
        return Span(axis.size, axis.size, axis.size)
    name, _, divisor = axis.name.partition("_")
    sides = {"N": profile.batch, "H": profile.height, "W": profile.width}
    if axis.name in sides:
        span = _reduced(sides[axis.name], axis.divisor)
    elif axis.name in ("h", "w"):
        span = _reduced(sides[axis.name.upper()], STRUCTURE_STRIDE)
    elif name in DISTINCT and divisor.isdecimal():
        span = _distinct(profile, int(divisor))
    else:
        raise UnsupportedError(f"no range is known for the axis {axis.name!r}; this stage cannot be a TensorRT engine")
    return Span(*map(axis.fit, span))


def _reduced(span: Span, divisor: int) -> Span:
    return Span(*(-(-length // divisor) for length in span))


def _distinct(profile: Profile, divisor: int) -> Span:
    """Gives how many different neighbourhoods label maps may have: at least one, at most one for each position."""
    positions = [
        batch * height * width
        for batch, height, width in zip(
            profile.batch, _reduced(profile.height, divisor), _reduced(profile.width, divisor), strict=True
        )
    ]
    return Span(1, max(positions[1] // 4, 1), min(positions[2], MOST_DISTINCT))


@dataclass(frozen=True)
class EngineOptions:
    """What can be chosen of an engine.

    Attributes:
        profiles: the sizes and batches that it is made for.
        level: TensorRT's builder optimisation level, 0 (fast to build) to 5 (slow to build, perhaps faster to run).
        workspace_gib: memory that a layer may use on the way; None: all that the GPU has.
        plugins: whether fused operators are computed by plugins rather than by TensorRT's own layers.
    """

    profiles: tuple[Profile, ...] = parse()
    level: int = 3
    workspace_gib: float | None = None
    plugins: bool = False

    def __post_init__(self) -> None:
        if self.level not in range(6):
            raise I2IError(f"--optimisation-level is {self.level}; TensorRT has 0 to 5")
        if self.workspace_gib is not None and self.workspace_gib <= 0:
            raise I2IError(f"--workspace is {self.workspace_gib:g} GiB; it must be above 0")
