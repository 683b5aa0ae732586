"""What a client asks of a server, whatever the protocol: plain data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from i2i_rt.serving.client.shared_memory import Lease
from i2i_rt.serving.datatypes import DTYPES
from i2i_rt.serving.errors import ServerFault


@dataclass(frozen=True)
class Place:
    """A request's place in a video stream."""

    stream: int
    start: bool = False
    end: bool = False


@dataclass(frozen=True)
class Infer:
    """One inference.

    Attributes:
        model: its name on the server.
        inputs: by name; the dtypes and shapes are sent as they are.
        place: in a stream; None outside of one.
        lease: the shared memory that the tensors go through; None: they travel with the request.
    """

    model: str
    inputs: Mapping[str, np.ndarray] = field(repr=False)
    place: Place | None = None
    lease: Lease | None = None

    @property
    def subject(self) -> str:
        return self.model

    def output(self, name: str, datatype: str, shape: Sequence[int], content: bytes | memoryview) -> np.ndarray:
        """Gives an output of the answer as an array that belongs to the caller.

        Raises:
            ServerFault: where the bytes are not those of such an array; a broken model may send anything.
        """
        dtype, sides = DTYPES.get(datatype), tuple(shape)
        placed = self.lease is not None and name in self.lease.outputs
        size = self.lease.outputs[name][1] if self.lease is not None and placed else len(content)
        if dtype is None or math.prod(sides) * dtype.itemsize != size:
            raise ServerFault(f"{self.model} gave {name} as {datatype} {list(sides)} in {size} bytes, which do not fit")
        if self.lease is not None and placed:
            return self.lease.read(name, dtype, sides)
        return np.frombuffer(content, dtype).reshape(sides).copy()


class _OfServer:
    subject = "the server"


@dataclass(frozen=True)
class ListModels(_OfServer):
    """The names of the models that are ready."""


@dataclass(frozen=True)
class GetConfig:
    """The parameters of a model's config, by name."""

    model: str

    @property
    def subject(self) -> str:
        return self.model


@dataclass(frozen=True)
class IsReady:
    """Whether a model is ready; None: the server."""

    model: str | None = None

    @property
    def subject(self) -> str:
        return self.model or "the server"


@dataclass(frozen=True)
class ListRegions(_OfServer):
    """The names of the regions of shared memory that the server has mapped."""


@dataclass(frozen=True)
class MapRegion(_OfServer):
    """Lets the server map a region of shared memory that is on this host."""

    name: str
    size: int


@dataclass(frozen=True)
class UnmapRegion(_OfServer):
    name: str


Call = Infer | ListModels | GetConfig | IsReady | ListRegions | MapRegion | UnmapRegion

# what comes back, by the call
Answer = dict[str, np.ndarray] | list[str] | dict[str, str] | bool | None


def needs_key(call: Call) -> bool:
    """Says whether a call is one of shared memory, for which a server wants the administrator's key."""
    return isinstance(call, ListRegions | MapRegion | UnmapRegion) or (isinstance(call, Infer) and bool(call.lease))
