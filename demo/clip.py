"""Makes the demo's clip: ten seconds of pan and zoom over a held-out photograph, with chords.

python -m demo.clip demo/output/clip.mp4
"""

import argparse
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from demo.photos import photograph

SIDE_PX = 256
FRAMES_PER_SECOND = 24
SECONDS = 10
SAMPLE_RATE_HZ = 48_000
# F major 7, G 6, E minor 7, A minor 7, in semitones from the A of 440 Hz
CHORDS = ((-16, -9, -5, 0), (-14, -7, -2, 2), (-17, -10, -5, -2), (-12, -9, -5, 0))
# centre x, centre y and side of the view, in pixels of the photograph, at equal distances in time
VIEWS = ((200, 200, 390), (330, 170, 270), (380, 240, 260), (300, 200, 390))


def views(frames: int) -> np.ndarray:
    """Gives the camera's path `[frames, 3]`: it slows down at every view and goes on to the next."""
    position = np.linspace(0, len(VIEWS) - 1, frames)
    start = np.minimum(position.astype(int), len(VIEWS) - 2)
    part = position - start
    eased = (part * part * (3 - 2 * part))[:, None]
    stops = np.asarray(VIEWS, np.float64)
    return stops[start] * (1 - eased) + stops[start + 1] * eased


def frames(count: int = FRAMES_PER_SECOND * SECONDS) -> Iterator[np.ndarray]:
    """Yields the clip's frames `[256, 256, 3]`, uint8 RGB."""
    image = photograph("coffee")
    for x, y, side in views(count):
        scale = SIDE_PX / side
        offset = SIDE_PX / 2 - scale * np.array([x, y])
        matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
        # from a picture of about the clip's own scale: bilinear sampling alone would flicker where it shrinks
        soft = cv2.GaussianBlur(image, (0, 0), max(0.5 / scale - 0.4, 0.05))
        yield cv2.warpAffine(soft, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def chords(seconds: float = SECONDS) -> np.ndarray:
    """Gives plucked chords, `[2, samples]` float32 in [-1, 1], at 48 kHz."""
    time = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    sound = np.zeros((2, len(time)))
    each = seconds / len(CHORDS)
    for number, chord in enumerate(CHORDS):
        for order, semitones in enumerate(chord):
            since = time - number * each - 0.12 * order  # one string after the other
            heard = np.maximum(since, 0)
            pitch = 440 * 2 ** (semitones / 12)
            tone = sum(np.sin(2 * np.pi * pitch * k * heard) * np.exp(-(1 + k) * heard) / k**1.5 for k in range(1, 6))
            tone *= np.minimum(heard / 0.005, 1)
            sound += np.outer([1 - 0.15 * order, 0.55 + 0.15 * order], tone)
    fade = np.minimum((seconds - time) / 0.5, 1)
    return (0.9 * fade * sound / np.abs(sound).max()).astype(np.float32)


def write(path: Path, seconds: float = SECONDS) -> None:
    """Writes the clip as H.264 and AAC; the file has its name once it is complete."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "16", "preset": "veryfast"})
        video.width = video.height = SIDE_PX
        video.pix_fmt = "yuv420p"
        colours, reformat = video.codec_context, av.video.reformatter
        colours.colorspace = colours.color_primaries = colours.color_trc = 1  # BT.709
        colours.color_range = 1  # limited
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo")
        for image in frames(round(seconds * FRAMES_PER_SECOND)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=reformat.Colorspace.ITU709,
                dst_color_range=reformat.ColorRange.MPEG,
            )
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = chords(seconds)
        for start in range(0, sound.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[:, start : start + 1024]), format="fltp", layout="stereo"
            )
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE_HZ, start, Fraction(1, SAMPLE_RATE_HZ)
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    os.replace(part, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the MP4 to write")
    arguments = parser.parse_args()
    write(arguments.output)
    print(f"wrote {arguments.output}: {SECONDS} s, {FRAMES_PER_SECOND} frames a second, with sound")


if __name__ == "__main__":
    main()
