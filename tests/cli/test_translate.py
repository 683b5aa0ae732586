"""The verb translate on images, folders, patterns and videos, as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.cli import main
from i2i_rt.testing import FakeSession, tiny_bundle
from i2i_rt.translator import Translator
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader
from i2i_rt.video.writer import VideoWriter

SIZE = (40, 56)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("model") / "bundle").path)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """Stands in for the bundle's network, and inverts."""
    session = FakeSession()
    monkeypatch.setattr(Translator, "load", lambda path, **options: Translator(session, "a stand-in"))
    return session


def image(path: Path, level: int = 60, size: tuple[int, int] = SIZE) -> Path:
    Image.fromarray(np.full((*size, 3), level, np.uint8)).save(path)
    return path


def video(path: Path, frames: int = 12) -> Path:
    pytest.importorskip("av")
    with VideoWriter(path, *SIZE) as writer:
        for index in range(frames):
            writer.write(np.full((*SIZE, 3), 20 * index, np.uint8), index / 25, 1 / 25)
    return path


def levels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_an_image_is_translated(
    model: str, session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["translate", model, str(image(tmp_path / "a.png")), "-o", str(tmp_path / "b.png")]) == 0
    assert (levels(tmp_path / "b.png") == 195).all()
    said = capsys.readouterr()
    assert said.out.startswith(f"{tmp_path}/b.png: 40x56, ")
    assert "a stand-in" in said.err


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (7, 5), (33, 47)], ids=str)
def test_images_of_any_size_go_through_a_real_network(model: str, tmp_path: Path, size: tuple[int, int]) -> None:
    words = ["translate", model, str(image(tmp_path / "a.png", size=size)), "-o", str(tmp_path / "b.png")]
    assert main([*words, "--backend", "torch"]) == 0
    assert levels(tmp_path / "b.png").shape == (*size, 3)


