"""A stand-in for a native backend: the same config, and Python that runs the ONNX graph in ONNX Runtime."""

import shutil
from pathlib import Path

from i2i_rt.serving.config import read_config, write_config

CODE = """
import json
from pathlib import Path
import numpy as np, onnxruntime
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        file = Path(args["model_repository"]) / args["model_version"] / "shadow.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        self.graph = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.names = [given.name for given in self.graph.get_inputs()]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        given = [np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)) for name in self.inputs]
        results = self.graph.run(None, dict(zip(self.names, given)))
        return pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in zip(self.outputs, results)])
"""


def replace_backend(model: Path, graph: Path) -> None:
    """Puts the stand-in in place of a model's backend; everything else of its config stays, but the device."""
    config = read_config(model)
    config.backend, config.platform, config.default_model_filename = "python", "", ""
    config.ClearField("optimization")
    for group in config.instance_group:
        group.kind = group.KIND_CPU
        del group.profile[:]
    write_config(model, config)
    (model / "1" / "model.py").write_text(CODE)
    shutil.copyfile(graph, model / "1" / "shadow.onnx")
