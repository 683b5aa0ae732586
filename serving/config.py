"""A model's `config.pbtxt`, made and read as protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.errors import BundleError
from i2i_rt.serving.served import PARAMETER, ServedModel
from i2i_rt.spec import StageSpec, TensorSpec

FILE = "config.pbtxt"
WARM_UP = "warmup"  # the folder beside the versions in which the server looks for `input_data_file`
TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
}


@dataclass(frozen=True)
class Queue:
    """How many requests wait for a model, and how long; the others are refused at once, with UNAVAILABLE."""

    size: int = 32
    timeout_s: float = 5.0


def new_config(served: ServedModel, *, backend: str = "python", platform: str = "") -> Any:
    """Gives a `ModelConfig` with the names, types and shapes of a model, and what clients must know of it.

    A model whose tensors all have the batch axis N in front, and another behind, takes batches up to its limit; the
    others name N among their dimensions.
    """
    from tritonclient.grpc import model_config_pb2

    config = model_config_pb2.ModelConfig(name=served.name, backend=backend, platform=platform)
    batched = is_batched(served.spec)
    config.max_batch_size = served.limits.batch if batched else 0
    for tensor in served.spec.inputs:
        config.input.add(
            name=tensor.name,
            data_type=TYPES[tensor.dtype],
            dims=_dims(tensor, batched=batched),
            optional=tensor.name in served.optional,
        )
    for tensor in served.spec.outputs:
        config.output.add(name=tensor.name, data_type=TYPES[tensor.dtype], dims=_dims(tensor, batched=batched))
    set_parameter(config, PARAMETER, served.to_text())
    return config


def is_batched(spec: StageSpec) -> bool:
    """Says whether the server may join requests of a model along their first axis."""
    tensors = (*spec.inputs, *spec.outputs)
    return all(len(tensor.axes) > 1 and tensor.axes[0].name == "N" and not tensor.axes[0].size for tensor in tensors)


def _dims(tensor: TensorSpec, *, batched: bool) -> list[int]:
    return [axis.size or -1 for axis in tensor.axes[1 if batched else 0 :]]


def set_parameter(config: Any, key: str, value: str) -> None:
    config.parameters[key].string_value = value


def add_instances(config: Any, count: int = 1, *, kind: str = "KIND_CPU") -> None:
    """Says how many copies of a model compute side by side; of a Python model, how many processes."""
    config.instance_group.add(count=count, kind=kind)


def add_dynamic_batching(
    config: Any, queue: Queue | None, *, delay_us: int = 0, preferred: tuple[int, ...] = ()
) -> None:
    """Lets the server join requests that wait, and, with a queue, refuse those that would wait for too long.

    A queue costs the server its second place for a batch. A model with one instance then sleeps through requests that
    come while it still puts the last answer away, each time for 500 ms: it needs two instances, or no queue.
    """
    batching = config.dynamic_batching
    batching.max_queue_delay_microseconds = delay_us
    batching.preferred_batch_size.extend(preferred)
    if queue is None:
        return
    policy = batching.default_queue_policy
    policy.timeout_action = policy.REJECT
    policy.default_timeout_microseconds = round(queue.timeout_s * 1e6)
    policy.allow_timeout_override = True
    policy.max_queue_size = queue.size


def add_sequences(config: Any, *, idle_s: float, sequences: int) -> None:
    """Lets requests of one sequence reach one copy of the model in their order, so many of them at once."""
    batching = config.sequence_batching
    batching.max_sequence_idle_microseconds = round(idle_s * 1e6)
    batching.oldest.max_candidate_sequences = sequences


def add_warm_up(config: Any, folder: Path, name: str, inputs: Mapping[str, np.ndarray]) -> None:
    """Lets the server run a model once before it is ready, on arrays whose bytes are written below `folder`.

    `folder` is the model's own; arrays of a model that takes batches have the batch axis, of length 1.
    """
    (folder / WARM_UP).mkdir(parents=True, exist_ok=True)
    sample = config.model_warmup.add(name=name, batch_size=1 if config.max_batch_size else 0)
    dtypes = {given.name: given.data_type for given in config.input}
    for key, array in inputs.items():
        file = f"{name}-{key}"
        (folder / WARM_UP / file).write_bytes(np.ascontiguousarray(array).tobytes())
        entry = sample.inputs[key]
        entry.data_type = dtypes[key]
        entry.dims.extend(array.shape[1:] if config.max_batch_size else array.shape)
        entry.input_data_file = file


def write_config(folder: Path, config: Any) -> None:
    """Writes `config.pbtxt` into a model's folder."""
    from google.protobuf import text_format

    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(text_format.MessageToString(config))


def read_config(folder: Path) -> Any:
    """Reads `config.pbtxt` of a model's folder.

    Raises:
        BundleError: where there is none, or it is damaged.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    file = folder / FILE
    try:
        return text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise BundleError(f"{file} cannot be read as a model's config: {error}") from error


def served_model(config: Any) -> ServedModel | None:
    """Gives what a config says to clients; None where it is of no model of ours.

    Raises:
        BundleError: where it is damaged.
    """
    text = config.parameters[PARAMETER].string_value if PARAMETER in config.parameters else ""
    try:
        return ServedModel.from_text(text) if text else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"the parameter {PARAMETER} of {config.name} is damaged: {error}") from error
