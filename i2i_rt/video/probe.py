"""What a video file holds: pictures, times, colour, sound. Asked of PyAV, because OpenCV hides most of it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from i2i_rt.errors import MediaError, MissingDependencyError

# values of AVColorSpace, AVColorRange and AVColorTransferCharacteristic (libavutil/pixfmt.h)
MATRICES = {0: "RGB", 1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 10: "BT.2020"}
FULL_RANGE = 2
PROGRESSIVE = 1  # of AVFieldOrder: 0 is unknown, what is larger has fields
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
HD_HEIGHT = 720  # from here on players take untagged colours for BT.709


@dataclass(frozen=True)
class Track:
    """A sound track: its codec, and when it begins, on the file's clock."""

    codec: str
    start_s: float


@dataclass(frozen=True)
class Clip:
    """What is known of a video before its frames are read. Sizes are those of the upright picture."""

    path: Path
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation: int  # degrees, clockwise, that make the stored picture upright
    sample_aspect_ratio: Fraction  # of the upright picture: width to height of a pixel
    frame_rate: Fraction
    start_s: float  # of the first frame, on the file's clock
    duration_s: float | None  # of the pictures; None where the file does not say
    duration_is_rough: bool  # it is stated for pictures and sound together
    indexed_frames: int | None  # listed in the index of an MP4 file; other formats have none that is complete
    has_times: bool
    matrix: str | None  # None: the file does not say
    full_range: bool
    transfer: str | None  # the name of an HDR transfer
    bits: int
    has_alpha: bool
    interlaced: bool
    stream: int
    leading_stream: bool  # no other picture stream comes before it
    tracks: tuple[Track, ...]
    subtitles: int

    @property
    def expected_frames(self) -> int | None:
        """An estimate for progress bars; the counts that containers state are not to be trusted."""
        if self.indexed_frames is not None:
            return self.indexed_frames
        if self.duration_s is None:
            return None
        return max(round(self.duration_s * self.frame_rate), 1)

    @property
    def colour(self) -> str:
        """The matrix and range in words, such as "BT.601 limited, untagged"."""
        name = self.matrix or ("BT.709" if self.height >= HD_HEIGHT else "BT.601")
        range_ = "" if name in ("RGB", "grey") else " full" if self.full_range else " limited"
        return name + range_ + ("" if self.matrix else ", untagged")


def load_av() -> Any:
    """Imports PyAV.

    Raises:
        MissingDependencyError: where it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("av", "video", "reading and writing videos") from error
    return av


def open_input(path: Path) -> Any:
    """Opens a media file for reading, of local files only: a playlist must not make us fetch addresses.

    Raises:
        MediaError: where there is no such file, or it is empty or no media file.
    """
    av = load_av()
    if path.is_dir():
        raise MediaError(f"{path} is a folder, not a video")
    if not path.is_file():
        raise MediaError(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty")
    # for titles that are not UTF-8; PyAV 19 does not ask any more
    titles = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        # the prefix keeps names such as "a:b.mp4" from being read as addresses
        return av.open(f"file:{os.fspath(path)}", options={"protocol_whitelist": "file"}, **titles)
    except av.FFmpegError as error:
        raise MediaError(
            f"{path} is no video that can be read: {error.strerror or error}; "
            "it may be of another type, cut off, or damaged"
        ) from error


def probe(path: str | Path) -> Clip:
    """Looks at a video file and decodes its first frame.

    Raises:
        MediaError: where the file cannot be read, has no moving picture, or no frame of it can be decoded.
        MissingDependencyError: where PyAV is not installed.
    """
    path = Path(path)
    with open_input(path) as container:
        stream = _moving_pictures(path, container)
        frame = next(decoded(container, stream), None)
        if frame is None:
            raise MediaError(f"{path} has no frame that can be decoded; it is cut off or damaged")
        rotation = -frame.rotation % 360
        width, height = frame.width, frame.height
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if rotation in (90, 270):
            width, height, aspect = height, width, 1 / aspect
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        base = Fraction(stream.time_base or 0)
        has_times = frame.pts is not None
        own_duration = stream.duration is not None or "DURATION" in stream.metadata
        start = float(frame.pts * base) if has_times else 0.0
        return Clip(
            path=path,
            codec=stream.codec_context.codec.canonical_name,
            pixel_format=frame.format.name,
            width=width,
            height=height,
            rotation=rotation,
            sample_aspect_ratio=aspect,
            frame_rate=Fraction(rate) if 0 < rate <= 1000 else Fraction(25),
            start_s=start,
            duration_s=_duration(container, stream, base, start) if has_times else None,
            duration_is_rough=not own_duration and len(container.streams.audio) > 0,
            indexed_frames=_indexed_frames(container, stream),
            has_times=has_times,
            matrix=_matrix(frame),
            full_range=frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj"),
            transfer=HDR_TRANSFERS.get(frame.color_trc),
            bits=max(component.bits for component in frame.format.components),
            has_alpha=_is_transparent(frame),
            interlaced=frame.interlaced_frame or stream.codec_context.field_order > PROGRESSIVE,
            stream=stream.index,
            leading_stream=stream.index == container.streams.video[0].index,
            tracks=tuple(
                Track(track.codec_context.codec.canonical_name, float((track.start_time or 0) * (track.time_base or 0)))
                for track in container.streams.audio
                if track.codec_context is not None
            ),
            subtitles=len(container.streams.subtitles),
        )


def _matrix(frame: Any) -> str | None:
    if frame.format.name.startswith(("gray", "mono")):
        return "grey"
    return "RGB" if frame.format.is_rgb else MATRICES.get(frame.colorspace)


def _is_transparent(frame: Any) -> bool:
    """Says whether a frame shows any transparency: some formats always have a channel for it, mostly opaque."""
    if not any(component.is_alpha for component in frame.format.components):
        return False
    return bool((frame.to_ndarray(format="rgba")[..., 3] < 255).any())


def _moving_pictures(path: Path, container: Any) -> Any:
    """Gives the first picture stream that is no cover art."""
    av = load_av()
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context is not None:
            return stream
    if container.streams.video:
        raise MediaError(f"{path} is sound with a cover picture; there is no video in it")
    if container.streams.audio:
        raise MediaError(f"{path} holds sound only; there is no video in it")
    raise MediaError(f"{path} holds no video")


def _duration(container: Any, stream: Any, base: Fraction, start_s: float) -> float | None:
    """Gives how long the pictures last, in seconds.

    The shorter of the stream's and the container's statement: a stream's ignores edit lists, and a container's
    covers sound that goes on after the last frame.
    """
    stated = []
    if stream.duration is not None:
        stated.append(float(stream.duration * base))
    elif "DURATION" in stream.metadata:  # Matroska: "00:00:02.066000000", the end on the file's clock
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        stated.append(int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start_s)
    if container.duration is not None:
        stated.append(container.duration / 1e6)
    return min(stated) if stated and min(stated) > 0 else None


def _indexed_frames(container: Any, stream: Any) -> int | None:
    if "mp4" not in container.format.name:
        return None
    # what an edit list leaves out is decoded but not shown
    return sum(not entry.is_discard for entry in stream.index_entries) or None


def decoded(container: Any, stream: Any, faults: list[str] | None = None) -> Iterator[Any]:
    """Gives every frame that can be decoded; what fails is added to `faults` and the next packet is tried."""
    av = load_av()
    stream.thread_type = "AUTO"
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:  # the rest of the file cannot be read
            if faults is not None:
                faults.append(str(error))
            return
        try:
            yield from packet.decode()
        except av.FFmpegError as error:
            if faults is not None:
                faults.append(str(error))
