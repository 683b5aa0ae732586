"""H.264 with each frame's own time, written so that a crash loses at most the last fragment.

Frames go into fragmented MP4, which is readable up to the last complete fragment. `mux.join` makes the final file of
it. Colours are BT.709 limited, and tagged: players guess untagged ones by the size of the picture.
"""

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from i2i_rt.errors import MediaError
from i2i_rt.video.probe import load_av

TICKS_PER_SECOND = 90_000  # holds the frame times of 23.976, 24, 25, 29.97, 30, 50 and 60 frames a second exactly
FRAMES_PER_FRAGMENT = 30

Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """How frames are compressed: x264's constant rate factor (0 lossless … 51 worst) and its preset."""

    crf: int = 18
    preset: Preset = "veryfast"

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise MediaError(f"crf is {self.crf}; it must be from 0 (best) to 51 (smallest)")
        if self.preset not in get_args(Preset):
            raise MediaError(f"preset is {self.preset!r}; it must be one of {', '.join(get_args(Preset))}")


@dataclass(frozen=True)
class Segment:
    """A finished piece of a video: its file, and when its first frame begins and its last one ends, in ticks."""

    path: Path
    first_ticks: int
    end_ticks: int


class FragmentWriter:
    """Writes one fragmented MP4 of frames of one size.

    Sides that are odd are made even by repeating the last row or column: H.264's usual 4:2:0 has no odd sizes, and
    4:4:4, which has, does not play everywhere.

    Attributes:
        segment: what was written so far; the file itself starts at 0, and does not say when its last frame ends.
        frames: how many frames were written.
    """

    def __init__(
        self,
        path: Path,
        height: int,
        width: int,
        *,
        encoding: Encoding | None = None,
        sample_aspect_ratio: Fraction = Fraction(1),
    ) -> None:
        av = load_av()
        encoding = encoding or Encoding()
        self.segment = Segment(path, 0, 0)
        self.frames = 0
        self._last_ticks = -1
        self._shape = (height, width, 3)
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))
        flags = av.video.reformatter.Interpolation
        self._interpolation = int(flags.AREA | flags.ACCURATE_RND | flags.FULL_CHR_H_INP)
        self._reformatter = av.video.reformatter.VideoReformatter()
        try:
            self._container = av.open(
                f"file:{os.fspath(path)}",
                "w",
                format="mp4",
                options={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
            )
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{path} cannot be written: {error.strerror or error}") from error
        stream = self._container.add_stream(
            "libx264", rate=30, options={"crf": str(encoding.crf), "preset": encoding.preset}
        )
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS_PER_SECOND)
        context.gop_size = FRAMES_PER_FRAGMENT
        context.sample_aspect_ratio = sample_aspect_ratio
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # limited
        self._stream = stream

    def write(self, image: np.ndarray, time_s: float, duration_s: float | None = None) -> None:
        """Writes a frame `[H, W, 3]` uint8 RGB that is shown at `time_s`; times must grow.

        Raises:
            MediaError: where the frame has another size, or the disk is full.
        """
        av = load_av()
        if image.shape != self._shape:
            raise MediaError(f"a frame has shape {list(image.shape)}; this video takes {list(self._shape)}")
        ticks = max(round(time_s * TICKS_PER_SECOND), self._last_ticks + 1)
        first_ticks = self.segment.first_ticks if self.frames else ticks
        # a frame whose end is not known is shown as long as the one before it
        step = round(duration_s * TICKS_PER_SECOND) if duration_s else ticks - self._last_ticks if self.frames else 1
        self.segment = Segment(self.segment.path, first_ticks, ticks + max(step, 1))
        if any(map(any, self._padding)):
            image = np.pad(image, self._padding, mode="edge")
        reformat = av.video.reformatter
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"),
            format="yuv420p",
            dst_colorspace=reformat.Colorspace.ITU709,
            dst_color_range=reformat.ColorRange.MPEG,
            interpolation=self._interpolation,
        )
        frame.pts = ticks - first_ticks
        frame.time_base = Fraction(1, TICKS_PER_SECOND)
        self._mux(frame)
        self._last_ticks = ticks
        self.frames += 1

    def close(self) -> None:
        """Writes what the encoder still holds and closes the file."""
        if self._container is None:
            return
        try:
            if self.frames:
                self._mux(None)
        finally:
            container, self._container = self._container, None
            container.close()

    def _mux(self, frame: Any) -> None:
        av = load_av()
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{self.segment.path} cannot be written: {error.strerror or error}") from error


class VideoWriter:
    """Writes a silent video: to `.<name>.part` while it grows, and under its own name once it is complete.

    with VideoWriter(Path("out.mp4"), 256, 256) as writer:
        writer.write(frame, time_s)  # times may start anywhere
    """

    def __init__(
        self,
        path: Path,
        height: int,
        width: int,
        *,
        encoding: Encoding | None = None,
        sample_aspect_ratio: Fraction = Fraction(1),
    ) -> None:
        self.path = path
        self._fragments = FragmentWriter(
            path.with_name(f".{path.name}.part"),
            height,
            width,
            encoding=encoding,
            sample_aspect_ratio=sample_aspect_ratio,
        )

    @property
    def frames(self) -> int:
        return self._fragments.frames

    def write(self, image: np.ndarray, time_s: float, duration_s: float | None = None) -> None:
        """Writes a frame `[H, W, 3]` uint8 RGB that is shown at `time_s`; times must grow."""
        self._fragments.write(image, time_s, duration_s)

    def close(self) -> None:
        """Completes the file. Without a frame there is none."""
        from i2i_rt.video.mux import join

        self._fragments.close()
        if self.frames:
            segment = self._fragments.segment
            first = segment.first_ticks  # the file begins with its first frame
            join([Segment(segment.path, 0, segment.end_ticks - first)], self.path)
        self._fragments.segment.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
