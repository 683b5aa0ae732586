"""What translates the frames of one video in their order: the network, steadied, along a path of styles."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from i2i_rt.style import Style, StylePath
from i2i_rt.translator import Translator
from i2i_rt.video.probe import Clip
from i2i_rt.video.stabilize import Stabilizer, Strength
from i2i_rt.video.style_walk import StyleWalk


class ClipTranslator:
    """Takes the place of the translator itself, for one video.

    Attributes:
        note: what the stabilisation cannot do with this model, in one sentence; empty where it does all.
    """

    def __init__(self, translator: Translator, *, stabilize: Strength = "off", styles: Sequence[Style] = ()) -> None:
        """Several styles are passed through from the first frame to the last."""
        self._translator = translator
        self._stabilizer = Stabilizer(translator, stabilize) if stabilize != "off" else None
        self._walk: StyleWalk | None = None
        self._translate: Callable[..., np.ndarray | Future[np.ndarray]] = self._stabilizer or translator.begin
        if len(styles) > 1:
            self._translate = self._walk = StyleWalk(self._translate, StylePath(translator.styles, tuple(styles)))
        self.note = self._stabilizer.note if self._stabilizer is not None else ""

    def begin(self, clip: Clip, first: int) -> None:
        """Is told of the video, and which frame of it comes first."""
        if self._walk is not None:
            self._walk.begin(clip, first)

    def warm_up(self, height: int, width: int, batch: int) -> None:
        """Pays first-run costs for frames of this size now, so that the first real frame does not."""
        if self._stabilizer is not None:
            self._stabilizer.warm_up(height, width)
        else:
            self._translator.warm_up(height, width, batch=batch)

    def __call__(self, frames: np.ndarray) -> np.ndarray | Future[np.ndarray]:
        """Translates the next frames, `[N, …]`, or begins to."""
        return self._translate(frames)
