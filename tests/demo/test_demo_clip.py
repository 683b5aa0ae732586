from pathlib import Path

import numpy as np
import pytest

from demo import clip


def test_clip_has_all_frames_and_as_much_sound(tmp_path: Path) -> None:
    import av

    clip.write(tmp_path / "clip.mp4", seconds=1)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(tmp_path / "clip.mp4")) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert len(images) == clip.FRAMES_PER_SECOND
    assert images[0].shape == (clip.SIDE_PX, clip.SIDE_PX, 3)
    assert sound.shape[1] == pytest.approx(clip.SAMPLE_RATE_HZ, abs=2048)
    assert np.abs(sound).max() > 0.1
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_camera_stays_inside_the_photograph() -> None:
    height, width = clip.photograph("coffee").shape[:2]
    for x, y, side in clip.views(240):
        assert side / 2 <= x <= width - side / 2
        assert side / 2 <= y <= height - side / 2


def test_camera_moves_without_jumps() -> None:
    path = clip.views(240)
    assert np.abs(np.diff(path, axis=0)).max() < 4  # pixels of the photograph from one frame to the next
    assert np.ptp(path, axis=0).min() > 50


def test_chords_are_loud_without_clipping() -> None:
    sound = clip.chords(2)
    assert sound.shape == (2, 2 * clip.SAMPLE_RATE_HZ)
    assert 0.5 < np.abs(sound).max() <= 1
    assert np.abs(sound[:, -1]).max() < 0.01
