"""A model that gives back what it gets, in 8 bits and in float32: what is left of its time is the way to the server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from i2i_rt.serving.backend.tensors import from_pb, to_pb
from i2i_rt.serving.config import add_instances, new_config, write_config
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.repository import MODEL_FILE
from i2i_rt.serving.served import ServedModel
from i2i_rt.spec import Axis, StageSpec, TensorSpec

AXES = (Axis("N"), Axis("H"), Axis("W"), Axis("C", size=3))


class EchoModel:
    """The model as the server's Python backend wants it."""

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers requests, in their order."""
        import triton_python_backend_utils as pb_utils

        values = [from_pb(pb_utils.get_input_tensor_by_name(request, "values")) for request in requests]
        return [pb_utils.InferenceResponse([to_pb("echo", array)]) for array in values]


def write_echoes(folder: Path, limits: Limits) -> None:
    """Adds `echo-uint8` and `echo-float32` to the folder of a repository's models."""
    for dtype in ("uint8", "float32"):
        values = TensorSpec("values", dtype, AXES)
        spec = StageSpec(dtype, (values,), (TensorSpec("echo", dtype, AXES),))
        config = new_config(ServedModel(f"echo-{dtype}", "stage", "echo", "", "", "fp32", spec, limits))
        add_instances(config)
        target = folder / config.name
        write_config(target, config)
        (target / "1").mkdir()
        code = MODEL_FILE.replace("i2i_rt.serving.backend", "i2i_rt.benchmarks.serving")
        (target / "1" / "model.py").write_text(code.format(module="echo", name=EchoModel.__name__))
