"""How a stage is traced: examples of its inputs, and which of their axes stay dynamic."""

import contextlib
import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from i2i_rt.spec import StageSpec, TensorSpec


def examples(spec: StageSpec, lengths: Mapping[str, int] | None = None) -> tuple[Tensor, ...]:
    """Gives zeros of shapes that no trace can mistake for constants: every dynamic axis another length above 1.

    Args:
        spec: of the stage.
        lengths: of dynamic axes by name; the smallest that serve, by default.
    """
    chosen = dict(lengths or {})
    return tuple(_example(tensor, chosen) for tensor in spec.inputs)


def _example(spec: TensorSpec, lengths: dict[str, int]) -> Tensor:
    for position, axis in enumerate(spec.axes):
        smallest = axis.fit(1) * axis.divisor
        lengths.setdefault(axis.name, (1 + position) * smallest + (smallest if position == 0 else 0))
    shape = [axis.size or lengths[axis.name] // axis.divisor for axis in spec.axes]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))


def dynamic_shapes(spec: StageSpec) -> tuple[dict[int, Any], ...]:
    """Maps the dynamic axes of each input to multiples of symbols, one for each name."""
    dims: dict[str, Any] = {}
    return tuple(_dynamic(tensor, dims) for tensor in spec.inputs)


def _dynamic(spec: TensorSpec, dims: dict[str, Any]) -> dict[int, Any]:
    shape = {}
    for position, axis in enumerate(spec.axes):
        if axis.size is not None:
            continue
        if axis.name not in dims:
            low = -(-axis.low // axis.multiple)
            dims[axis.name] = Dim(axis.name if axis.multiple == 1 else f"{axis.name}_{axis.multiple}", min=low)
        step = axis.multiple // axis.divisor
        shape[position] = dims[axis.name] if step == 1 else step * dims[axis.name]
    return shape


def exported(module: nn.Module, inputs: tuple[Tensor, ...], shapes: tuple[dict[int, Any], ...]) -> ExportedProgram:
    """Traces a module with the axes that `dynamic_shapes` gave."""
    return torch.export.export(module, inputs, dynamic_shapes=(shapes,) if takes_any_number(module) else shapes)


def takes_any_number(module: nn.Module) -> bool:
    """Says whether a module takes as many inputs as it is given, in one parameter."""
    parameters = inspect.signature(module.forward).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)


@contextlib.contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Keeps loggers to errors for a while."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
