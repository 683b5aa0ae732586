"""How much memory a deployment needs, worked out from the largest request that it takes."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from i2i_rt.serving.config import read_config
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.repository import MODELS
from i2i_rt.serving.served import ServedModel
from i2i_rt.spec import TensorSpec

MIB = 2**20
IN_FLIGHT = 4  # requests of the largest size at once; smaller ones may be more
STUB = 8 * MIB  # that the region of a model's process has beside requests; a new one has 1 MiB
SPARE = 64 * MIB  # of shared memory, as every container has
SERVER = 1536 * MIB  # the server, the gateway and the libraries, without any payload
PROCESS = 512 * MIB  # a python model's process: interpreter, NumPy, OpenCV, a runtime


def in_python(folder: Path, models: Iterable[ServedModel]) -> list[ServedModel]:
    """Gives those models of a repository that Python runs, once for each process: each has its own shared memory."""
    found = []
    for model in models:
        config = read_config(folder / MODELS / model.name)
        if config.backend == "python":
            found += [model] * sum(group.count for group in config.instance_group)
    return found


def tensor_bytes(tensor: TensorSpec, limits: Limits) -> int:
    """Gives the bytes of the largest tensor that the limits let through."""
    whole = 1
    for axis in tensor.axes:
        if axis.size is not None:
            whole *= axis.size
        elif axis.name == "N":
            whole *= limits.batch
        elif axis.name in ("H", "reference_H"):
            whole *= limits.pixels  # its width included
        elif axis.name not in ("W", "reference_W"):
            whole *= limits.file_bytes
    return whole * np.dtype(tensor.dtype).itemsize


def request_bytes(model: ServedModel) -> int:
    """Gives the bytes of a model's largest request and its answer."""
    return sum(tensor_bytes(tensor, model.limits) for tensor in (*model.spec.inputs, *model.spec.outputs))


def shared_memory(models: Iterable[ServedModel]) -> int:
    """Gives the bytes of /dev/shm that models in Python need, named once for each process, in whole MiB.

    Requests and answers pass through it, and pass once more where a model asks another one; what it has grown to is
    never given back, so the largest request of each model counts.
    """
    total = SPARE
    for model in models:
        through = 1 if model.kind == "stage" else 2
        total += STUB + through * request_bytes(model)
    return math.ceil(total / MIB) * MIB


def memory(models: Iterable[ServedModel], python: Sequence[ServedModel], networks: int) -> int:
    """Gives the bytes of main memory for a container, in whole MiB.

    Args:
        models: all that are served.
        python: those of them in Python, once for each process; their payloads pass through shared memory, which is
            memory too.
        networks: bytes of the graphs' files, which a runtime unfolds to about three times that.
    """
    payload = IN_FLIGHT * max(map(request_bytes, models))
    total = SERVER + PROCESS * len(python) + shared_memory(python) + payload + 3 * networks
    return math.ceil(total / MIB) * MIB


def quantity(size: int) -> str:
    """Gives bytes as Kubernetes writes them, in MiB."""
    return f"{math.ceil(size / MIB)}Mi"
