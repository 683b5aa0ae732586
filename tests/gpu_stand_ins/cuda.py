"""Stands in for CuPy: arrays that know their address, streams that capture what is launched on them."""

import ctypes
import math
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import numpy as np


class Device(SimpleNamespace):
    """The GPU of the machine that is played."""

    name: str
    capability: str


DEVICE = Device(name="NVIDIA L4", capability="8.9")
STREAMS: WeakValueDictionary[int, "Stream"] = WeakValueDictionary()
MEMORY: WeakValueDictionary[int, "ndarray"] = WeakValueDictionary()  # what lies at each address


class ndarray:
    """An array on the GPU."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.data = SimpleNamespace(ptr=values.__array_interface__["data"][0])
        MEMORY[self.data.ptr] = self

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def set(self, arr: np.ndarray, stream: "Stream | None" = None) -> None:
        assert arr.shape == self.values.shape and arr.dtype == self.values.dtype
        self.values[...] = arr

    def get(
        self, stream: "Stream | None" = None, order: str = "C", out: np.ndarray | None = None, blocking: bool = True
    ) -> np.ndarray:
        assert out is not None and out.dtype == self.values.dtype
        out[...] = self.values
        return out

    def __setitem__(self, index: Any, other: "ndarray") -> None:
        self.values[index] = other.values


def array_at(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Gives what lies at an address: one of the arrays above, or a tensor that PyTorch has there."""
    if address in MEMORY:
        return MEMORY[address].values
    size = math.prod(shape) * dtype.itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)


class Graph:
    """What a stream has captured."""

    def __init__(self, launches: list[Callable[[], None]]) -> None:
        self.launches = launches

    def launch(self, stream: "Stream | None" = None) -> None:
        for launch in self.launches:
            launch()


class Stream:
    """A queue that runs everything at once, or, while it captures, nothing.

    Attributes:
        capturable: whether what is launched can be captured.
    """

    capturable = True

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.ptr = id(self)
        self.captured: list[Callable[[], None]] | None = None
        STREAMS[self.ptr] = self

    def submit(self, launch: Callable[[], None]) -> None:
        if self.captured is None:
            launch()
        else:
            self.captured.append(launch)

    def begin_capture(self, mode: int | None = None) -> None:
        self.captured = []

    def end_capture(self) -> Graph:
        launches, self.captured = self.captured, None
        if not self.capturable:
            raise RuntimeError("cudaErrorStreamCaptureInvalidated")
        assert launches is not None
        return Graph(launches)

    def synchronize(self) -> None:
        assert self.captured is None, "a stream that captures cannot be waited for"

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def empty(shape: Any, dtype: Any = float) -> ndarray:
    return ndarray(np.full(shape, 77, dtype))  # never what it should be


def asarray(a: Any) -> ndarray:
    return a if isinstance(a, ndarray) else ndarray(np.asarray(a))


def asnumpy(a: ndarray) -> np.ndarray:
    return a.values.copy()


def empty_pinned(shape: Any, dtype: Any = float) -> np.ndarray:
    return np.full(shape, 55, dtype)


def _properties(device: int) -> dict[str, Any]:
    major, minor = map(int, DEVICE.capability.split("."))
    return {"name": DEVICE.name.encode(), "major": major, "minor": minor}


def _count() -> int:
    if not DEVICE.name:
        raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    return 1


cupy = ModuleType("cupy")
cupy.__dict__.update(
    ndarray=ndarray,
    empty=empty,
    asarray=asarray,
    asnumpy=asnumpy,
    cuda=SimpleNamespace(
        Stream=Stream,
        Graph=Graph,
        runtime=SimpleNamespace(getDeviceProperties=_properties, getDevice=lambda: 0, getDeviceCount=_count),
    ),
)
cupyx = ModuleType("cupyx")
cupyx.__dict__.update(empty_pinned=empty_pinned)
