"""What passes: requests of known models within their limits, closed calls with the key, not too many at once."""

import asyncio
import hmac
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from i2i_rt.errors import I2IError, closest
from i2i_rt.serving.datatypes import DTYPES
from i2i_rt.serving.gateway.pace import Pace
from i2i_rt.serving.gateway.refused import Refused
from i2i_rt.serving.gateway.wire import Infer
from i2i_rt.serving.health import Health
from i2i_rt.serving.served import ServedModel
from i2i_rt.spec import TensorSpec

RETRY_AFTER_S = 1.0  # where a model is not ready
REGION = "shared_memory_region"  # the parameter of a tensor that lies in shared memory


class Gate:
    """Decides about requests before anything of them reaches the server.

    Attributes:
        models: what is served, by name.
        in_flight: requests that the server has not answered yet.
        refused: how many went no further, by code.
    """

    def __init__(self, models: Sequence[ServedModel], health: Health, key: str, *, max_in_flight: int) -> None:
        self._health = health
        self.models = {model.name: model for model in models}
        self.in_flight = 0
        self._paces = {model.name: Pace(model.name) for model in models}
        self.refused: dict[str, int] = {}
        self._key = key.encode()
        self._max_in_flight = max_in_flight

    @property
    def largest_message(self) -> int:
        """The bytes of the largest request that some model takes, and of the largest answer."""
        return max(map(largest_bytes, self.models.values()), default=0) + 2**20

    def find(self, name: str) -> ServedModel:
        """Gives a model by its name.

        Raises:
            Refused: NOT_FOUND.
        """
        if name not in self.models:
            raise Refused("NOT_FOUND", f"there is no model {name!r}; {closest(name, self.models)}")
        return self.models[name]

    @contextmanager
    def request(self, model: str) -> Iterator[None]:
        """Counts a request for a model while it is in flight.

        Raises:
            Refused: UNAVAILABLE where too many are in flight, or it would have to wait for too long.
        """
        if self.in_flight >= self._max_in_flight:
            raise Refused("UNAVAILABLE", f"{self.in_flight} requests are in flight, which is the most", retry_after_s=1)
        self.in_flight += 1
        try:
            with self._paces[model].request():
                yield
            self._health.models[model].seen()
        finally:
            self.in_flight -= 1

    async def until_empty(self, timeout_s: float) -> None:
        """Waits until no request is in flight, but not for longer than a time."""
        end = time.monotonic() + timeout_s
        while self.in_flight and time.monotonic() < end:
            await asyncio.sleep(0.02)

    def is_key(self, key: str | bytes | None) -> bool:
        if key is None:
            return False
        return hmac.compare_digest(key.encode() if isinstance(key, str) else key, self._key)

    def require_key(self, key: str | bytes | None, what: str) -> None:
        """Checks the administrator's key.

        Raises:
            Refused: PERMISSION_DENIED.
        """
        if not self.is_key(key):
            raise Refused("PERMISSION_DENIED", f"{what} is closed; it needs the administrator's key in i2i-rt-key")

    def check(self, infer: Infer, key: str | bytes | None) -> ServedModel:
        """Checks an inference request, and gives the model that it is for, which answers right.

        Raises:
            Refused: NOT_FOUND, INVALID_ARGUMENT, PERMISSION_DENIED or UNAVAILABLE.
        """
        head = infer.head
        model = self.find(head.model_name)
        shapes: dict[str, Sequence[int]] = {}
        sizes = iter(infer.raw_sizes)
        for tensor in head.inputs:
            if tensor.name in shapes:
                raise Refused("INVALID_ARGUMENT", f"there are two inputs {tensor.name!r}")
            shapes[tensor.name] = tensor.shape
        try:
            model.limits.check(model.spec, shapes)
        except I2IError as error:
            raise Refused("INVALID_ARGUMENT", f"{model.name}: {error}") from None
        for tensor in (*head.inputs, *head.outputs):
            if REGION in tensor.parameters:
                self.require_key(key, "shared memory")
        for tensor in head.inputs:
            dtype = DTYPES.get(tensor.datatype)
            if dtype is None:
                raise Refused("INVALID_ARGUMENT", f"{model.name}: {tensor.name} has the datatype {tensor.datatype!r}")
            if REGION in tensor.parameters or not infer.raw_sizes:
                continue
            given, wanted = next(sizes, 0), dtype.itemsize * math.prod(tensor.shape)
            if given != wanted:
                shape = list(tensor.shape)
                raise Refused(
                    "INVALID_ARGUMENT",
                    f"{model.name}: {tensor.name} has {given} bytes; {tensor.datatype} {shape} has {wanted}",
                )
        if next(sizes, None) is not None:
            raise Refused("INVALID_ARGUMENT", f"{model.name}: there are more tensors than inputs")
        self.require_ready(model.name)
        return model

    def require_ready(self, name: str) -> None:
        """Checks that a model answers right, as far as is known.

        Raises:
            Refused: UNAVAILABLE.
        """
        health = self._health
        if not health.takes_requests:
            what = "is stopping" if health.is_draining else "restarts"
            raise Refused("UNAVAILABLE", f"the server {what}; try again", retry_after_s=RETRY_AFTER_S)
        model = health.models[name]
        if model.state in ("waiting", "bad"):
            raise Refused("UNAVAILABLE", f"{name} is not ready: {model.reason}", retry_after_s=RETRY_AFTER_S)

    def count(self, refused: Refused) -> None:
        self.refused[refused.code] = self.refused.get(refused.code, 0) + 1


def largest_bytes(model: ServedModel) -> int:
    """Gives the bytes of a model's largest request or answer."""

    def size(tensor: TensorSpec) -> int:
        lengths = {axis.name.removeprefix("reference_"): axis.size for axis in tensor.axes}
        free = {name for name, length in lengths.items() if length is None}
        known = {"N": model.limits.batch, "H": 1, "W": model.limits.pixels, "bytes": model.limits.file_bytes}
        if free - known.keys():
            return model.limits.tensor_bytes
        count = math.prod(known[name] if length is None else length for name, length in lengths.items())
        return count * np.dtype(tensor.dtype).itemsize

    return max(sum(map(size, model.spec.inputs)), sum(map(size, model.spec.outputs)))
