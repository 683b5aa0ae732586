"""SPADE's generator on label maps by fused operators, on a GPU: what `SpadeGenerator` makes of them one-hot.

At every resolution one launch makes the hidden maps of all spatial norms as sums of weight columns. Along borders of
regions scales and shifts are convolutions with the modulation as their epilogue; inside regions they are rows of a
table, made of the weights once. At low resolutions almost everything is border, and all of it is convolved.
"""

import torch
from torch import Tensor, nn

from i2i_rt.kernels import fused, spade_boundary_conv, spade_conv_modulate, spade_hidden, spade_layout
from i2i_rt.kernels.spade_layout import EDGE, SYMBOLS
from i2i_rt.models.norm import RunningNorm
from i2i_rt.models.spade import UNKNOWN, Modulate, SpadeGenerator, SpadeGeneratorConfig, SpatialNorm, semantics_of

OPERATORS = ("spade_layout", "spade_hidden", "spade_boundary_conv", "spade_conv_modulate")
# pixels of the picture that a position stands for along a side, where listing the borders pays: half of the positions
# are at 4, three quarters at 8 (COCO-Stuff and Cityscapes)
SPARSE_UP_TO = 4


class FusedSpade(nn.Module):
    """Runs a generator on label maps; it has folded copies of the weights that scales and shifts are made with."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList()

    def fold(self, generator: SpadeGenerator) -> None:
        """Makes the folded weights, on the generator's device and in its dtype; again after either has changed."""
        config = generator.config
        if config.kernel != 3 or config.conditioning != "spade":
            return
        norms = list[dict[SpatialNorm, bool]]()
        for index, block in enumerate(generator.blocks):
            if index == 0 or generator.doubles_before(index):
                norms.append({})
            for name, norm in block.named_children():
                if isinstance(norm, SpatialNorm):
                    norms[-1][norm] = generator.doubled_for_norms_alone(index) and name != "norm_1"
        with torch.no_grad():
            self.levels = nn.ModuleList(
                Level(config, members, generator.multiple >> index) for index, members in enumerate(norms)
            )

    def chosen(self, generator: SpadeGenerator) -> bool:
        """Says whether the operators are to be used."""
        return len(self.levels) > 0 and all(fused.chosen(operator, generator.last.weight) for operator in OPERATORS)

    def forward(self, generator: SpadeGenerator, labels: Tensor, edges: Tensor | None, style: Tensor | None) -> Tensor:
        """Gives pictures `[N, 3, H, W]` in [-1, 1] of label maps and edges `[N, H, W]`, uint8, and styles `[N, Z]`.

        Every edge that is not 0 counts as 1, where the dense generator multiplies by its value.
        """
        if generator.config.style:
            x = generator.start_from_style(style)
        else:
            first = _each(generator.multiple, labels, edges)
            x = generator.first(semantics_of(*first, generator.config, generator.last.weight.dtype))
        levels = iter(self.levels)
        return generator.finish(x, lambda size: next(levels)(labels, edges), modulated_while_doubled=True)


