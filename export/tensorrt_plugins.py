"""What TensorRT plugins compute the fused operators with: shapes, layouts, and one Triton kernel each.

TensorRT takes a plugin's kernel as PTX, one launch of one kernel without memory of its own, and keeps both in the
engine: it then runs where there is neither Python nor this package. So `norm_act`, two launches, is two plugins here.
Nothing in this module needs TensorRT: lengths may be whole numbers, or TensorRT's expressions of those that a profile
leaves open, which an `Algebra` calculates with. `i2i_rt.export.tensorrt_registry` hands the plugins over.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from i2i_rt.kernels import spade_table
from i2i_rt.kernels.aot import Build
from i2i_rt.kernels.norm_act import MAX_TILES, PROGRAMS, apply_build, stats_build

Length = Any  # a whole number, or an expression of TensorRT's
Shapes = Sequence[Sequence[Length]]
LINEAR, CHANNELS_LAST = "LINEAR", "HWC8"  # TensorRT's names; the second one pads channels to multiples of 8
ALIGNED = 16  # the kernels for the second one load vectors, and take channels in multiples of this


class Algebra(Protocol):
    """How lengths are calculated with, beside +, * and //."""

    def cdiv(self, first: Length, second: Length) -> Length: ...

    def min(self, first: Length, second: Length) -> Length: ...

    def max(self, first: Length, second: Length) -> Length: ...


