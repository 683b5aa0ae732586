"""Stage to ONNX: uint8 frames in and out, dynamic batch, height and width, statistics of norms in float32."""

import contextlib
import copy
import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from i2i_rt.export import fused_nodes, trace
from i2i_rt.export.fold import fold
from i2i_rt.kernels import fused
from i2i_rt.stages.baked import Constant
from i2i_rt.stages.base import Stage

OPSET = 20
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def build(stage: Stage, file: Path, *, precision: str, metadata: Mapping[str, str]) -> None:
    """Writes a stage's graph to `file`.

    Args:
        stage: what to export, in float32.
        file: the `.onnx` file.
        precision: "fp32", "fp16" or "bf16"; in the latter two the layers between the uint8 ends compute in float16 or
            bfloat16, and instance norm widens to float32 for its statistics. Of what reads ONNX, TensorRT alone
            computes all of it in bfloat16.
        metadata: written into the file.
    """
    module = copy.deepcopy(stage.module).to(DTYPES[precision])
    examples, shapes = trace.examples(stage.spec), trace.dynamic_shapes(stage.spec)
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(trace.quiet("torch.onnx", "onnxscript"))
        # the exporter warns of its own deprecated internals, which nobody who exports can change
        warnings.simplefilter("ignore")
        if isinstance(module, Constant):
            # what is folded is taken apart first: it has no fused nodes but those at the ends
            module = fold(trace.exported(module, examples, shapes).module())
        stack.enter_context(fused.mode("export", only=fused_nodes.TRANSLATIONS))
        if trace.takes_any_number(module):  # the exporter wants a parameter for each input
            module = trace.exported(module, examples, shapes).module()
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