def _each(step: int, labels: Tensor, edges: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Gives label maps and edges as the nearest neighbours of a resolution that divides theirs: as views."""
    return labels[:, ::step, ::step], None if edges is None else edges[:, ::step, ::step]


class Level(nn.Module):
    """The spatial norms of one resolution, their weights folded and side by side."""

    columns: Tensor  # [9, 512, D]: what each symbol adds to the D hidden channels of all norms
    bias: Tensor  # [D] float32

    def __init__(self, config: SpadeGeneratorConfig, norms: dict[SpatialNorm, bool], divisor: int) -> None:
        """`norms` says of each whether it doubles the features; the resolution is that of the picture by `divisor`."""
        super().__init__()
        self.divisor, self.hidden = divisor, config.hidden
        shared = torch.cat([norm.shared.weight for norm in norms])
        self.register_buffer("columns", symbol_columns(shared, config), persistent=False)
        bias = torch.cat([_bias(norm.shared) for norm in norms])
        self.register_buffer("bias", bias.float(), persistent=False)
        sums = (self.columns.float().sum(0) + self.bias).relu()  # [512, D] where all nine symbols are one
        parts = torch.split(sums, config.hidden, 1)
        self.norms = nn.ModuleDict()
        self._names = {norm: str(index) for index, norm in enumerate(norms)}
        for (norm, doubled), part in zip(norms.items(), parts, strict=True):
            self.norms[self._names[norm]] = FoldedNorm(norm, part, doubled)

    def forward(self, labels: Tensor, edges: Tensor | None) -> Modulate:
        labels, edges = _each(self.divisor, labels, edges)
        layout = spade_layout(labels, edges) if self.divisor <= SPARSE_UP_TO else None
        hidden = spade_hidden(labels, edges, self.columns, self.bias, None if layout is None else layout[0])

        def modulate(norm: SpatialNorm, x: Tensor, slope: float) -> Tensor:
            name = self._names[norm]
            start = int(name) * self.hidden
            features = x if isinstance(norm.plain, RunningNorm) else norm.plain(x)
            result: Tensor = self.norms[name](features, hidden[:, start : start + self.hidden], layout, slope)
            return result

        return modulate


class FoldedNorm(nn.Module):
    """One spatial norm's scales and shifts, with batch norm in them."""

    weight: Tensor
    factor: Tensor
    bias: Tensor
    table: Tensor

    def __init__(self, norm: SpatialNorm, uniform: Tensor, doubled: bool) -> None:
        """`uniform` `[512, K]` holds the hidden channels where all symbols are one."""
        super().__init__()
        self.doubled = doubled
        weight, factor, bias = folded(norm)
        dtype = norm.scale.weight.dtype
        table = (uniform @ weight.view(9, -1, weight.shape[1]).sum(0)) * factor + bias
        self.register_buffer("weight", weight.to(dtype), persistent=False)
        self.register_buffer("factor", factor, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("table", table.to(dtype), persistent=False)

    def forward(self, x: Tensor, hidden: Tensor, layout: tuple[Tensor, Tensor, Tensor] | None, slope: float) -> Tensor:
        if layout is None:
            return spade_conv_modulate(x, hidden, self.weight, self.factor, self.bias, slope, self.doubled)
        convolution = self.weight, self.factor, self.bias
        return spade_boundary_conv(x, hidden, *convolution, self.table, layout, slope, self.doubled)


def symbol_columns(weight: Tensor, config: SpadeGeneratorConfig) -> Tensor:
    """Gives what each symbol adds at each tap, `[9, 512, D]`, of the weight `[D, S, 3, 3]` of a first convolution.

    A symbol is a label, plus 256 where there is an edge; labels of no class add nothing of their own.
    """
    by_tap = weight.detach().permute(2, 3, 1, 0).flatten(0, 1)  # [9, S, D]
    columns = by_tap.new_zeros(len(by_tap), SYMBOLS, by_tap.shape[2])
    classes = config.classes + config.unknown
    columns[:, :classes] = by_tap[:, :classes]
    if config.unknown:
        columns[:, UNKNOWN] = by_tap[:, config.classes]
    if config.edges:
        columns[:, EDGE:] = columns[:, :EDGE] + by_tap[:, -1:]
    return columns


def folded(norm: SpatialNorm) -> tuple[Tensor, Tensor, Tensor]:
    """Gives weight `[k * k * K, 2C]`, factor and bias `[2C]` in float32, with batch norm folded in.

    With factor = 1 / sqrt(var + eps) and offset = -mean * factor, (x * factor + offset) * (1 + scale) + shift is
    x * G + B with G = factor * (1 + scale) and B = shift + offset * (1 + scale), both linear in the hidden channels.
    """
    scale, shift = norm.scale.weight.detach().float(), norm.shift.weight.detach().float()
    scale_bias, shift_bias = _bias(norm.scale).float() + 1, _bias(norm.shift).float()
    factor = torch.ones_like(scale_bias)
    if isinstance(norm.plain, RunningNorm):
        mean, variance = norm.plain.running_mean, norm.plain.running_var
        assert mean is not None and variance is not None
        factor = torch.rsqrt(variance + norm.plain.eps)
        offset = -mean * factor
        shift, shift_bias = shift + offset[:, None, None, None] * scale, shift_bias + offset * scale_bias
    weight = torch.cat([scale, shift]).permute(2, 3, 1, 0).flatten(0, 2).contiguous()
    return weight, torch.cat([factor, torch.ones_like(factor)]), torch.cat([factor * scale_bias, shift_bias])


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias.detach()
