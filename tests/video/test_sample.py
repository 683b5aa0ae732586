"""Pictures that stand for a clip: at equal distances, with others between them, and some that follow one another."""

from pathlib import Path

import numpy as np
import pytest

from i2i_rt.errors import MediaError
from i2i_rt.video import sample as sampling
from i2i_rt.video.sample import sample
from tests.video import clips


def numbers(pictures: tuple[np.ndarray, ...]) -> list[int]:
    return [clips.number(picture) for picture in pictures]


def test_frames_of_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "USED", 4)
    monkeypatch.setattr(sampling, "MOTION", 6)
    found = sample(clips.write_clip(tmp_path / "clip.mp4"))
    assert numbers(found.used) == [0, 6, 13, 19]
    assert numbers(found.held_out) == [3, 9, 16]
    assert numbers(found.motion) == [7, 8, 9, 10, 11, 12]


def test_a_short_clip_is_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "FRAMES", 3)
    found = sample(clips.write_clip(tmp_path / "clip.mp4"))
    assert (numbers(found.used), numbers(found.held_out), numbers(found.motion)) == ([0, 2], [1], [0, 1, 2])


def test_frames_have_the_only_size_that_a_model_takes(tmp_path: Path) -> None:
    found = sample(clips.write_clip(tmp_path / "clip.mp4"), fixed=(32, 32))
    assert {picture.shape for part in (found.used, found.held_out, found.motion) for picture in part} == {(32, 32, 3)}


def test_two_frames_are_too_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "FRAMES", 2)
    with pytest.raises(MediaError, match="has 2 pictures that can be read; 3 are needed"):
        sample(clips.write_clip(tmp_path / "clip.mp4"))
