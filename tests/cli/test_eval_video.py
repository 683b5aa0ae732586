"""The verb eval on videos whose scores are known in kind."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from i2i_rt.cli import main
from i2i_rt.video.writer import Encoding, VideoWriter


def write(
    path: Path, change: Callable[[np.ndarray, int], np.ndarray] = lambda frame, number: frame, *, frames: int = 6
) -> str:
    """Writes a pan over a textured picture, each frame changed."""
    generator = np.random.default_rng(0)
    texture = cv2.resize(generator.integers(0, 256, (24, 32, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
    with VideoWriter(path, 96, 128, encoding=Encoding(crf=10)) as writer:
        for number in range(frames):
            writer.write(change(texture[8:104, 2 * number : 2 * number + 128], number), number / 24)
    return str(path)


def test_the_table_shows_the_input_beside_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "ride.mp4")
    flickering = write(tmp_path / "zebra.mp4", lambda frame, number: frame // 2 + np.uint8(30 * (number % 2)))

    assert main(["eval", "video", source, flickering, "--json", str(tmp_path / "scores.json")]) == 0

    printed = capsys.readouterr().out
    for word in ("ride.mp4", "zebra.mp4", "warping error", "tOF", "sharpness", "Warping error alone rewards blur"):
        assert word in printed
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["frames"] == 6
    assert scores["output"]["warping_error"] > 20 > 4 > scores["input"]["warping_error"]
    assert scores["output"]["sharpness"] < scores["input"]["sharpness"]
    assert scores["input"]["tof_px"] == 0


def test_videos_of_different_length_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short, long = write(tmp_path / "short.mp4", frames=4), write(tmp_path / "long.mp4", frames=6)

    for pair in ((short, long), (long, short)):
        assert main(["eval", "video", *pair]) == 0
        assert "only the first 4 frames were compared" in capsys.readouterr().out


def test_a_missing_video_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "video", str(tmp_path / "a.mp4"), "b.mp4"]) == 2

    assert f"there is no file {tmp_path / 'a.mp4'}" in capsys.readouterr().err


def test_eval_without_a_measure_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["eval", "--help"])

    assert "temporal stability" in capsys.readouterr().out
