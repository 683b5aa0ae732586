"""When each frame of a video is shown, and where decoding can begin: read from the file without decoding it."""

from dataclasses import dataclass

import numpy as np

from i2i_rt.video.probe import Clip, load_av, open_input
from i2i_rt.video.reader import Place


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a clip in the order in which they are shown.

    Attributes:
        times_s: float64 `[frames]`, counted from the first frame.
        keys: int64, the frames that are decoded without those before them; the first one is among them.
    """

    times_s: np.ndarray
    keys: np.ndarray

    def distance(self, frame: int) -> int:
        """Gives how many frames lie between a frame and the key frame before it: what beginning there costs."""
        return frame - int(self.keys[np.searchsorted(self.keys, frame, side="right") - 1])

    def place(self, frame: int) -> Place:
        """Gives a frame, of the second and all later ones, as a reader finds it."""
        tolerance_s = float(np.diff(self.times_s).min()) / 2
        return Place(frame, float(self.times_s[frame]), float(self.times_s[frame - 1]), tolerance_s)


def index_of(clip: Clip) -> FrameIndex | None:
    """Reads the index of a clip; None where its packets do not say it all, so that only decoding from the start does.

    Raises:
        MediaError: where the file cannot be read.
    """
    if not clip.has_times or clip.interlaced:  # a field may have a packet of its own
        return None
    av = load_av()
    entries: list[tuple[int, bool]] = []
    with open_input(clip.path) as container:
        stream = container.streams[clip.stream]
        base = float(stream.time_base or 0)
        try:
            for packet in container.demux(stream):
                if not packet.size:  # marks the end
                    continue
                if packet.pts is None or packet.is_corrupt or packet.is_discard:
                    return None
                entries.append((packet.pts, packet.is_keyframe))
        except av.FFmpegError:  # cut off
            return None
    entries.sort()
    times_s = np.array([pts for pts, _ in entries]) * base - clip.start_s
    keys = np.flatnonzero([is_key for _, is_key in entries])
    if len(entries) < 2 or abs(times_s[0]) > base / 2 or (np.diff(times_s) <= 0).any() or keys[:1].tolist() != [0]:
        return None
    return FrameIndex(times_s, keys)
