"""Stage to ONNX: uint8 frames in and out, dynamic batch, height and width, statistics of norms in float32."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim

from i2i_rt.export import fused_nodes
from i2i_rt.export.fold import fold
from i2i_rt.kernels import fused
from i2i_rt.spec import TensorSpec
from i2i_rt.stages.baked import Baked
from i2i_rt.stages.base import Stage

OPSET = 20


def build(stage: Stage, file: Path, *, precision: str, metadata: Mapping[str, str]) -> None:
    """Writes a stage's graph to `file`.

    Args:
        stage: what to export, in float32.
        file: the `.onnx` file.
        precision: "fp32" or "fp16"; in fp16 the layers between the uint8 ends compute in float16, and instance norm
            widens to float32 for its statistics.
        metadata: written into the file.
    """
    module = copy.deepcopy(stage.module)
    if precision == "fp16":
        module = module.half()
    lengths: dict[str, int] = {}
    examples = tuple(_example(spec, lengths) for spec in stage.spec.inputs)
    dims: dict[str, Any] = {}
    shapes = tuple(_dynamic(spec, dims) for spec in stage.spec.inputs)
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(_quiet("torch.onnx", "onnxscript"))
        # the exporter warns of its own deprecated internals, which nobody who exports can change
        warnings.simplefilter("ignore")
        if isinstance(module, Baked):
            # what is folded is taken apart first: it has no fused nodes but those at the ends
            module = fold(torch.export.export(module, examples, dynamic_shapes=(shapes,)).module())
        stack.enter_context(fused.mode("export", only=fused_nodes.TRANSLATIONS))
        program = torch.onnx.export(
            module,
            examples,
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=fused_nodes.translations(),
            input_names=[spec.name for spec in stage.spec.inputs],
            output_names=[spec.name for spec in stage.spec.outputs],
            dynamic_shapes=shapes,
            verbose=False,
        )
    assert program is not None
    fused_nodes.append_bodies(program.model)
    for node in program.model.graph.all_nodes():  # the exporter's notes hold paths of the machine that exported
        node.metadata_props.clear()
    program.model.metadata_props.update(metadata)
    program.model.producer_name = "i2i_rt"
    program.save(file)


def _example(spec: TensorSpec, lengths: dict[str, int]) -> torch.Tensor:
    """Gives zeros of a shape that no trace can mistake for a constant: every dynamic axis another length above 1."""
    for position, axis in enumerate(spec.axes):
        smallest = axis.fit(1)
        lengths.setdefault(axis.name, (1 + position) * smallest + (smallest if position == 0 else 0))
    return torch.zeros([axis.size or lengths[axis.name] for axis in spec.axes], dtype=getattr(torch, spec.dtype))


def _dynamic(spec: TensorSpec, dims: dict[str, Any]) -> dict[int, Any]:
    """Maps the dynamic axes of a tensor to symbols; a name means the same length in every tensor."""
    shape = {}
    for position, axis in enumerate(spec.axes):
        if axis.size is not None:
            continue
        if axis.name not in dims:
            low = -(-axis.low // axis.multiple)
            unit = Dim(axis.name if axis.multiple == 1 else f"{axis.name}_{axis.multiple}", min=low)
            dims[axis.name] = unit if axis.multiple == 1 else axis.multiple * unit
        shape[position] = dims[axis.name]
    return shape


@contextlib.contextmanager
def _quiet(*names: str) -> Any:
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
