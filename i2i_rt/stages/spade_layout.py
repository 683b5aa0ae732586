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
from i2i_rt.models.norm import RunningNorm
from i2i_rt.models.spade import UNKNOWN, SpadeGenerator, SpatialNorm, semantics_of
from i2i_rt.spec import Axis, StageSpec, TensorSpec
from i2i_rt.stages.base import Stage, to_frames, vector_spec

LABELS = 256  # symbols of positions without an edge; as many follow for those with one


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


def _weights(convolution: nn.Conv2d) -> tuple[Tensor, Tensor]:
    assert convolution.bias is not None
    return convolution.weight.detach(), convolution.bias.detach()


class Table(nn.Module):
    """The second convolutions of one spatial norm, with batch norm folded in: patches to scales and shifts.

    With factor = 1 / sqrt(var + eps) and offset = -mean * factor, (x * factor + offset) * (1 + scale) + shift is
    x * G + B with G = factor * (1 + scale) and B = shift + offset * (1 + scale), both linear in the patch.
    """

    weight: Tensor
    factor: Tensor
    bias: Tensor

    def __init__(self, norm: SpatialNorm) -> None:
        super().__init__()
        (scale, scale_bias), (shift, shift_bias) = _weights(norm.scale), _weights(norm.shift)
        scale_bias = scale_bias + 1
        factor = torch.ones_like(scale_bias)
        if isinstance(norm.plain, RunningNorm):
            mean, variance = norm.plain.running_mean, norm.plain.running_var
            assert mean is not None and variance is not None
            factor = torch.rsqrt(variance + norm.plain.eps)
            offset = -mean * factor
            shift, shift_bias = shift + offset[:, None, None, None] * scale, shift_bias + offset * scale_bias
        both = torch.cat([scale, shift])  # [2C, hidden, k, k]
        self.register_buffer("weight", both.permute(2, 3, 1, 0).flatten(0, 2).contiguous(), persistent=False)
        self.register_buffer("factor", torch.cat([factor, torch.ones_like(factor)]), persistent=False)
        self.register_buffer("bias", torch.cat([factor * scale_bias, shift_bias]), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """Patches `[U, k * k * hidden]` to `[U, 2C]` float32."""
        return (patches @ self.weight).float() * self.factor + self.bias


class Level(nn.Module):
    """What one resolution's lists of a plan become: a table for each spatial norm of that resolution.

    The first convolutions of all of them are one: on one-hot labels it adds up a column of weights for each tap.
    """

    columns: Tensor  # [k * k * rows a tap, D]
    bias: Tensor  # [D]
    rows: Tensor  # of a tap, by symbol
    taps: Tensor  # the first row of each tap

    def __init__(self, generator: SpadeGenerator, norms: list[SpatialNorm]) -> None:
        super().__init__()
        config = generator.config
        classes = config.classes + config.unknown
        weight, bias = map(torch.cat, zip(*(_weights(norm.shared) for norm in norms), strict=True))  # [D, S, k, k], [D]
        by_tap = weight.permute(2, 3, 1, 0).flatten(0, 1)  # [k * k, S, D]
        taps, _, width = by_tap.shape
        # what a position adds: nothing outside the map or for a label of no class, the column of its class, its edge's
        columns = [torch.zeros(taps, 1, width), by_tap[:, :classes]]
        if config.edges:
            columns += [column + by_tap[:, -1:] for column in columns]
        self.register_buffer("columns", torch.cat(columns, 1).flatten(0, 1), persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("rows", _rows(classes, config.unknown, config.edges), persistent=False)
        self.register_buffer(
            "taps", torch.arange(taps, dtype=torch.int32) * (len(self.columns) // taps), persistent=False
        )
        self.tables = nn.ModuleList(Table(norm) for norm in norms)
        self.hidden = config.hidden

    def forward(self, patterns: Tensor, patches: Tensor) -> list[Tensor]:
        """Patterns `[V, k * k]` of symbols and patches `[U, k * k]` of patterns, int32, to tables `[U, 2C]`."""
        rows = functional.embedding(patterns, self.rows[:, None]).squeeze(2) + self.taps  # [V, k * k]
        hidden = functional.relu(functional.embedding(rows, self.columns).sum(1) + self.bias)  # [V, D]
        # outside the map the second convolution sees zeros, not what the first one makes of nothing
        hidden = functional.pad(hidden, (0, 0, 1, 0))
        gathered = (functional.embedding(patches, part).flatten(1) for part in torch.split(hidden, self.hidden, 1))
        return [table(part) for table, part in zip(self.tables, gathered, strict=True)]


def _rows(classes: int, unknown: bool, edges: bool) -> Tensor:
    """Gives the row of `Level.columns` for each symbol: 0 for outside, then labels, then labels with an edge."""
    labels = torch.zeros(LABELS, dtype=torch.int32)
    labels[:classes] = torch.arange(1, classes + 1)
    if unknown:
        labels[UNKNOWN] = classes
    parts = [torch.zeros(1, dtype=torch.int32), labels]
    return torch.cat([*parts, labels + classes + 1] if edges else parts)


class Layout(nn.Module):
    """Patterns and patches of each resolution, lowest first, to the tables of all spatial norms."""

    def __init__(self, generator: SpadeGenerator) -> None:
        super().__init__()
        norms = placed_norms(generator)
        self.levels = nn.ModuleList(
            Level(generator, [placed.norm for placed in norms if placed.divisor == divisor])
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
            Axis(name, size=size // divisor) if size else Axis(name, None, multiple, multiple, divisor)
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