class Numbers:
    """Calculates with whole numbers."""

    def cdiv(self, first: int, second: int) -> int:
        return -(-first // second)

    def min(self, first: int, second: int) -> int:
        return min(first, second)

    def max(self, first: int, second: int) -> int:
        return max(first, second)


@dataclass(frozen=True)
class Port:
    """An input or the output of a plugin.

    Attributes:
        name: of the kernel's argument.
        kind: "T", the elements of the image, or one of TensorRT's types, "FP32" or "INT32".
        image: whether it has the image's layout; the others lie as they are written, the last axis innermost.
    """

    name: str
    kind: str = "T"
    image: bool = False


@dataclass(frozen=True)
class Launch:
    """The launch of a plugin's kernel.

    Attributes:
        build: the kernel.
        grid: programs along the three axes.
        sizes: the kernel's int32 arguments by name.
    """

    build: Build
    grid: tuple[Length, Length, Length]
    sizes: Mapping[str, Length]

    def ordered_sizes(self) -> dict[str, Length]:
        """Gives the int32 arguments in the kernel's order."""
        names = [name for name in self.build.kernel.arg_names if self.build.signature.get(name) == "i32"]
        return {name: self.sizes[name] for name in names}


class Plugin(ABC):
    """A plugin of the namespace `i2i_rt`.

    Attributes:
        name: of the plugin, and of its ONNX node.
        inputs: the first one is the image `[N, C, H, W]`.
        output: the result.
        attributes: of the node, with their types.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[Port, ...]]
    output: ClassVar[Port]
    attributes: ClassVar[Mapping[str, type]] = {}

    @abstractmethod
    def shape(self, shapes: Shapes, algebra: Algebra, **attributes: Any) -> tuple[Length, ...]:
        """Gives the shape of the output for those of the inputs."""

    @abstractmethod
    def launch(self, element: str, layout: str, shapes: Shapes, algebra: Algebra, **attributes: Any) -> Launch:
        """Gives the launch for inputs of these shapes.

        Args:
            element: "fp32", "fp16" or "bf16".
            layout: of the image.
            shapes: of the inputs.
            algebra: to calculate with.
            **attributes: of the node.
        """

    def layouts(self, element: str, channels: int) -> tuple[str, ...]:
        """Gives the image's layouts that there is a kernel for."""
        vectors = element != "fp32" and channels % ALIGNED == 0
        return (CHANNELS_LAST, LINEAR) if vectors else (LINEAR,)


STATS_BLOCK = 256  # pixels; the same in both layouts, because the two halves of a norm may be given different ones
STATS_CHANNELS = {CHANNELS_LAST: 32, LINEAR: 4}


class NormStats(Plugin):
    """The first half of `norm_act`: mean and sum of squared differences of each tile of each plane."""

    name = "NormStats"
    inputs = (Port("x", image=True),)
    output = Port("partial", "FP32")

    def shape(self, shapes: Shapes, algebra: Algebra, **attributes: Any) -> tuple[Length, ...]:
        batch, channels, height, width = shapes[0]
        pixels = height * width
        # as `norm_act` cuts large planes, but for one layout only
        groups = batch * algebra.cdiv(channels, STATS_CHANNELS[CHANNELS_LAST])
        most = algebra.min(algebra.min(MAX_TILES, algebra.cdiv(pixels, STATS_BLOCK)), algebra.cdiv(PROGRAMS, groups))
        span = algebra.cdiv(algebra.cdiv(pixels, most), STATS_BLOCK) * STATS_BLOCK
        return batch, algebra.cdiv(pixels, span), 2, channels

    def launch(self, element: str, layout: str, shapes: Shapes, algebra: Algebra, **attributes: Any) -> Launch:
        batch, channels, height, width = shapes[0]
        _, tiles, _, _ = self.shape(shapes, algebra)
        build = stats_build(element, channels_last=layout == CHANNELS_LAST)
        blocks = {"BLOCK_P": STATS_BLOCK, "BLOCK_C": STATS_CHANNELS[layout]}
        return Launch(
            _changed(build, layout, **blocks),
            (tiles, algebra.cdiv(channels, STATS_CHANNELS[layout]), batch),
            {"channels": channels, "pixels": height * width, "tiles": tiles},
        )


class NormApply(Plugin):
    """The second half of `norm_act`, with what the ONNX graph does right behind it.

    `weight` and `bias` are `[C]` or, of each image, `[N, C]`.
    """

    name = "NormApply"
    inputs: ClassVar[tuple[Port, ...]] = (
        Port("x", image=True), Port("partial", "FP32"), Port("weight"), Port("bias"),
    )  # fmt: skip
    output = Port("y", image=True)
    attributes: ClassVar[Mapping[str, type]] = {"epsilon": float, "slope": float, "upsample": int, "pad": int}

    def shape(self, shapes: Shapes, algebra: Algebra, **attributes: Any) -> tuple[Length, ...]:
        batch, channels, height, width = shapes[0]
        factor, edge = 1 + attributes["upsample"], 2 * attributes["pad"]
        return batch, channels, height * factor + edge, width * factor + edge

    def launch(self, element: str, layout: str, shapes: Shapes, algebra: Algebra, **attributes: Any) -> Launch:
        (batch, channels, height, width), (_, tiles, _, _), weight, *_ = shapes
        channels_last = layout == CHANNELS_LAST
        build = apply_build(
            element,
            channels_last=channels_last,
            affine=element,
            residual=self._adds,
            eps=attributes["epsilon"],
            slope=attributes["slope"],
            upsample=bool(attributes["upsample"]),
            pad=attributes["pad"],
        )
        block_p, block_c = build.constants["BLOCK_P"], build.constants["BLOCK_C"]
        _, _, rows, columns = self.shape(shapes, algebra, **attributes)
        groups = batch * algebra.cdiv(channels, block_c)
        written = algebra.cdiv(rows * columns, block_p)  # blocks of a plane
        blocks = algebra.min(8, algebra.max(1, groups * written // (2 * PROGRAMS)))
        step = (height * width * channels, width * channels, channels) if channels_last else (
            channels * height * width, height * width, width
        )  # fmt: skip
        names = ("residual_image", "residual_row" if channels_last else "residual_channel",
                 "residual_column" if channels_last else "residual_row")  # fmt: skip
        return Launch(
            _changed(build, layout, STATS_BLOCK=STATS_BLOCK),
            (algebra.cdiv(written, blocks), algebra.cdiv(channels, block_c), batch),
            {
                "channels": channels,
                "height": height,
                "width": width,
                "tiles": tiles,
                "blocks": blocks,
                "row": channels if len(weight) == 2 else 0,
                **dict(zip(names, step, strict=True)),
            },
        )

    @property
    def _adds(self) -> bool:
        return any(port.name == "residual" for port in self.inputs)


class NormApplyAdd(NormApply):
    """`NormApply` that adds a residual of the image's shape."""

    name = "NormApplyAdd"
    inputs = (*NormApply.inputs, Port("residual", image=True))


class SpadeTableApply(Plugin):
    """`spade_table_apply`: scale and shift by the row of a table that an index `[N, H, W]` names."""

    name = "SpadeTableApply"
    inputs = (Port("x", image=True), Port("index", "INT32"), Port("table"))
    output = Port("y", image=True)
    attributes: ClassVar[Mapping[str, type]] = {"slope": float}

    def shape(self, shapes: Shapes, algebra: Algebra, **attributes: Any) -> tuple[Length, ...]:
        return tuple(shapes[0])

    def launch(self, element: str, layout: str, shapes: Shapes, algebra: Algebra, **attributes: Any) -> Launch:
        batch, channels, height, width = shapes[0]
        (build,) = (
            build
            for build in spade_table.BUILDS
            if (build.signature["x"], build.signature["index"]) == (f"*{element}", "*i32")
            and build.constants["CHANNELS_LAST"]
        )
        build = _changed(build, layout, CHANNELS_LAST=layout == CHANNELS_LAST, slope=attributes["slope"])
        pixels = height * width
        return Launch(
            build,
            (
                batch * algebra.cdiv(pixels, build.constants["BLOCK_P"]),
                algebra.cdiv(channels, build.constants["BLOCK_C"]),
                1,
            ),
            {"plane": pixels, "width": width, "channels": channels},
        )


PLUGINS: tuple[Plugin, ...] = (NormStats(), NormApply(), NormApplyAdd(), SpadeTableApply())


def _changed(build: Build, layout: str, **constants: Any) -> Build:
    """Gives a build with other constants, that takes planes of any size.

    Channels last, lengths that follow from the channels alone stay aligned.
    """
    multiples = ("channels", "residual_image", "residual_row", "residual_column") if layout == CHANNELS_LAST else ()
    aligned = tuple(name for name in build.aligned if build.signature[name].startswith("*") or name in multiples)
    return dataclasses.replace(build, constants={**build.constants, **constants}, aligned=aligned)


def in_order(ptx: str, entry: str, names: Sequence[str], wanted: Sequence[str]) -> str:
    """Gives a kernel's PTX with its parameters in another order; the body goes by their names.

    TensorRT passes inputs, then whole numbers, then the output.
    """
    head, rest = ptx.split(f".entry {entry}(", 1)
    declared, body = rest.split(")", 1)
    parameters = dict(zip(names, (text.strip() for text in declared.split(",")), strict=True))
    return f"{head}.entry {entry}(\n\t" + ",\n\t".join(parameters[name] for name in wanted) + f"\n){body}"
