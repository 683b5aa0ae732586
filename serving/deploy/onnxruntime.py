"""The config of an ONNX graph, computed by ONNX Runtime alone or through an accelerator."""

from collections.abc import Sequence
from typing import Any

from i2i_rt.export.profiles import Shapes
from i2i_rt.serving.config import new_config, set_parameter
from i2i_rt.serving.deploy.image import SCRATCH
from i2i_rt.serving.served import ServedModel

FILE = "model.onnx"
ENGINES = f"{SCRATCH}/i2i-rt-tensorrt"  # engines that the accelerator builds; they live as long as the pod
PRECISIONS = {"fp32": "FP32", "fp16": "FP16"}  # as the accelerator calls them


def cpu_config(served: ServedModel, *, threads: int, openvino: bool) -> Any:
    """Gives the config for a CPU, where each instance has its own threads."""
    config = _config(served)
    set_parameter(config, "intra_op_thread_count", str(threads))
    set_parameter(config, "inter_op_thread_count", "1")
    if openvino:
        # it takes no parameters, and this device only
        config.optimization.execution_accelerators.cpu_execution_accelerator.add(name="openvino")
    return config


def cuda_config(served: ServedModel) -> Any:
    """Gives the config for ONNX Runtime's own CUDA kernels."""
    config = _config(served)
    _set_cuda(config)
    cuda = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")
    cuda.parameters["cudnn_conv_use_max_workspace"] = "1"
    # in float32 nothing is rounded to TF32's ten bits
    cuda.parameters["use_tf32"] = "0" if served.precision == "fp32" else "1"
    return config


def tensorrt_config(served: ServedModel, shapes: Sequence[Shapes]) -> Any:
    """Gives the config for engines that ONNX Runtime has TensorRT build when the model is loaded.

    Args:
        served: narrowed to the profiles.
        shapes: of each profile; without them every new size would stop the model for minutes.
    """
    config = _config(served)
    _set_cuda(config)
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    accelerator.parameters.update(
        {
            "precision_mode": PRECISIONS[served.precision],
            "trt_engine_cache_enable": "true",
            "trt_engine_cache_path": ENGINES,
            "trt_timing_cache_enable": "true",
            "trt_timing_cache_path": ENGINES,
        }
    )
    for index, name in enumerate(("min", "opt", "max")):
        accelerator.parameters[f"trt_profile_{name}_shapes"] = ",".join(
            f"{key}:{'x'.join(map(str, found[index]))}" for profile in shapes for key, found in profile.items()
        )
    return config


def _config(served: ServedModel) -> Any:
    config = new_config(served, backend="onnxruntime", platform="onnxruntime_onnx")
    config.default_model_filename = FILE
    return config


def _set_cuda(config: Any) -> None:
    """Sets what the backend takes from the config's own parameters, whatever an accelerator says.

    An exhaustive search for convolutions would be made anew for every size of frame; memory that doubles at each
    growth would never be given back.
    """
    set_parameter(config, "cudnn_conv_algo_search", "1")  # heuristic
    set_parameter(config, "arena_extend_strategy", "1")  # as requested
    set_parameter(config, "do_copy_in_default_stream", "1")
