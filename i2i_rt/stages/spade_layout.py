"""SPADE in two stages: `layout` makes what a label map alone decides, `render` the picture.

The scales and shifts at a position depend on the labels in a window around it. `layout` computes them once for each
different window of a resolution, a row of a table each; `render` looks the rows up. Which windows there are is found
outside the graphs, by `i2i_rt.layout`. The result is that of `translate` up to rounding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.kernels import spade_table_apply
from i2i_rt.kernels.spade_layout import EDGE
from i2i_rt.models.norm import RunningNorm
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig, SpatialNorm, semantics_of
from i2i_rt.models.spade_fused import folded, symbol_columns
from i2i_rt.spec import Axis, StageSpec, TensorSpec
from i2i_rt.stages.base import Stage, to_frames, vector_spec


@dataclass(frozen=True)
class PlacedNorm:
    """A spatial norm, the name of its table, and the resolution: how many pixels a position stands for."""

    name: str
    norm: SpatialNorm
    divisor: int


def placed_norms(generator: SpadeGenerator) -> list[PlacedNorm]:
    """Gives a generator's spatial norms in the order in which they run."""
    divisor, found = generator.multiple, []
    for index, block in enumerate(generator.blocks):
        if generator.doubles_before(index):
            divisor //= 2
        for name in ("norm_0", "norm_1", "norm_s"):
            norm = getattr(block, name)
            if norm is not None:
                found.append(PlacedNorm(f"table_{index}_{name.removeprefix('norm_')}", norm, divisor))
    return found


def divisors(generator: SpadeGenerator) -> list[int]:
    """Gives the resolutions, lowest first."""
    return list(dict.fromkeys(placed.divisor for placed in placed_norms(generator)))


class Table(nn.Module):
    """The second convolutions of one spatial norm, with batch norm folded in: patches to scales and shifts."""

    weight: Tensor
    factor: Tensor
    bias: Tensor

    def __init__(self, norm: SpatialNorm) -> None:
        super().__init__()
        for name, tensor in zip(("weight", "factor", "bias"), folded(norm), strict=True):
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """Patches `[U, k * k * hidden]` to `[U, 2C]` float32."""
        return (patches @ self.weight).float() * self.factor + self.bias


class Level(nn.Module):
    """What one resolution's lists of a plan become: a table for each spatial norm of that resolution.

    The first convolutions of all of them are one: on one-hot labels it adds up a column of weights for each tap.
    """

    columns: Tensor  # [k * k * symbols, D], the first of each tap for what is outside the map
    bias: Tensor  # [D]
    taps: Tensor  # the first column of each tap

    def __init__(self, config: SpadeGeneratorConfig, norms: list[SpatialNorm]) -> None:
        super().__init__()
        weights, biases = zip(*(norm.shared.parameters() for norm in norms), strict=True)
        columns = functional.pad(symbol_columns(torch.cat(weights), config), (0, 0, 1, 0))
        if not config.edges:
            columns = columns[:, : 1 + EDGE]
        count = columns.shape[1]
        self.register_buffer("columns", columns.flatten(0, 1), persistent=False)
        self.register_buffer("bias", torch.cat(biases).detach(), persistent=False)
        self.register_buffer("taps", torch.arange(len(columns), dtype=torch.int32) * count, persistent=False)
        self.tables = nn.ModuleList(Table(norm) for norm in norms)
        self.hidden = config.hidden

    def forward(self, patterns: Tensor, patches: Tensor) -> list[Tensor]:
        """Patterns `[V, k * k]` of symbols and patches `[U, k * k]` of patterns, int32, to tables `[U, 2C]`."""
        hidden = functional.embedding(patterns + self.taps, self.columns).sum(1)  # [V, D]
        # outside the map the second convolution sees zeros, not what the first one makes of nothing
        hidden = functional.pad(functional.relu(hidden + self.bias), (0, 0, 1, 0))
        gathered = (functional.embedding(patches, part).flatten(1) for part in torch.split(hidden, self.hidden, 1))
        return [table(part) for table, part in zip(self.tables, gathered, strict=True)]