def test_a_video_is_translated_and_summed_up(
    model: str, session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output, summary = video(tmp_path / "a.mp4"), tmp_path / "b.mp4", tmp_path / "s.json"
    assert main(["translate", model, str(source), "-o", str(output), "--batch", "4", "--json", str(summary)]) == 0
    after = [frame.image for frame in FrameReader(probe(output))]
    assert [round(frame.mean()) for frame in after] == pytest.approx([255 - 20 * index for index in range(12)], abs=2)

    said = capsys.readouterr().out
    assert f"{output}: 12 frames, 0.48 s, 40x56" in said
    assert "kept     12 frames in order, each at its time (25 frames/s)" in said
    assert "changed  no sound: the input has none" in said
    assert all(stage in said for stage in ("decode", "prepare", "infer", "write", "p50 ms", "p99 ms"))
    assert f"next: i2i-rt eval video {source} {output}" in said

    record = json.loads(summary.read_text())["videos"][0]
    assert (record["frames"], record["interrupted"], record["output"]) == (12, False, str(output))
    assert set(record["stages"]["infer"]) == {"total_s", "p50_ms", "p90_ms", "p99_ms"}


def test_a_folder_goes_on_after_a_bad_file(
    model: str, session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    image(folder / "a.png"), image(folder / "c.webp"), image(folder / "d.gif"), video(folder / "e.mkv")
    (folder / "b.png").write_text("no picture")
    (folder / "notes.txt").write_text("hello")
    assert main(["translate", model, str(folder), "-o", str(tmp_path / "out")]) == 1
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.png", "c.webp", "d.gif.png", "e.mp4"]
    said = capsys.readouterr()
    assert "3 images and 1 video written in" in said.out and "neither image nor video: 1" in said.out
    assert f"{folder}/b.png is no image that can be read" in said.err
    assert "1 of 5 could not be translated" in said.err


def test_a_pattern_takes_what_matches(model: str, session: FakeSession, tmp_path: Path) -> None:
    for name in ("x1.png", "x2.png", "y1.png"):
        image(tmp_path / name)
    assert main(["translate", model, str(tmp_path / "x*.png"), "-o", str(tmp_path / "out")]) == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["x1.png", "x2.png"]


def test_a_name_with_brackets_is_a_file_first(model: str, session: FakeSession, tmp_path: Path) -> None:
    source = image(tmp_path / "shot[1].png")
    assert main(["translate", model, str(source), "-o", str(tmp_path / "out.png")]) == 0


def test_resume_leaves_out_what_a_folder_s_earlier_run_did(
    model: str, session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in "abc":
        image(folder / f"{name}.png")
    main(["translate", model, str(folder), "-o", str(output)])
    (output / "b.png").unlink()
    session.calls.clear()
    assert main(["translate", model, str(folder), "-o", str(output), "--resume"]) == 0
    assert len(session.calls) == 1 and (output / "b.png").exists()
    assert "done by an earlier run: 2" in capsys.readouterr().out


def test_size_compare_and_reduction(
    model: str, session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = image(tmp_path / "a.png"), tmp_path / "b.png"
    assert main(["translate", model, str(source), "-o", str(output), "--size", "16x24", "--compare"]) == 0
    assert levels(output).shape == (16, 48, 3)
    assert (levels(output)[:, :24] == 60).all() and (levels(output)[:, 24:] == 195).all()
    assert main(["translate", model, str(source), "-o", str(output), "--max-pixels", "560"]) == 0
    assert levels(output).shape == (20, 28, 3)
    assert "size 40x56 became 20x28 (it may have 560 pixels; see --max-pixels)" in capsys.readouterr().out


def test_stabilised_videos_keep_every_frame(model: str, session: FakeSession, tmp_path: Path) -> None:
    source, output = video(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    assert main(["translate", model, str(source), "-o", str(output), "--stabilize", "strong"]) == 0
    assert sum(1 for _ in FrameReader(probe(output))) == 12


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["gone.png", "-o", "b.png"], "there is no file or folder gone.png", id="missing"),
        pytest.param(["*.xyz", "-o", "out"], "no file matches '*.xyz'", id="no-match"),
        pytest.param(["a.png", "-o", "b.gif"], "has the suffix '.gif'; images are written as .png", id="suffix"),
        pytest.param(["a.png", "-o", "a.png"], "a.png is the input itself", id="onto-itself"),
        pytest.param([".", "-o", "b.png"], "many files go into a folder", id="folder-to-file"),
        pytest.param([".", "-o", "."], "is an input itself", id="folder-onto-itself"),
        pytest.param(["none", "-o", "out"], "the folder none holds no image and no video", id="empty-folder"),
        pytest.param(["a.png", "-o", "b.png", "--size", "0x9"], "the size is '0x9'", id="size-zero"),
        pytest.param(["a.png", "-o", "b.png", "--size", "big"], "must be HEIGHTxWIDTH", id="size-words"),
        pytest.param(["a.png", "-o", "b.png", "--batch", "0"], "--batch is 0", id="batch-zero"),
        pytest.param(["a.png", "-o", "b.png", "--crf", "99"], "crf is 99", id="crf"),
        pytest.param(["a.png", "-o", "b.png", "--preset", "quick"], "preset is 'quick'", id="preset"),
        pytest.param(["a.png", "-o", "b.png", "--stabilize", "light"], "--stabilize is for videos", id="stabilize"),
        pytest.param(
            ["a.png", "-o", "b.png", "--stabilize", "light", "--batch", "2"], "leave --batch out", id="stabilize-batch"
        ),
        pytest.param(["a.png", "-o", "b.png", "--json", "no/s.json"], "there is no folder no", id="json-folder"),
        pytest.param(["t.png", "-o", "b.png"], "t.png is no image that can be read", id="text"),
        pytest.param(["t.mp4", "-o", "b.mp4"], "t.mp4 is no video that can be read", id="text-video"),
    ],
)
def test_mistakes_get_one_sentence(
    model: str, session: FakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "a.png")
    (tmp_path / "none").mkdir()
    for name in ("t.png", "t.mp4"):
        (tmp_path / name).write_text("hello")
    before = sorted(os.listdir(tmp_path))
    assert main(["translate", model, *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("i2i-rt translate: ") and sentence in said
    assert sorted(os.listdir(tmp_path)) == before


def test_a_missing_bundle_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", str(tmp_path / "none"), "a.png", "-o", "b.png"]) == 2
    assert f"there is no bundle at {tmp_path}/none" in capsys.readouterr().err


def test_translate_needs_neither_torch_nor_av_for_images(model: str, tmp_path: Path) -> None:
    source = image(tmp_path / "a.png")
    program = (
        "import sys; sys.modules['torch'] = sys.modules['av'] = None\n"
        "from i2i_rt.cli import main; from i2i_rt.testing import FakeSession\n"
        "from i2i_rt.translator import Translator\n"
        "Translator.load = classmethod(lambda cls, path, **options: cls(FakeSession(), 'a stand-in'))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["translate", model, str(source), "-o", str(tmp_path / "b.png")]
    child = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    assert (levels(tmp_path / "b.png") == 195).all()
