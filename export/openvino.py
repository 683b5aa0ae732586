"""ONNX graph to OpenVINO's own format, which loads faster and needs no parser; in float32, or in 8 bits by NNCF."""

import contextlib
import io
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import i2i_rt.runtime.openvino  # noqa: F401 - before OpenVINO: it then reports nothing over the network
from i2i_rt.export.fused_nodes import inlined

CONVOLUTIONS = ("Convolution", "ConvolutionBackpropData")
# what NNCF may round in front of, so that padding in front of a convolution moves 8 bits too; the others compute
PASSING = ("Parameter", "Constant", "Result", "Relu", "Pad")


def build(onnx_file: Path, file: Path, *, metadata: Mapping[str, str]) -> None:
    """Converts `onnx_file` and writes `file` (`.xml`) with a `.bin` beside it; weights stay in float32."""
    _save(_converted(onnx_file), file, metadata)


def quantize(
    onnx_file: Path,
    file: Path,
    *,
    inputs: Sequence[Mapping[str, np.ndarray]],
    names: Collection[str],
    metadata: Mapping[str, str],
) -> None:
    """Converts `onnx_file` with some of its convolutions in 8 bits.

    What is not a convolution stays as it is. NNCF would round the input of instance norm too, which costs 7 dB and
    saves nothing, and the sums of residual blocks, whose loss no layer could be blamed for.

    Args:
        onnx_file: the graph in float32.
        file: the `.xml` file; a `.bin` is written beside it.
        inputs: to measure ranges on.
        names: of the layers, those of their weights without the last word.
        metadata: written into the file.
    """
    model = _converted(onnx_file)
    if names:
        model = _quantized(model, inputs, names)
    _save(model, file, metadata)


def _quantized(model: Any, inputs: Sequence[Mapping[str, np.ndarray]], names: Collection[str]) -> Any:
    os.environ.setdefault("NNCF_CI", "1")  # or it reports its use over the network
    import nncf

    chosen = {node.get_friendly_name() for node in model.get_ordered_ops() if _layer(node) in names}
    ignored = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_friendly_name() not in chosen and node.get_type_name() not in PASSING
    ]
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # it draws progress bars of its own
        return nncf.quantize(
            model,
            nncf.Dataset(list(inputs)),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
        )


def _layer(node: Any) -> str | None:
    """Gives a convolution's name, that of its constant weights without the last word; None of everything else."""
    if node.get_type_name() not in CONVOLUTIONS:
        return None
    weight = node.input(1).get_source_output().get_node()
    return weight.get_friendly_name().rpartition(".")[0] if weight.get_type_name() == "Constant" else None


def _converted(onnx_file: Path) -> Any:
    import openvino

    with _kept_logging():
        return openvino.convert_model(io.BytesIO(inlined(onnx_file).SerializeToString()))


@contextlib.contextmanager
def _kept_logging() -> Iterator[None]:
    """Puts the root logger back, which a conversion that fails leaves without warnings: everybody's, ours too."""
    root = logging.getLogger()
    level, handlers, filters = root.level, list(root.handlers), list(root.filters)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers, root.filters = handlers, filters


def _save(model: Any, file: Path, metadata: Mapping[str, str]) -> None:
    import openvino

    for key, value in metadata.items():
        model.set_rt_info(value, ["i2i_rt", key])
    openvino.save_model(model, file, compress_to_fp16=False)
