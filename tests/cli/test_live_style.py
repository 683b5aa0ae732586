"""Live in a style: from a picture that changes while it runs, on a model of one size, on label maps."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.testing import tiny_bundle
from i2i_rt.video import references
from i2i_rt.video.references import References
from i2i_rt.video.writer import VideoWriter
from tests.fakes import LABELS, LabelSession, StyledSession, label_bundle, stand_in, styled_bundle

pytest.importorskip("av")

SIZE = (16, 24)
RED, BLUE = (200, 40, 40), (40, 40, 200)


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(references, "INTERVAL_S", 0.05)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> StyledSession:
    session = StyledSession()
    stand_in(monkeypatch, session)
    return session


@pytest.fixture
def model(session: StyledSession, tmp_path: Path) -> Bundle:
    return styled_bundle(tmp_path / "model", session)


def picture(path: Path, colour: tuple[int, int, int]) -> Path:
    Image.fromarray(np.broadcast_to(np.array(colour, np.uint8), (*SIZE, 3)).copy()).save(path)
    return path


def clip(path: Path, *, frames: int = 30, colour: tuple[int, int, int] = (90, 90, 90)) -> Path:
    with VideoWriter(path, *SIZE) as writer:
        for index in range(frames):
            writer.write(np.broadcast_to(np.array(colour, np.uint8), (*SIZE, 3)), index / 20, 1 / 20)
    return path


def run(model: Bundle, source: Path, output: Path, *words: object) -> int:
    return main(["live", str(model.path), "--url", str(source), "-o", str(output), *map(str, words)])


def colours(folder: Path) -> np.ndarray:
    """The middle of each picture, RGB `[N, 3]`."""
    return np.stack([cv2.imread(str(file))[8, 12, ::-1] for file in sorted(folder.iterdir())]).astype(int)


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + 20
    while not (result := condition()) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return result


def after_frames(session: StyledSession, act: dict[int, Callable[[], object]]) -> None:
    """Lets something happen when so many frames were translated."""
    translate, count = session._translate, iter(range(10_000))

    def counting(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        act.get(next(count), lambda: None)()
        return translate(**inputs)

    session._translate = counting  # type: ignore[method-assign]


def test_a_reference_that_changes_changes_the_style_and_no_frame_is_lost(
    model: Bundle, session: StyledSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, other = picture(tmp_path / "reference.png", RED), picture(tmp_path / "other.png", BLUE)
    after_frames(
        session,
        {
            4: lambda: reference.write_bytes(other.read_bytes()[:40]),  # half written
            16: lambda: shutil.copy(other, reference),
        },
    )
    assert run(model, clip(tmp_path / "clip.mp4"), tmp_path / "frames", "--reference", reference) == 0
    shown = colours(tmp_path / "frames")
    printed = capsys.readouterr()
    changed = int(np.argmin(abs(shown - BLUE).max(axis=1) >= 8))  # how soon after the file is up to the machine
    assert changed >= 14 and abs(shown[:changed] - RED).max() < 8 and abs(shown[changed:] - BLUE).max() < 8
    assert len(shown) >= 28 and "30 arrived" in printed.out  # a busy machine may lose one by itself
    assert printed.err.count("the style stays as it was") == 1
    assert f"style: from a picture, {reference}" in printed.err


def test_r_and_n_in_the_window_read_again_and_go_on(
    model: Bundle, session: StyledSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "INTERVAL_S", 60)  # only a key makes it look
    red, blue = picture(tmp_path / "red.png", RED), picture(tmp_path / "blue.png", BLUE)
    pressed: Iterator[str] = iter(" " * 6 + "n" + " " * 8 + "n" + " " * 8 + "r")
    monkeypatch.setattr("i2i_rt.cli.live.window_problem", lambda: None)
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "destroyWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "imshow", lambda *_: None)
    monkeypatch.setattr(cv2, "waitKey", lambda *_: ord(next(pressed, " ")))
    after_frames(session, {21: lambda: picture(red, (90, 200, 90))})
    assert run(model, clip(tmp_path / "clip.mp4"), tmp_path / "frames", "--reference", red, blue) == 0
    shown = colours(tmp_path / "frames")
    for place, colour in ((5, RED), (13, BLUE), (21, RED), (-1, (90, 200, 90))):
        assert abs(shown[place] - colour).max() < 8, place


def test_a_broken_picture_is_said_once_and_asked_for_again_is_said_again(tmp_path: Path) -> None:
    said: list[str] = []
    path = picture(tmp_path / "a.png", RED)
    watched = References([path], say=said.append)
    try:
        for content in (b"no picture", b"nor this"):
            path.write_bytes(content)
            time.sleep(0.3)
        assert len(said) == 1 and watched.take() is None
        watched.again()
        assert wait_for(lambda: len(said) == 2)
        picture(path, BLUE)
        taken = wait_for(watched.take)
        assert taken is not None and (taken[1] == BLUE).all() and watched.take() is None
    finally:
        watched.close()


def test_without_a_reference_the_mean_is_shown(
    model: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, clip(tmp_path / "clip.mp4", frames=3), tmp_path / "frames") == 0
    assert "style: the mean; --style, --reference and --seed give others" in capsys.readouterr().err
    assert abs(colours(tmp_path / "frames") - 100).max() < 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["--seed", "1", "--reference", "a.png"], "--reference and --seed both say", id="two"),
        pytest.param(["--reference", "a.png", "gone.png"], "there is no file gone.png", id="missing"),
        pytest.param(["--domain", "cat"], "this model has one domain only", id="domain"),
    ],
)
def test_mistakes_get_a_sentence(
    model: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png", RED)
    assert run(model, tmp_path / "gone.mp4", tmp_path / "frames", *words) == 2
    assert sentence in capsys.readouterr().err


def test_a_system_without_style_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", width=4, blocks=1)
    assert run(bundle, tmp_path / "gone.mp4", tmp_path / "frames", "--seed", 1) == 2
    assert "takes no style: cut has none, or one is baked in; leave --seed out" in capsys.readouterr().err


def test_a_model_of_one_size_sees_every_frame_at_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = StyledSession(fixed=(8, 8))
    stand_in(monkeypatch, session)
    model, source = styled_bundle(tmp_path / "model", session), clip(tmp_path / "clip.mp4", frames=3)
    assert run(model, source, tmp_path / "frames", "--size", "16x16") == 2
    assert "this model takes pictures of 8x8 only; leave --size out" in capsys.readouterr().err
    assert run(model, source, tmp_path / "frames") == 0
    assert "24x16, translated at 8x8, the model's only size" in capsys.readouterr().err
    assert cv2.imread(str(tmp_path / "frames" / "000001.jpg")).shape == (8, 8, 3)


def test_a_camera_of_palette_colours_is_a_label_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    session = LabelSession()
    stand_in(monkeypatch, session)
    model = label_bundle(tmp_path / "model", session)
    source = clip(tmp_path / "clip.mp4", frames=3, colour=LABELS.palette[2])
    assert run(model, source, tmp_path / "frames", "--stabilize", "strong", "--size", "32x32") == 0
    assert {inputs["labels"].shape for _, inputs in session.calls} == {(1, 32, 32)}
    assert (session.calls[-1][1]["labels"] == 2).all()
