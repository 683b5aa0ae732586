"""A video stream: frames in order, with the state between them kept by the server."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

import numpy as np

from i2i_rt.errors import I2IError
from i2i_rt.serving.client.calls import Place
from i2i_rt.serving.client.steps import Requests, Steps, StyleRequest
from i2i_rt.serving.errors import ServingError
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
        self._id = secrets.randbits(62) + 1  # 0 would be no stream
        self._model: ServedModel | None = None
        self._begun = False

    def next(self, frame: np.ndarray, deadline_s: float | None) -> Steps[np.ndarray]:
        if self._model is None:
            self._model = yield from self._requests.stream_model()
        inputs = {"frame": frame}
        if not self._begun:
            inputs |= self._first_inputs(self._model)
        place = Place(self._id, start=not self._begun)
        size = frame.nbytes if frame.ndim == 3 else frame.nbytes * 3
        translated = yield from self._requests.stream_frame(self._model.name, inputs, place, size, deadline_s)
        self._begun = True
        return translated

    def end(self) -> Steps[None]:
        """Lets the server forget the stream; one that it cannot be told of, it forgets by itself after a while."""
        if self._model is None or not self._begun:
            return
        self._begun = False
        source = self._model.spec.inputs[0]
        frame = np.zeros([axis.size or END_SIDE_PX for axis in source.axes], source.dtype)
        try:
            yield from self._requests.stream_frame(
                self._model.name, {"frame": frame}, Place(self._id, end=True), None, None
            )
        except ServingError:
            return

    def _first_inputs(self, served: ServedModel) -> dict[str, np.ndarray]:
        inputs = self._wanted.inputs(served)
        if self._style is not None:
            code = self._style.code if isinstance(self._style, Style) else np.asarray(self._style, np.float32)
            inputs["style"] = code.reshape(-1)
        if self._momentum is not None:
            inputs["momentum"] = np.array([self._momentum], np.float32)
        return inputs


class Stream:
    """One video stream; calls translate its next frame, `[H, W, 3]` uint8 RGB or `[H, W]` labels, of any size.

    A frame is never sent twice, unless the server did not take it.

    Raises:
        StreamLost: where the server was restarted, or the stream idle for too long.
    """

    def __init__(self, run: Callable[[Steps[Any]], Any], frames: Frames) -> None:
        self._run, self._frames = run, frames

    def __call__(self, frame: np.ndarray, *, deadline_s: float | None = None) -> np.ndarray:
        translated: np.ndarray = self._run(self._frames.next(frame, deadline_s))
        return translated

    def close(self) -> None:
        self._run(self._frames.end())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream:
    """`Stream` for asyncio."""

    def __init__(self, run: Callable[[Steps[Any]], Awaitable[Any]], frames: Frames) -> None:
        self._run, self._frames = run, frames

    async def __call__(self, frame: np.ndarray, *, deadline_s: float | None = None) -> np.ndarray:
        translated: np.ndarray = await self._run(self._frames.next(frame, deadline_s))
        return translated

    async def close(self) -> None:
        await self._run(self._frames.end())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
