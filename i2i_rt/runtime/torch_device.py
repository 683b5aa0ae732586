"""How PyTorch computes here: its device, its dtypes, and functions of tensors run on NumPy arrays.

On a GPU a frame's work is hundreds of launches, each shorter than the time that Python takes for the next. So the
launches are recorded once for every shape of the inputs as a CUDA graph, which one call repeats; arrays travel through
pinned memory.
"""

import functools
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn

from i2i_rt.kernels import fused as fused_kernels
from i2i_rt.runtime.backends import Fused

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
COMPILERS = (os.environ.get("CXX", "g++"), "clang++", "cl")  # that Inductor calls on a CPU
WARM_UP_RUNS = 3  # compilers and libraries choose their kernels in the first ones, which no graph may record
KEPT_GRAPHS = 8  # shapes; each graph keeps its inputs and outputs in the GPU's memory

TensorFunction = Callable[..., Tensor | tuple[Tensor, ...] | list[Tensor]]
Outputs = tuple[Tensor, ...]

logger = logging.getLogger(__name__)


@functools.cache
def device_here() -> torch.device:
    """Gives the device that PyTorch computes on: the first GPU, or the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def device_name() -> str:
    """Gives that device's name; "cpu" for the CPU."""
    device = device_here()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def prepare(precision: str, threads: int | None) -> None:
    """Sets what holds for the whole process: threads of the CPU, and on a GPU how convolutions are chosen."""
    if threads is not None:
        torch.set_num_threads(threads)
    if device_here().type == "cuda":
        # a clip has one size, for which the fastest convolution is worth the search
        torch.backends.cudnn.benchmark = True
    if precision == "fp32":
        # cuDNN would otherwise round to TF32's ten bits, and float32 is what everything is compared with
        torch.backends.cudnn.allow_tf32 = False


def placed(module: nn.Module, precision: str) -> nn.Module:
    """Moves a module to the device, in a precision; on a GPU with channels last, as its matrix units read them.

    On a CPU that layout gains nothing: oneDNN brings tensors into a layout of its own.
    """
    device = device_here()
    module = module.to(device, DTYPES[precision])
    if device.type == "cuda":
        # the overload with a memory format alone is missing in PyTorch's annotations
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        settle(module)
    return module


def settle(module: nn.Module) -> None:
    """Computes once what some layers compute from their weights in every run, in place."""
    for layer in module.modules():
        once = getattr(layer, "settle", None)
        if once is not None:
            once()


def kernels_used(fused: Fused) -> AbstractContextManager[None]:
    """Gives a context in which networks run, or are traced, with the fused kernels that pass their tests, or without.

    A kernel that does not pass is left out, and the log says why.
    """
    if fused == "auto":
        _tested(device_here())
    return fused_kernels.mode(fused)


@functools.cache
def _tested(device: torch.device) -> None:
    for operator, reason in fused_kernels.trust(device).items():
        logger.warning("the fused kernel %s is not used: %s", operator, reason)


def switched(function: TensorFunction, fused: Fused) -> TensorFunction:
    """Gives a function of tensors that runs with the fused kernels, or without."""

    def run(*inputs: Tensor) -> Tensor | tuple[Tensor, ...] | list[Tensor]:
        with kernels_used(fused):
            return function(*inputs)

    return run


def runner(function: TensorFunction) -> "Runner":
    """Gives what runs a function of tensors on the device that is here."""
    return GraphRunner(function) if device_here().type == "cuda" else Runner(function)


def _tensor(array: np.ndarray) -> Tensor:
    # PyTorch has no tensors that must not be written to, as the arrays of a server must not
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device_here())


class Runner:
    """Runs a function of tensors on NumPy arrays."""

    def __init__(self, function: TensorFunction) -> None:
        self._function = function

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Gives the function's outputs; they belong to the caller."""
        with torch.inference_mode():
            inputs = [_tensor(array) for array in arrays]
            return [output.cpu().numpy() for output in self._outputs(inputs)]

    def _outputs(self, inputs: Sequence[Tensor]) -> Outputs:
        results = self._function(*inputs)
        return tuple(result.contiguous() for result in (results if isinstance(results, tuple | list) else (results,)))


class _Recording:
    """A function at one shape of its inputs: what repeats it, and the memory that it reads and writes."""

    def __init__(self, repeat: Callable[[], None], inputs: Sequence[Tensor], outputs: Outputs) -> None:
        self._repeat, self._inputs, self._outputs = repeat, inputs, outputs
        self._sent, self._received = ([_pinned_like(tensor) for tensor in side] for side in (inputs, outputs))

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        for array, pinned, tensor in zip(arrays, self._sent, self._inputs, strict=True):
            np.copyto(pinned.numpy(), array)
            tensor.copy_(pinned, non_blocking=True)
        self._repeat()
        for pinned, tensor in zip(self._received, self._outputs, strict=True):
            pinned.copy_(tensor, non_blocking=True)
        if device_here().type == "cuda":
            torch.cuda.current_stream().synchronize()
        # the next run writes over the pinned memory
        return [pinned.numpy().copy() for pinned in self._received]


def _pinned_like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.device.type == "cuda")


class GraphRunner(Runner):
    """Runs a function of tensors on NumPy arrays through one CUDA graph for each shape of the inputs.

    A function that cannot be recorded, because it waits for the GPU, runs without a graph; the log says so.
    """

    def __init__(self, function: TensorFunction) -> None:
        super().__init__(function)
        self._recordings: dict[tuple[tuple[int, ...], ...], _Recording] = {}
        self._records = True

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        if not self._records:
            return super().__call__(arrays)
        shapes = tuple(array.shape for array in arrays)
        with torch.inference_mode():
            recording = self._recordings.pop(shapes, None)
            if recording is None:
                inputs = [_tensor(array) for array in arrays]
                try:
                    recording = _Recording(*self._record(inputs))
                except RuntimeError as error:
                    self._records = False
                    logger.warning("this network runs without CUDA graphs: %s", str(error).partition("\n")[0])
            if recording is not None:
                # the shape that was used last comes last, and the one that was not for longest makes room
                self._recordings[shapes] = recording
                if len(self._recordings) > KEPT_GRAPHS:
                    del self._recordings[next(iter(self._recordings))]
                return recording(arrays)
        return super().__call__(arrays)

    def _record(self, inputs: Sequence[Tensor]) -> tuple[Callable[[], None], Sequence[Tensor], Outputs]:
        """Records a run on `inputs`, whose memory later runs read; gives what repeats it, its inputs and outputs."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                self._outputs(inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._outputs(inputs)
        return graph.replay, inputs, outputs
