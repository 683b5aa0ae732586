"""The whole way of a model on real files: photographs, training, export, verification, a translated clip with sound."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main


def write_photographs(folder: Path) -> None:
    """Cuts crops of the photographs that come with scikit-image into trainA/ and trainB/."""
    from PIL import Image
    from skimage import data

    for domain, photograph in (("trainA", data.astronaut()), ("trainB", data.coffee())):
        (folder / domain).mkdir(parents=True)
        for index in range(4):
            crop = photograph[index * 60 : index * 60 + 96, index * 70 : index * 70 + 96]
            Image.fromarray(crop).save(folder / domain / f"{index}.png")


def write_clip(file: Path, frames: int = 25, rate: int = 25) -> None:
    """Writes a moving photograph with one second of a tone."""
    import av
    from skimage import data

    photograph = data.chelsea()
    with av.open(str(file), "w") as container:
        video = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("aac", rate=44100)
        for index in range(frames):
            picture = np.ascontiguousarray(photograph[80:144, 100 + index : 196 + index])
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode())
        wave = (np.sin(np.arange(44100) * 0.06) * 0.2).astype(np.float32)
        for start in range(0, 44100, 1024):
            block = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = 44100, start, Fraction(1, 44100)
            container.mux(sound.encode(block))
        container.mux(sound.encode())


def probe(file: Path) -> tuple[list[float], list[bytes]]:
    """Gives the times of a file's frames in seconds, and the packets of its sound."""
    import av

    with av.open(str(file)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    with av.open(str(file)) as container:
        sound = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    return times, sound


def test_photographs_become_a_translated_clip_with_its_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photographs(tmp_path / "photos")
    write_clip(tmp_path / "clip.mp4")
    run, result = tmp_path / "run", tmp_path / "translated.mp4"
    options = "--width 8 --blocks 2 --discriminator-width 8 --load-size 72 --crop-size 64 --steps 20 --seed 1"
    assert main(["train", "fastcut", "--data", str(tmp_path / "photos"), "-o", str(run), *options.split()]) == 0
    assert f"i2i-rt export {run / 'bundle'}" in capsys.readouterr().out

    assert main(["export", str(run / "bundle")]) == 0
    assert "[✓]" in capsys.readouterr().out
    assert all(record["passed"] for record in Bundle.open(run / "bundle").verification())
    assert main(["verify", str(run / "bundle")]) == 0

    summary = tmp_path / "summary.json"
    arguments = [str(run / "bundle"), str(tmp_path / "clip.mp4"), "-o", str(result), "--json", str(summary)]
    assert main(["translate", *arguments]) == 0
    times, sound = probe(result)
    source_times, source_sound = probe(tmp_path / "clip.mp4")
    assert len(times) == 25
    assert np.allclose(times, source_times, atol=1e-3)
    assert sound == source_sound, "the sound is copied, not encoded again"
    assert json.loads(summary.read_text())
    assert not list(tmp_path.glob("*.part*"))
