"""A video stream: frames in order, with the state between them kept by the server."""

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

import numpy as np

from i2i_rt.errors import I2IError
from i2i_rt.serving.client.calls import Place
from i2i_rt.serving.client.steps import Requests, Steps, StyleRequest
from i2i_rt.serving.errors import ServingError, StreamLost
from i2i_rt.serving.served import ServedModel
from i2i_rt.style import Style

END_SIDE_PX = 1  # of the black frame that ends a stream; nobody sees its translation


class Frames:
    """The frames of one stream as requests."""

    def __init__(
        self,
        requests: Requests,
        style: Style | np.ndarray | Sequence[Style] | None,
        wanted: StyleRequest,
        momentum: float | None,
    ) -> None:
        if style is not None and wanted != StyleRequest():
            raise I2IError("a stream takes a style, or what the server makes one of, not both")
        self._requests, self._style, self._wanted, self._momentum = requests, style, wanted, momentum
        self._id = _new_id()
        self._model: ServedModel | None = None
        self._begun = False

    def next(
        self, frame: np.ndarray, edges: np.ndarray | None, deadline_s: float | None, *, last: bool
    ) -> Steps[np.ndarray]:
        try:
            translated = yield from self._sent(frame, edges, deadline_s, last=last)
        except StreamLost:
            if self._momentum is not None:
                raise
            # each frame is translated by itself, so that another stream gives what this one would have given
            self._id, self._begun = _new_id(), False
            translated = yield from self._sent(frame, edges, deadline_s, last=last)
        self._begun = not last
        return translated

    def _sent(
        self, frame: np.ndarray, edges: np.ndarray | None, deadline_s: float | None, *, last: bool
    ) -> Steps[np.ndarray]:
        if self._model is None:
            self._model = yield from self._requests.stream_model()
        inputs = {self._model.spec.inputs[0].name: frame}
        if edges is not None:
            inputs["edges"] = edges
        if not self._begun:
            inputs |= self._first_inputs(self._model)
        place = Place(self._id, start=not self._begun, end=last)
        return (yield from self._requests.stream_frame(self._model, inputs, place, deadline_s))

    def end(self) -> Steps[None]:
        """Lets the server forget the stream; one that it cannot be told of, it forgets by itself after a while."""
        if self._model is None or not self._begun:
            return
        number, self._id, self._begun = self._id, _new_id(), False
        source = self._model.spec.inputs[0]
        frame = np.zeros([axis.size or END_SIDE_PX for axis in source.axes], source.dtype)
        with contextlib.suppress(ServingError):
            yield from self._requests.stream_frame(self._model, {source.name: frame}, Place(number, end=True), None)

    def _first_inputs(self, served: ServedModel) -> dict[str, np.ndarray]:
        inputs = self._wanted.inputs(served)
        if self._style is not None:
            code = self._style.code if isinstance(self._style, Style) else np.asarray(self._style, np.float32)
            inputs["style"] = code.reshape(-1)
        if self._momentum is not None:
            inputs["momentum"] = np.array([self._momentum], np.float32)
        return inputs


def _new_id() -> int:
    return secrets.randbits(62) + 1  # 0 would be no stream


class Stream:
    """One video stream; calls translate its next frame, `[H, W, 3]` uint8 RGB or `[H, W]` labels, of any size.

    A frame is never sent twice, unless the server did not take it. One that is known to be the `last` spares the
    request that otherwise ends the stream.

    Raises:
        StreamLost: where the server was restarted, or the stream idle for too long, and with it the statistics of the
            frames before are gone. A stream without `momentum` has none, and goes on by itself.
    """

    def __init__(self, run: Callable[[Steps[Any]], Any], frames: Frames) -> None:
        self._run, self._frames = run, frames

    def __call__(
        self,
        frame: np.ndarray,
        *,
        edges: np.ndarray | None = None,
        last: bool = False,
        deadline_s: float | None = None,
    ) -> np.ndarray:
        translated: np.ndarray = self._run(self._frames.next(frame, edges, deadline_s, last=last))
        return translated

    def close(self) -> None:
        """Ends the video; another frame would begin a new one."""
        self._run(self._frames.end())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream:
    """`Stream` for asyncio."""

    def __init__(self, run: Callable[[Steps[Any]], Awaitable[Any]], frames: Frames) -> None:
        self._run, self._frames = run, frames

    async def __call__(
        self,
        frame: np.ndarray,
        *,
        edges: np.ndarray | None = None,
        last: bool = False,
        deadline_s: float | None = None,
    ) -> np.ndarray:
        translated: np.ndarray = await self._run(self._frames.next(frame, edges, deadline_s, last=last))
        return translated

    async def close(self) -> None:
        await self._run(self._frames.end())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