class Layout(nn.Module):
    """Patterns and patches of each resolution, lowest first, to the tables of all spatial norms."""

    def __init__(self, generator: SpadeGenerator) -> None:
        super().__init__()
        norms = placed_norms(generator)
        self.levels = nn.ModuleList(
            Level(generator.config, [placed.norm for placed in norms if placed.divisor == divisor])
            for divisor in divisors(generator)
        )

    def forward(self, *lists: Tensor) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for level, patterns, patches in zip(self.levels, lists[::2], lists[1::2], strict=True):
            found += level(patterns, patches)
        return tuple(found)


class Render(nn.Module):
    """Indices and tables, with the coarsest labels and edges or a style, to frames `[N, H, W, 3]` uint8."""

    def __init__(self, generator: SpadeGenerator) -> None:
        super().__init__()
        self.generator = generator
        self.names = tuple(tensor.name for tensor in render_spec(generator).inputs)

    def forward(self, *given: Tensor) -> Tensor:
        inputs = dict(zip(self.names, given, strict=True))
        generator, dtype = self.generator, self.generator.last.weight.dtype
        if generator.config.style:
            x = generator.start_from_style(inputs["style"])
        else:
            x = generator.first(
                semantics_of(inputs["first_labels"], inputs.get("first_edges"), generator.config, dtype)
            )
        places = {placed.norm: placed for placed in placed_norms(generator)}

        def modulate(norm: SpatialNorm, x: Tensor, slope: float) -> Tensor:
            index, table = inputs[f"index_{places[norm].divisor}"], inputs[places[norm].name].to(dtype)
            return spade_table_apply(x if isinstance(norm.plain, RunningNorm) else norm.plain(x), index, table, slope)

        return to_frames(generator.finish(x, lambda size: modulate))


def layout_spec(generator: SpadeGenerator) -> StageSpec:
    """Describes `layout`; the names' numbers are the pixels that a position of the resolution stands for."""
    window = Axis("window", size=generator.config.kernel**2)
    inputs = []
    for divisor in divisors(generator):
        inputs.append(TensorSpec(f"patterns_{divisor}", "int32", (Axis(f"V_{divisor}"), window)))
        inputs.append(TensorSpec(f"patches_{divisor}", "int32", (Axis(f"U_{divisor}"), window)))
    return StageSpec("layout", tuple(inputs), tuple(_tables(generator)))


def render_spec(generator: SpadeGenerator) -> StageSpec:
    """Describes `render`."""
    config, multiple = generator.config, generator.multiple
    height, width = config.size or (None, None)

    def sides(divisor: int) -> tuple[Axis, ...]:
        return (Axis("N"), *(
            Axis(name, size and size // divisor, multiple, multiple, divisor)
            for name, size in (("H", height), ("W", width))
        ))  # fmt: skip

    inputs = []
    if not config.style:
        names = ("first_labels", "first_edges") if config.edges else ("first_labels",)
        inputs += [TensorSpec(name, "uint8", sides(multiple)) for name in names]
    inputs += [TensorSpec(f"index_{divisor}", "int32", sides(divisor)) for divisor in divisors(generator)]
    inputs += _tables(generator)
    if config.style:
        inputs.append(vector_spec("style", config.style))
    return StageSpec("render", tuple(inputs), (TensorSpec("translated", "uint8", (*sides(1), Axis("C", size=3))),))


def _tables(generator: SpadeGenerator) -> list[TensorSpec]:
    """Describes the tables, lowest resolution first: a row of scales, then shifts, for each patch."""
    return [
        TensorSpec(
            placed.name, "float32", (Axis(f"U_{placed.divisor}"), Axis("2C", size=2 * placed.norm.scale.out_channels))
        )
        for placed in placed_norms(generator)
    ]


def stages(generator: SpadeGenerator) -> list[Stage]:
    """Gives the two stages."""
    return [
        Stage(layout_spec(generator), Layout(generator).eval()),
        Stage(render_spec(generator), Render(generator).eval()),
    ]
