"""Styles and translations from the other models of the same bundle."""

from collections.abc import Mapping

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.serving.backend.bls import BlsSession, ask
from i2i_rt.serving.backend.styles import Recent, style_id
from i2i_rt.serving.served import ServedModel

MAKERS = ("style_id", "reference", "seed", "domain")  # inputs that make a style, or name it


class Remote:
    """Translates frames of any size with the model `translate`, in styles of the model `style`."""

    def __init__(self, served: ServedModel, bundle: Bundle, cache_size: int) -> None:
        self._served = served
        self._session = BlsSession(served.bundle, bundle, served.precision)
        self._source, *others = bundle.stages["translate"].inputs
        self._takes = {tensor.name for tensor in others}
        self._codes: Recent[np.ndarray] = Recent(cache_size)

    def style(self, inputs: Mapping[str, np.ndarray]) -> tuple[int, np.ndarray]:
        """Gives the name and the code `[S]` of the style that a request asks for."""
        given = {name: inputs[name] for name in MAKERS if name in inputs}
        named = "style_id" in given
        name = int(given["style_id"][0]) if named else style_id(self._served.weights_sha256, given)
        model = f"{self._served.bundle}-style"
        return name, self._codes.get(name, lambda: ask(model, given, ["style"])["style"])

    def translate(self, inputs: Mapping[str, np.ndarray], style: np.ndarray | None) -> np.ndarray:
        """Translates frames, or label maps, of any size; edges that are not given are none."""
        frames = inputs[self._source.name]
        given = {self._source.name: frames}
        if "edges" in self._takes:
            given["edges"] = inputs.get("edges", np.zeros_like(frames))
        if style is not None:
            given["style"] = np.broadcast_to(style, (len(frames), len(style)))
        return self._session.run("translate", given)["translated"]
