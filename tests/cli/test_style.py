"""The verb style, and the styles of translate."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.spec import StyleInfo
from i2i_rt.style import Style, StyleMaker
from i2i_rt.testing import tiny_bundle
from i2i_rt.video import style_walk
from i2i_rt.video.probe import Clip, probe
from i2i_rt.video.reader import FrameReader
from i2i_rt.video.writer import VideoWriter
from tests.fakes import StyledSession, stand_in, styled_bundle

SIZE = (16, 24)
RED, BLUE = (200, 40, 40), (40, 40, 200)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> StyledSession:
    session = StyledSession()
    stand_in(monkeypatch, session)
    return session


@pytest.fixture
def model(session: StyledSession, tmp_path: Path) -> Bundle:
    return styled_bundle(tmp_path / "model", session)


@pytest.fixture
def animals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bundle:
    """A model of three domains."""
    session = StyledSession(domains=True)
    stand_in(monkeypatch, session)
    return styled_bundle(tmp_path / "animals", session)


@pytest.fixture
def fitted(session: StyledSession, tmp_path: Path) -> Bundle:
    """A model whose styles have no prior before pictures were measured."""
    return styled_bundle(tmp_path / "fitted", session, style=StyleInfo("fitted"))


def picture(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = SIZE) -> Path:
    Image.fromarray(np.broadcast_to(np.array(colour, np.uint8), (*size, 3)).copy()).save(path)
    return path


def clip(path: Path, frames: int = 12) -> Path:
    pytest.importorskip("av")
    with VideoWriter(path, *SIZE) as writer:
        for index in range(frames):
            writer.write(np.full((*SIZE, 3), 5 * index, np.uint8), index / 25, 1 / 25)
    return path


def style_file(model: Bundle, path: Path, colour: tuple[int, int, int]) -> Path:
    assert (
        main(["style", str(model.path), "--image", str(picture(path.with_suffix(".png"), colour)), "-o", str(path)])
        == 0
    )
    return path


def levels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture).astype(int)


def colours(video: Path) -> np.ndarray:
    """The middle of each frame, `[N, 3]`."""
    return np.stack([frame.image[8, 12] for frame in FrameReader(probe(video))]).astype(int)


def test_a_picture_becomes_a_style_file(model: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = style_file(model, tmp_path / "red.npz", RED)

    said = capsys.readouterr().out
    assert np.allclose(Style.load(output).code, RED)
    assert said.splitlines() == [
        f"{output}: from a picture; 3 numbers, norm 207.85",
        f"next: i2i-rt translate {model.path} clip.mp4 --style {output} -o out.mp4",
    ]


def test_seed_and_mean_come_from_the_mapping_network(animals: Bundle, tmp_path: Path) -> None:
    codes = {}
    for name, words in {
        "a": ["--seed", "7", "--domain", "dog"],
        "again": ["--seed", "7", "--domain", "1"],
        "mean": ["--mean", "--domain", "wild"],
    }.items():
        output = tmp_path / f"{name}.npz"
        assert main(["style", str(animals.path), *words, "-o", str(output)]) == 0
        codes[name] = Style.load(output).code
    np.testing.assert_array_equal(codes["a"], codes["again"])
    assert not np.allclose(codes["a"], 120, atol=0.1)
    np.testing.assert_allclose(codes["mean"], 140, atol=1)
    assert {Style.load(tmp_path / f"{name}.npz").origin for name in ("a", "again")} == {"seed 7 as dog"}


def test_styles_are_mixed_and_moved(model: Bundle, tmp_path: Path) -> None:
    red, blue = style_file(model, tmp_path / "red.npz", RED), style_file(model, tmp_path / "blue.npz", BLUE)
    direction, output = tmp_path / "direction.npz", tmp_path / "out.npz"
    np.savez(direction, direction=np.array([0, 10, 0], np.float32))
    assert main(["style", str(model.path), "--mix", str(red), str(blue), "0.25", "-o", str(output)]) == 0
    np.testing.assert_allclose(Style.load(output).code, [160, 40, 80])
    words = ["--add", str(direction), "-1.5"]
    assert main(["style", str(model.path), *words, "--style", str(red), "-o", str(output)]) == 0
    np.testing.assert_allclose(Style.load(output).code, [200, 25, 40])
    assert main(["style", str(model.path), *words, "-o", str(output)]) == 0
    np.testing.assert_allclose(Style.load(output).code, [100, 85, 100], atol=1)


@pytest.mark.parametrize(
    ("mark", "message"),
    [({"model": "0" * 64}, "belongs to another model, 000000000000;"), ({"kind": "structure"}, "which is no style")],
    ids=["model", "kind"],
)
def test_directions_of_others_are_refused(
    model: Bundle, mark: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    direction, output = tmp_path / "direction.npz", tmp_path / "out.npz"
    np.savez(direction, direction=np.ones(3, np.float32), **mark)  # type: ignore[arg-type]
    assert main(["style", str(model.path), "--add", str(direction), "1", "-o", str(output)]) == 2
    assert message in capsys.readouterr().err and not output.exists()


def test_fitting_a_folder_gives_the_mean_and_seeds(
    fitted: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = tmp_path / "photos", tmp_path / "out.npz"
    folder.mkdir()
    for level in (90, 100, 110):
        picture(folder / f"{level}.png", (level, level, 50))
    assert main(["style", str(fitted.path), "--mean", "-o", str(output)]) == 2
    assert f"i2i-rt style {fitted.path} --fit FOLDER" in capsys.readouterr().err
    assert main(["style", str(fitted.path), "--fit", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "styles of 3 pictures" in said and f"next: i2i-rt style {fitted.path} --seed 7 -o style.npz" in said
    assert main(["style", str(fitted.path), "--mean", "-o", str(output)]) == 0
    np.testing.assert_allclose(Style.load(output).code, [100, 100, 50])
    assert main(["style", str(fitted.path), "--seed", "1", "-o", str(output)]) == 0
    code = Style.load(output).code
    assert 60 < code[0] < 140 and code[0] != 100 and code[2] == 50


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["-o", "s.npz"], "there is no source of the style; give exactly one of --image", id="none"),
        pytest.param(["--seed", "1", "--mean", "-o", "s.npz"], "--seed and --mean contradict each other", id="two"),
        pytest.param(["--mean"], "name the style file to write: -o", id="no-output"),
        pytest.param(["--mean", "-o", "s.txt"], "its name must end in .npz", id="suffix"),
        pytest.param(["--mean", "-o", "no/s.npz"], "there is no folder no", id="folder"),
        pytest.param(["--fit", "photos", "-o", "s.npz"], "leave -o out", id="fit-output"),
        pytest.param(["--fit", "photos"], "there is no folder photos", id="fit-folder"),
        pytest.param(["--image", "gone.png", "-o", "s.npz"], "there is no file gone.png", id="image"),
        pytest.param(["--mean", "--style", "a.npz", "-o", "s.npz"], "--style is what --add moves", id="base"),
        pytest.param(["--mean", "--domain", "cat", "-o", "s.npz"], "one domain only; leave --domain cat", id="domain"),
        pytest.param(["--mix", "a.npz", "b.npz", "2", "-o", "s.npz"], "it must be from 0, the first", id="share"),
        pytest.param(["--mix", "a.npz", "b.npz", "x", "-o", "s.npz"], "'x'; it must be a number", id="word"),
        pytest.param(["--mix", "gone.npz", "b.npz", "1", "-o", "s.npz"], "there is no file gone.npz", id="file"),
        pytest.param(["--add", "text.npz", "1", "-o", "s.npz"], "text.npz is no direction file", id="direction"),
    ],
)
def test_mistakes_get_one_sentence(
    model: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    assert main(["style", str(model.path), *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("i2i-rt style: ") and sentence in said[0]
    assert not (tmp_path / "s.npz").exists()


def test_a_system_without_style_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    assert main(["style", str(bundle.path), "--mean", "-o", "s.npz"]) == 2
    assert "takes no style: cut has none" in capsys.readouterr().err
    source, output = picture(tmp_path / "a.png"), str(tmp_path / "b.png")
    assert main(["translate", str(bundle.path), str(source), "-o", output, "--seed", "1"]) == 2
    assert "takes no style: cut has none, or one is baked in; leave --seed out" in capsys.readouterr().err


def test_pictures_and_videos_take_the_style_that_is_named(
    model: Bundle, session: StyledSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    red = style_file(model, tmp_path / "red.npz", RED)
    reference, source = picture(tmp_path / "blue.jpg", BLUE), picture(tmp_path / "a.png", (9, 9, 9))
    video, output, still = clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", tmp_path / "b.png"
    assert main(["translate", str(model.path), str(source), "-o", str(still), "--reference", str(reference)]) == 0
    assert abs(levels(still) - BLUE).max() < 5
    session.calls.clear()
    record = tmp_path / "s.json"
    words = ["--style", str(red), "--batch", "5", "--compare", "--json", str(record)]
    assert main(["translate", str(model.path), str(video), "-o", str(output), *words]) == 0
    after = [frame.image for frame in FrameReader(probe(output))]
    assert len(after) == 12 and after[0].shape == (16, 48, 3)
    assert all(abs(image[:, 28:].astype(int) - RED).max() < 8 for image in after)
    assert json.loads(record.read_text())["style"] == f"{red} (from a picture)"
    assert {len(inputs["style"]) for stage, inputs in session.calls if stage == "translate"} == {5}
    assert f"style: {red} (from a picture)" in capsys.readouterr().err


def test_without_a_style_the_mean_is_taken_once_and_said(
    model: Bundle, session: StyledSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        picture(folder / f"{name}.png")
    assert main(["translate", str(model.path), str(folder), "-o", str(tmp_path / "out")]) == 0
    assert "style: the mean; --style, --reference and --seed give others" in capsys.readouterr().err
    assert abs(levels(tmp_path / "out" / "c.png") - 100).max() < 2
    assert session.count("style_from_noise") == 20  # 10 000 draws, 500 at once, and not again for each picture


def test_a_path_moves_the_style_frame_by_frame(model: Bundle, tmp_path: Path) -> None:
    red, blue = style_file(model, tmp_path / "red.npz", RED), style_file(model, tmp_path / "blue.npz", BLUE)
    video, results = clip(tmp_path / "a.mp4", frames=21), []
    for batch in (1, 4):
        output = tmp_path / f"{batch}.mp4"
        words = ["--style-path", f"{red},{blue},{red}", "--batch", str(batch), "--crf", "1"]
        assert main(["translate", str(model.path), str(video), "-o", str(output), *words]) == 0
        results.append(colours(output))
    for result in results:
        assert abs(result[[0, 10, 20]] - [RED, BLUE, RED]).max() < 6
        assert (np.diff(result[:11, 0]) <= 2).all() and (np.diff(result[10:, 0]) >= -2).all()
        assert abs(np.diff(result[:, 0])).max() < 30
    assert abs(results[0] - results[1]).max() < 4


def test_resume_goes_on_at_the_right_place_and_with_the_same_style_only(
    model: Bundle, session: StyledSession, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    red, blue = style_file(model, tmp_path / "red.npz", RED), style_file(model, tmp_path / "blue.npz", BLUE)
    video, output, whole = clip(tmp_path / "a.mp4", frames=40), tmp_path / "b.mp4", tmp_path / "whole.mp4"
    words = ["translate", str(model.path), str(video), "--style-path", f"{red},{blue}"]
    assert main([*words, "-o", str(whole)]) == 0

    translate, limit = session._translate, session.count("translate") + 2 + 17

    def interrupted(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        if session.count("translate") > limit:
            raise KeyboardInterrupt
        return translate(**inputs)

    monkeypatch.setattr(session, "_translate", interrupted)
    assert main([*words, "-o", str(output)]) == 130
    monkeypatch.setattr(session, "_translate", translate)
    other = ["translate", str(model.path), str(video), "--style", str(red), "-o", str(output), "--resume"]
    assert main(other) == 2
    assert "was begun with model" in capsys.readouterr().err
    assert main([*words, "-o", str(output), "--resume"]) == 0
    assert "40 frames" in capsys.readouterr().out
    assert abs(colours(output) - colours(whole)).max() < 8


def test_a_clip_of_unknown_length_moves_there_and_back(model: Bundle, tmp_path: Path) -> None:
    places: list[float] = []

    class Path_:
        def at(self, position: float) -> Style:
            places.append(position)
            return Style(np.zeros(3, np.float32), "", "", "")

    class Endless:
        expected_frames, frame_rate = None, 2.0

    walk = style_walk.StyleWalk(lambda frames, styles: frames, Path_())  # type: ignore[arg-type]
    clip_: Clip = Endless()  # type: ignore[assignment]
    walk.begin(clip_, 0)
    walk(np.zeros((61, 1)))
    assert places[0] == 0 and places[10] == 0.5 and places[20] == 1 and places[30] == 0.5 and places[60] == 1
    walk.begin(clip_, 20)
    walk(np.zeros((1, 1)))
    assert places[-1] == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["--style", "red.npz", "--seed", "1"], "--style and --seed both say what the style is", id="two"),
        pytest.param(["--reference", "a.png", "--style-path", "a,b"], "--reference and --style-path both", id="path"),
        pytest.param(["--style", "red.npz", "--domain", "cat"], "a style file has its domain in it", id="domain"),
        pytest.param(["--style", "gone.npz"], "there is no file gone.npz", id="missing"),
        pytest.param(["--style", "other.npz"], "other.npz belongs to another model", id="other"),
        pytest.param(["--style-path", "red.npz,red.npz"], "--style-path is for videos", id="path-still"),
        pytest.param([], "name one with --domain: 0 cat, 1 dog, 2 wild", id="no-domain"),
        pytest.param(["--seed", "1"], "name one with --domain: 0 cat, 1 dog, 2 wild", id="seed-no-domain"),
        pytest.param(["--domain", "cta"], "no domain is called 'cta'; this model has 0 cat, 1 dog", id="unknown"),
        pytest.param(["--domain", "3"], "no domain is called '3'", id="number"),
    ],
)
def test_mistakes_of_translate_come_before_any_work(
    animals: Bundle, session: StyledSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png")
    origin = "from a picture"
    code = np.zeros(3, np.float32)
    Style(code, "known", animals.weights_sha256(), origin).save(tmp_path / "red.npz")
    Style(code, "munit", "0" * 64, origin).save(tmp_path / "other.npz")
    monkeypatch.setattr("i2i_rt.translator.Translator.load", lambda *_, **__: pytest.fail("the model was loaded"))
    assert main(["translate", str(animals.path), "a.png", "-o", "b.png", *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and sentence in said[0]
    assert not (tmp_path / "b.png").exists()


def test_a_domain_alone_is_its_mean(animals: Bundle, tmp_path: Path) -> None:
    output = tmp_path / "b.png"
    source = picture(tmp_path / "a.png")
    assert main(["translate", str(animals.path), str(source), "-o", str(output), "--domain", "wild"]) == 0
    assert abs(levels(output) - 140).max() < 2


def test_a_model_of_one_size_takes_frames_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = StyledSession(fixed=(8, 8))
    stand_in(monkeypatch, session)
    model = styled_bundle(tmp_path / "model", session)
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    picture(folder / "a.png"), clip(folder / "b.mp4"), picture(folder / "c.png", size=(8, 8))
    words = ["translate", str(model.path), str(folder), "-o", str(output)]
    assert main([*words, "--size", "16x16"]) == 2
    assert "this model takes pictures of 8x8 only; leave --size out" in capsys.readouterr().err
    assert main([*words, "--size", "8x8", "--compare", "--max-pixels", "20"]) == 0
    assert "changed  a.png: size 16x24 became 8x8 (the model takes no other)" in capsys.readouterr().out
    assert main(["translate", str(model.path), str(folder / "b.mp4"), "-o", str(tmp_path / "b.mp4")]) == 0
    assert "changed  size 16x24 became 8x8 (the model takes no other)" in capsys.readouterr().out
    assert levels(output / "a.png").shape == (8, 16, 3) and probe(output / "b.mp4").width == 16
    assert {inputs["frames"].shape for stage, inputs in session.calls if stage == "translate"} == {(1, 8, 8, 3)}


def test_a_maker_without_session_says_so(model: Bundle) -> None:
    from i2i_rt.errors import UnsupportedError

    with pytest.raises(UnsupportedError, match="opened without a session"):
        StyleMaker(model, None).from_seed(1)
