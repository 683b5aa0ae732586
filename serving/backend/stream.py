"""Videos, frame by frame: what one frame leaves for the next is kept for each sequence."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from i2i_rt.errors import I2IError
from i2i_rt.serving.backend.model import Model
from i2i_rt.serving.backend.refusal import Refusal
from i2i_rt.serving.backend.styles import Styles, require_at_most_one
from i2i_rt.style import Style
from i2i_rt.translator import Translator
from i2i_rt.video.stabilize import STAGE, Stabilizer

START, END = 1, 2  # the server's flags of a request


@dataclass
class Stream:
    """One video.

    Attributes:
        translator: with the video's style, and the plan of its label maps.
        stabilizer: with the statistics of its frames; None where each of them is translated by itself.
        used: when the last frame came, in seconds of the monotonic clock.
    """

    translator: Translator
    stabilizer: Stabilizer | None
    used: float = field(default_factory=time.monotonic)


class StreamModel(Model):
    """Answers as a translator does that one process keeps for one video.

    The request that starts a sequence may give a style, as `style`, `reference` or `seed`, and the `momentum` of the
    smoothed statistics; without it frames are translated by themselves.
    """

    def open(self) -> None:
        self._session = self.open_session()
        self._translator = Translator(self._session, bundle=self.bundle)
        self._streams: dict[int | str, Stream] = {}
        if self._translator.has_style:
            self._styles = Styles(self._translator.styles, self.served.weights_sha256, self.execution.cache_size)

    def close(self) -> None:
        self._session.close()

    def answer(self, inputs: Mapping[str, np.ndarray], request: Any) -> Mapping[str, np.ndarray]:
        number, flags = request.correlation_id(), request.flags()
        self._forget_idle(2 * self.execution.idle_s)  # the server has given them up, whatever waits in its queue
        if flags & START:
            self._streams.pop(number, None)
            if len(self._streams) >= self.execution.streams:
                self._forget_idle(self.execution.idle_s)
            # a stream of a single frame takes no place, so that a canary gets its answer in any case
            if len(self._streams) >= self.execution.streams and not flags & END:
                raise Refusal("UNAVAILABLE", f"{len(self._streams)} streams are open; end one, or come again later")
            self._streams[number] = self._started(inputs)
        elif given := [name for name in inputs if name not in ("frame", "edges")]:
            raise Refusal("INVALID_ARG", f"{given[0]} is for the frame that starts a sequence")
        if number not in self._streams:
            raise Refusal("INVALID_ARG", f"the sequence {number} has not been started, or was idle for too long")
        stream = self._streams[number] if not flags & END else self._streams.pop(number)
        stream.used = time.monotonic()
        return {"translated": self._translated(stream, inputs)}

    def _started(self, inputs: Mapping[str, np.ndarray]) -> Stream:
        translator = self._translator.fork()
        if translator.has_style:
            translator.current_style = self._style(inputs)
        momentum = float(inputs["momentum"][0]) if "momentum" in inputs else 0.0
        if not 0 <= momentum < 1:
            raise I2IError(f"momentum is {momentum:g}; it must be at least 0 and below 1")
        # without statistics there is nothing to smooth
        smooth = momentum > 0 and STAGE in self._session.stages
        return Stream(translator, Stabilizer(translator, "light", momentum=momentum) if smooth else None)

    def _style(self, inputs: Mapping[str, np.ndarray]) -> Style:
        require_at_most_one(inputs, "style", "reference", "seed")
        if "style" in inputs:
            code = np.array(inputs["style"])
            return Style(code, self.bundle.system, self.served.weights_sha256, "given with the request")
        return self._styles(inputs)[1]

    def _translated(self, stream: Stream, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        if stream.stabilizer is not None:
            result: np.ndarray = stream.stabilizer(inputs["frame"][None])[0]
            return result
        return stream.translator(inputs["frame"], edges=inputs.get("edges"))

    def _forget_idle(self, idle_s: float) -> None:
        """Drops streams that have sent nothing for so long."""
        latest = time.monotonic() - idle_s
        for number in [number for number, stream in self._streams.items() if stream.used < latest]:
            del self._streams[number]
