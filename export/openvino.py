"""ONNX graph to OpenVINO's own format, which loads faster and needs no parser."""

import io
from collections.abc import Mapping
from pathlib import Path

from i2i_rt.export.fused_nodes import inlined


def build(onnx_file: Path, file: Path, *, metadata: Mapping[str, str]) -> None:
    """Converts `onnx_file` and writes `file` (`.xml`) with a `.bin` beside it; weights stay in float32."""
    import openvino

    model = openvino.convert_model(io.BytesIO(inlined(onnx_file).SerializeToString()))
    for key, value in metadata.items():
        model.set_rt_info(value, ["i2i_rt", key])
    openvino.save_model(model, file, compress_to_fp16=False)
