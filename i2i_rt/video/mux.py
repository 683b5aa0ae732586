"""Puts encoded pictures and the source's sound into one file, by packets: nothing is compressed a second time."""

import heapq
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from i2i_rt.errors import MediaError
from i2i_rt.video.probe import Clip, load_av, open_input
from i2i_rt.video.writer import TICKS_PER_SECOND, Segment

MP4_SOUND = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "alac"})
# container's name -> the sound codecs that it may hold; None: all
CONTAINERS: dict[str, tuple[str, frozenset[str] | None]] = {
    ".mp4": ("mp4", MP4_SOUND),
    ".m4v": ("mp4", MP4_SOUND),
    ".mov": ("mov", MP4_SOUND - {"opus", "flac"} | {"pcm_s16le", "pcm_s16be", "pcm_s24le"}),
    ".mkv": ("matroska", None),
}

MOST_REORDERED = 16  # frames of H.264 between decoding and showing

# Sound that starts this much before the first frame is meant to be heard; less is the padding of sound encoders.
LEAD_S = 0.1


@dataclass(frozen=True)
class Sound:
    """What became of the sound tracks, such as "aac, copied" for each, and what went wrong with them."""

    tracks: tuple[str, ...] = ()
    problem: str | None = None


def check_output(path: Path) -> None:
    """Raises `MediaError` where a video cannot be written under such a name."""
    if path.suffix.lower() not in CONTAINERS:
        raise MediaError(f"{path} has the suffix {path.suffix!r}; videos are written as {', '.join(CONTAINERS)}")


def join(segments: Sequence[Segment], output: Path, *, clip: Clip | None = None, until_s: float | None = None) -> Sound:
    """Joins segments into `output`, with the sound of `clip`; the name appears when the file is complete.

    Args:
        segments: what `FragmentWriter` wrote, in order.
        output: the file; its suffix says which container.
        clip: where the sound comes from.
        until_s: sound after this time, counted from the first frame, is left out.

    Raises:
        MediaError: where the file cannot be written.
    """
    av = load_av()
    check_output(output)
    temporary = output.with_name(f".{output.name}.joined.part")
    problem = None
    # sound that the container refuses in spite of its codec's name is compressed anew, and left out at the last
    for sound in ("copy", "encode", "drop") if clip is not None and clip.tracks else ("drop",):
        try:
            tracks = _write(segments, temporary, output.suffix, clip if sound != "drop" else None, sound, until_s)
            os.replace(temporary, output)
            return Sound(tuple(tracks), problem)
        except (av.FFmpegError, OSError, ValueError) as error:
            if sound == "drop":
                raise MediaError(f"{output} cannot be written: {getattr(error, 'strerror', None) or error}") from error
            reason = getattr(error, "strerror", None) or error
            problem = f"the sound could not be {'copied' if sound == 'copy' else 'kept'}: {reason}"
        finally:
            temporary.unlink(missing_ok=True)
    raise AssertionError("the last way either returns or raises")


def _write(
    segments: Sequence[Segment], file: Path, suffix: str, clip: Clip | None, sound: str, until_s: float | None
) -> list[str]:
    av = load_av()
    container_format, allowed = CONTAINERS[suffix.lower()]
    options = {"movflags": "faststart"} if container_format != "matroska" else {}
    with ExitStack() as stack:
        target = stack.enter_context(av.open(f"file:{os.fspath(file)}", "w", format=container_format, options=options))
        first = stack.enter_context(open_input(segments[0].path))
        pictures = target.add_stream_from_template(first.streams.video[0])
        lead = 0.0
        tracks: list[_Track] = []
        if clip is not None:
            source = stack.enter_context(open_input(clip.path))
            starts = [track.start_s for track in clip.tracks]
            lead = clip.start_s - min(starts) if min(starts) < clip.start_s - LEAD_S else 0.0
            tracks = [
                _Track(
                    stream,
                    target,
                    keep=sound == "copy" and (allowed is None or stream.codec_context.codec.canonical_name in allowed),
                )
                for stream in source.streams.audio
                if stream.codec_context is not None
            ]
            shift = clip.start_s - lead
            packets: Iterator[Any] = heapq.merge(
                _pictures(segments, pictures, lead), _sound(source, tracks, shift, until_s), key=lambda entry: entry[0]
            )
        else:
            packets = _pictures(segments, pictures, lead)
        for _, packet in packets:
            target.mux(packet)
    return [track.result for track in tracks]


