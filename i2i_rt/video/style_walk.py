"""A style that moves while a video is translated."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from i2i_rt.style import Style, StylePath
from i2i_rt.video.probe import Clip

PERIOD_S = 10.0  # of the way there, where nobody knows how long the video is; the way back takes as long


class StyleWalk:
    """Translates the frames of one video along a path of styles; takes the place of the translator itself."""

    def __init__(
        self,
        translate: Callable[[np.ndarray, Sequence[Style]], np.ndarray | Future[np.ndarray]],
        path: StylePath,
    ) -> None:
        self._translate, self._path = translate, path
        self._next = 0
        self._last: int | None = None
        self._period = 1.0

    def begin(self, clip: Clip, kept: int) -> None:
        """Is told of the clip, and how many of its frames an earlier run made: the style goes on from there."""
        self._next = kept
        self._last = None if clip.expected_frames is None else max(clip.expected_frames - 1, 1)
        self._period = PERIOD_S * float(clip.frame_rate)

    def __call__(self, frames: np.ndarray) -> np.ndarray | Future[np.ndarray]:
        """Translates the next frames, `[N, …]`, each in the style of its place, or begins to."""
        places = range(self._next, self._next + len(frames))
        self._next += len(frames)
        return self._translate(frames, [self._path.at(self._position(place)) for place in places])

    def _position(self, place: int) -> float:
        if self._last is not None:
            return place / self._last
        turns = place / self._period
        return 1 - abs(turns % 2 - 1)  # there and back
