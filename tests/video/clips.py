"""Odd and broken videos, made with PyAV: tiny, and each with one property."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av: Any = pytest.importorskip("av")

HEIGHT, WIDTH, FRAMES, RATE = 48, 64, 20, 25
COLOURS = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128)], np.uint8)
BITS = 6  # the frame's number stands below the colours, in black and white squares


def picture(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Four flat patches from left to right, and below them the frame's number in binary."""
    image = COLOURS[np.minimum(np.arange(width) * 4 // width, 3)][None].repeat(height, axis=0)
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        image[height // 2 :, left:right] = 255 if index >> bit & 1 else 0
    return image


def number(image: np.ndarray) -> int:
    """Reads the frame's number back."""
    height, width = image.shape[:2]
    centres = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    return sum(int(image[height * 3 // 4, centre].mean() > 127) << bit for bit, centre in enumerate(centres))


def patches(image: np.ndarray) -> np.ndarray:
    """Gives the colours in the middle of the four patches, `[4, 3]`."""
    height, width = image.shape[:2]
    return image[height // 4, [(2 * patch + 1) * width // 8 for patch in range(4)]].astype(int)


def write_clip(
    path: Path,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (HEIGHT, WIDTH),
    ticks: Sequence[int] | None = None,
    rotation: int = 0,
    aspect: Fraction | None = None,
    sound: Sequence[str] = (),
    sound_delay_s: float = 0.0,
    picture_delay_s: float = 0.0,
    colours: tuple[int, int] | None = None,
    tagged: bool = True,
    format: str | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    make: Callable[[int, int, int], np.ndarray] = picture,
    source_format: str = "rgb24",
) -> Path:
    """Writes a clip of `FRAMES` frames.

    Args:
        path: the file.
        codec: the encoder of the pictures.
        pixel_format: of the encoded pictures.
        size: height and width.
        ticks: the frames' times in ms; None: `RATE` frames a second.
        rotation: stored as a display matrix.
        aspect: the shape of a pixel.
        sound: encoders, one for each track.
        sound_delay_s: when the sound begins.
        picture_delay_s: when the pictures begin.
        colours: matrix (1 = BT.709, 5 = BT.601) and range (1 limited, 2 full).
        tagged: whether they are written down.
        format: the container where the suffix does not say.
        options: of the picture encoder.
        container_options: of the muxer.
        make: gives frame number i of a height and width.
        source_format: the pixel format that `make` gives.
    """
    height, width = size
    with av.open(str(path), "w", format=format, options=container_options or {}) as container:
        base = Fraction(1, 1000) if ticks else Fraction(1, RATE)
        rate = 30 if ticks else RATE
        quality = {"crf": "4"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=rate, options=quality | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        conversion: dict[str, Any] = {}
        if colours:
            conversion = {"dst_colorspace": colours[0], "dst_color_range": colours[1]}
            if tagged:
                stream.codec_context.colorspace, stream.codec_context.color_range = colours
        tracks = [container.add_stream(name, rate=48_000, layout="stereo") for name in sound]
        frames_s = (ticks[-1] / 1000 if ticks else FRAMES / RATE) + 0.04
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(make(index, height, width), format=source_format)
            frame = frame.reformat(format=pixel_format, **conversion)
            if not tagged:
                frame.colorspace, frame.color_range = 2, 0
            frame.pts = (ticks[index] if ticks else index) + round(picture_delay_s / base)
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for track in tracks:
            _write_sound(container, track, frames_s, sound_delay_s)
    return path


def _write_sound(container: Any, track: Any, seconds: float, delay_s: float) -> None:
    rate = 48_000
    times = np.arange(round(seconds * rate)) / rate
    wave = np.stack([np.sin(440 * 2 * np.pi * times), np.sin(660 * 2 * np.pi * times)]) * 0.3
    context = track.codec_context
    resampler = av.AudioResampler(context.format.name, "stereo", rate)
    for start in range(0, wave.shape[1], 1024):
        chunk = np.ascontiguousarray(wave[:, start : start + 1024].astype(np.float32))
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="stereo")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = start + round(delay_s * rate)
        for piece in resampler.resample(frame):
            container.mux(track.encode(piece))
    container.mux(track.encode(None))


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    """Decodes a file with PyAV: the time and the RGB picture of each frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        # swscale's quick way is wrong by up to 3 levels
        flags = av.video.reformatter.Interpolation
        exact = int(flags.BILINEAR | flags.ACCURATE_RND | flags.FULL_CHR_H_INT)
        frames = container.decode(stream)
        return [(frame.time, frame.to_ndarray(format="rgb24", interpolation=exact)) for frame in frames]


def sound_packets(path: Path, track: int = 0) -> list[bytes]:
    """Gives the compressed sound as it stands in the file."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[track]) if packet.size]


def with_edit_list(path: Path, output: Path, start_s: float) -> Path:
    """Cuts the beginning off by an edit list, as phones and editors do: the packets before it stay in the file."""
    with av.open(str(path)) as source, av.open(str(output), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            shift = round(start_s / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    return output


def music_with_cover(path: Path) -> Path:
    """Writes an MP3 file with a cover picture, which containers count as a video stream."""
    jpeg = av.CodecContext.create("mjpeg", "w")
    jpeg.width, jpeg.height, jpeg.pix_fmt, jpeg.time_base = 32, 32, "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, np.uint8), format="rgb24").reformat(format="yuvj420p")
    cover = b"".join(bytes(packet) for packet in [*jpeg.encode(frame), *jpeg.encode(None)])
    body = b"\0image/jpeg\0\x03\0" + cover
    content = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes(len(content) >> shift & 127 for shift in (21, 14, 7, 0))
    music = sound_only(path.with_suffix(".plain.mp3"), "libmp3lame")
    path.write_bytes(b"ID3\x03\0\0" + size + content + music.read_bytes())
    return path


def sound_only(path: Path, codec: str) -> Path:
    with av.open(str(path), "w") as container:
        _write_sound(container, container.add_stream(codec, rate=48_000, layout="stereo"), 0.5, 0.0)
    return path