def _pictures(segments: Sequence[Segment], stream: Any, lead_s: float) -> Iterator[tuple[float, Any]]:
    """Gives the packets of all segments on one clock, with the time by which they are ordered."""
    held: deque[Any] = deque()
    delay = 0  # of showing a frame after decoding it
    for packet in _on_one_clock(segments, round(lead_s * TICKS_PER_SECOND)):
        packet.stream = stream
        if held:
            packet.dts = max(packet.dts, held[-1].dts + 1)  # where two segments of varying frame rate meet
        else:
            delay = packet.pts - packet.dts
        held.append(packet)
        if len(held) > MOST_REORDERED:
            yield held[0].dts / TICKS_PER_SECOND, held.popleft()
    # MP4 reckons the length of the track from the packet that is decoded last, and that of its presentation from
    # the one that is shown last
    end = segments[-1].end_ticks + round(lead_s * TICKS_PER_SECOND)
    shown_last = max(held, key=lambda packet: packet.pts)
    shown_last.duration = end - shown_last.pts
    held[-1].duration = end - delay - held[-1].dts
    yield from ((packet.dts / TICKS_PER_SECOND, packet) for packet in held)


def _on_one_clock(segments: Sequence[Segment], lead: int) -> Iterator[Any]:
    for segment in segments:
        with open_input(segment.path) as container:
            source = container.streams.video[0]
            to_ticks = Fraction(source.time_base) * TICKS_PER_SECOND
            begin: int | None = None
            for packet in container.demux(source):
                if packet.dts is None:  # marks the end
                    continue
                if begin is None:  # the first packet is the first frame, but a fragmented file starts it late
                    begin = segment.first_ticks + lead - round(packet.pts * to_ticks)
                packet.pts = round(packet.pts * to_ticks) + begin
                packet.dts = round(packet.dts * to_ticks) + begin
                packet.duration = round((packet.duration or 0) * to_ticks)
                packet.time_base = Fraction(1, TICKS_PER_SECOND)
                yield packet


class _Track:
    """A sound track on its way: copied, or decoded and compressed to AAC."""

    def __init__(self, source: Any, target: Any, *, keep: bool) -> None:
        self.source = source
        self.keep = keep
        context, codec = source.codec_context, source.codec_context.codec.canonical_name
        if keep:
            self.stream = target.add_stream_from_template(source)
            self.result = f"{codec}, copied"
        else:
            # PCM may not say which speakers its channels are for
            layout = context.layout.name if context.layout.name in ("mono", "stereo", "5.1", "7.1") else None
            layout = layout or ("mono" if context.channels == 1 else "stereo")
            rate = context.sample_rate if context.sample_rate in AAC_RATES else 48_000
            self.stream = target.add_stream("aac", rate=rate, layout=layout)
            self.resampler = load_av().AudioResampler("fltp", layout, rate)
            self.result = f"aac, made from {codec}"
        if "language" in source.metadata:
            self.stream.metadata["language"] = source.metadata["language"]


AAC_RATES = frozenset({8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000})


def _sound(container: Any, tracks: list[_Track], shift_s: float, until_s: float | None) -> Iterator[tuple[float, Any]]:
    """Gives the packets of the sound tracks, `shift_s` earlier than in their file."""
    av = load_av()
    by_index = {track.source.index: track for track in tracks}
    time = 0.0
    packets = container.demux(*(track.source for track in tracks))
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):  # a file that is cut off still has the sound up to there
            return
        track = by_index[packet.stream.index]
        base = Fraction(track.source.time_base)
        shift = round(shift_s / base)
        if packet.dts is not None:
            time = float(packet.dts * base) - shift_s
            if until_s is not None and time >= until_s:
                continue
        if track.keep:
            if packet.dts is None:
                continue
            packet.dts -= shift
            packet.pts = packet.dts if packet.pts is None else packet.pts - shift
            packet.stream = track.stream
            yield time, packet
        else:
            yield from ((time, encoded) for encoded in _encoded(packet, track, shift))


def _encoded(packet: Any, track: _Track, shift: int) -> Iterator[Any]:
    """Decodes a packet, compresses it to AAC; the last packet, which is empty, brings out what is held back."""
    av = load_av()
    try:
        frames = packet.decode()
    except av.FFmpegError:
        return  # a damaged piece: silence, as in a player
    for frame in frames:
        if frame.pts is not None:
            frame.pts -= shift
        for piece in track.resampler.resample(frame):
            yield from track.stream.encode(piece)
    if packet.dts is None:
        for piece in track.resampler.resample(None):
            yield from track.stream.encode(piece)
        yield from track.stream.encode(None)
