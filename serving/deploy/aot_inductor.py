"""The configs of a compiled package. PyTorch's backend numbers its tensors; a second model gives them their names."""

from typing import Any

from i2i_rt.serving.config import TYPES, new_config
from i2i_rt.serving.served import ServedModel
from i2i_rt.spec import TensorSpec

FILE = "model.pt2"
PLATFORM = "torch_aoti"


def package_name(served: ServedModel) -> str:
    """Gives the name of the model that holds the package; clients ask the other one."""
    return f"{served.name}-package"


def package_config(served: ServedModel) -> Any:
    """Gives the config of the package itself; its backend joins no requests."""
    from tritonclient.grpc import model_config_pb2

    config = model_config_pb2.ModelConfig(name=package_name(served), backend="pytorch", platform=PLATFORM)
    config.default_model_filename = FILE
    for index, tensor in enumerate(served.spec.inputs):
        config.input.add(name=f"INPUT__{index}", data_type=TYPES[tensor.dtype], dims=_dims(tensor))
    for index, tensor in enumerate(served.spec.outputs):
        config.output.add(name=f"OUTPUT__{index}", data_type=TYPES[tensor.dtype], dims=_dims(tensor))
    return config


def named_config(served: ServedModel) -> Any:
    """Gives the config of the model that clients ask."""
    config = new_config(served, platform="ensemble", backend="")
    if config.max_batch_size:
        # as the package has it: the batch axis is a dimension like others
        config.max_batch_size = 0
        for tensor in (*config.input, *config.output):
            tensor.dims.insert(0, -1)
    step = config.ensemble_scheduling.step.add(model_name=package_name(served), model_version=-1)
    for index, tensor in enumerate(served.spec.inputs):
        step.input_map[f"INPUT__{index}"] = tensor.name
    for index, tensor in enumerate(served.spec.outputs):
        step.output_map[f"OUTPUT__{index}"] = tensor.name
    return config


def _dims(tensor: TensorSpec) -> list[int]:
    return [axis.size or -1 for axis in tensor.axes]
