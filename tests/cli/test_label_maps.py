"""Label maps through translate: files, folders with instances, videos, and what is wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.label_maps import colourise, edges_of
from i2i_rt.spec import Axis, StageSpec, TensorSpec, frames_spec
from i2i_rt.testing import tiny_bundle
from i2i_rt.video.intake import LabelMaps
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader
from tests.fakes import LABELS, KnownSession, LabelSession, label_bundle, stand_in

SIZE = (32, 48)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> LabelSession:
    session = LabelSession()
    stand_in(monkeypatch, session)
    return session


@pytest.fixture
def model(session: LabelSession, tmp_path: Path) -> Bundle:
    return label_bundle(tmp_path / "model", session)


def labels(shift: int = 0) -> np.ndarray:
    """Sky, road and car side by side, moved to the right by `shift`."""
    line = np.arange(SIZE[1]) * 3 // SIZE[1]
    return np.roll(np.broadcast_to(line, SIZE), shift, axis=1).astype(np.uint8)


def grey(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


def levels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def video(path: Path, codec: str, pixel_format: str, frames: list[np.ndarray], **options: str) -> Path:
    av: Any = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], pixel_format
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(image), format="gray" if image.ndim == 2 else "rgb24"
            )
            frame.pts = index
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode(None))
    return path


def test_indices_colours_and_arrays_are_the_same_map(model: Bundle, session: LabelSession, tmp_path: Path) -> None:
    indexed = Image.fromarray(labels(), "P")
    indexed.putpalette([level for colour in LABELS.palette for level in colour])
    folder = tmp_path / "in"
    folder.mkdir()
    grey(folder / "grey.png", labels())
    indexed.save(folder / "palette.png")
    Image.fromarray(colourise(labels(), LABELS)).save(folder / "colours.png")
    np.save(folder / "array.npy", labels().astype(np.int64))
    assert main(["translate", str(model.path), str(folder), "-o", str(tmp_path / "out")]) == 0
    for name in ("grey.png", "palette.png", "colours.png", "array.npy.png"):
        np.testing.assert_array_equal(levels(tmp_path / "out" / name)[..., 0], labels() * 10)
    assert not levels(tmp_path / "out" / "grey.png")[..., 1].any()


def test_maps_are_resized_to_the_nearest_class_and_compared_in_colour(
    model: Bundle, session: LabelSession, tmp_path: Path
) -> None:
    source, output = grey(tmp_path / "a.png", labels()), tmp_path / "b.png"
    words = ["--size", "20x30", "--compare"]
    assert main(["translate", str(model.path), str(source), "-o", str(output), *words]) == 0
    assert set(np.unique(session.calls[-1][1]["labels"])) == {0, 1, 2}
    shown = levels(output)
    assert shown.shape == (20, 60, 3)
    assert {tuple(colour) for colour in shown[:, :30].reshape(-1, 3).tolist()} == set(LABELS.palette)


def test_instances_become_edges(model: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instances = np.zeros(SIZE, np.uint16)
    instances[8:20, 10:30] = 26001
    source, ids = grey(tmp_path / "a.png", labels()), grey(tmp_path / "ids.png", instances)
    output = tmp_path / "b.png"
    assert main(["translate", str(model.path), str(source), "-o", str(output), "--instances", str(ids)]) == 0
    np.testing.assert_array_equal(levels(output)[..., 1], edges_of(instances) * 255)
    assert "without --instances" not in capsys.readouterr().err
    assert main(["translate", str(model.path), str(source), "-o", str(output)]) == 0
    assert not levels(output)[..., 1].any()
    assert "without --instances, no edges between instances" in capsys.readouterr().err


def test_a_folder_has_instances_of_the_same_names(
    model: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, ids = tmp_path / "labels", tmp_path / "ids"
    folder.mkdir(), ids.mkdir()
    for index, name in enumerate("ab"):
        grey(folder / f"{name}.png", labels())
        np.save(ids / f"{name}.npy", np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) // (300 + index))
    words = ["translate", str(model.path), str(folder), "-o", str(tmp_path / "out"), "--instances"]
    assert main([*words, str(ids)]) == 0
    assert (levels(tmp_path / "out" / "a.png")[..., 1] != levels(tmp_path / "out" / "b.png")[..., 1]).any()
    assert main([*words, str(ids / "a.npy")]) == 2
    assert "is one map for many; name a folder" in capsys.readouterr().err
    (ids / "b.npy").unlink()
    assert main([*words, str(ids)]) == 1
    assert f"{ids} has no instance map of the name of {folder / 'b.png'}" in capsys.readouterr().err


@pytest.mark.parametrize("stabilize", ["off", "strong"])
def test_a_compressed_video_of_palette_colours_keeps_its_classes(
    model: Bundle, session: LabelSession, tmp_path: Path, stabilize: str
) -> None:
    maps = [labels(4 * index) for index in range(6)]
    source = video(tmp_path / "a.mp4", "libx264", "yuv444p", [colourise(one, LABELS) for one in maps], crf="23")
    words = ["--compare", "--stabilize", stabilize]
    assert main(["translate", str(model.path), str(source), "-o", str(tmp_path / "b.mp4"), *words]) == 0
    taken = [inputs["labels"][0] for _, inputs in session.calls][-6:]
    assert np.mean(np.stack(taken) == np.stack(maps)) > 0.97
    assert probe(tmp_path / "b.mp4").width == 2 * SIZE[1]


def test_a_lossless_video_of_indices_is_exact(model: Bundle, session: LabelSession, tmp_path: Path) -> None:
    maps = [labels(index) for index in range(6)]
    source = video(tmp_path / "a.mkv", "ffv1", "gray", maps)
    assert main(["translate", str(model.path), str(source), "-o", str(tmp_path / "b.mp4"), "--batch", "3"]) == 0
    taken = [inputs["labels"] for _, inputs in session.calls][-2:]
    np.testing.assert_array_equal(np.concatenate(taken), np.stack(maps))
    assert sum(1 for _ in FrameReader(probe(tmp_path / "b.mp4"))) == 6


def test_what_is_no_class_is_named_with_its_place(
    model: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = labels()
    wrong[3, 5] = 9
    source = grey(tmp_path / "a.png", wrong)
    assert main(["translate", str(model.path), str(source), "-o", str(tmp_path / "b.png")]) == 2
    assert "has the label 9 at row 3, column 5; known are 0 to 2, and 255" in capsys.readouterr().err
    source = video(tmp_path / "a.mkv", "ffv1", "gray", [labels(), wrong])
    assert main(["translate", str(model.path), str(source), "-o", str(tmp_path / "b.mp4")]) == 2
    assert "the frame has the label 9 at row 3, column 5" in capsys.readouterr().err
    assert not (tmp_path / "b.mp4").exists()


def test_a_frame_of_other_colours_is_no_label_map() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:] = LABELS.palette[1]
    frame[2:, :] = (250, 250, 20)
    with pytest.raises(I2IError, match=r"most of its colours .* first one \(250, 250, 20\) at row 2, column 0"):
        LabelMaps(LABELS).from_frame(frame)
    frame[4:, :] = LABELS.palette[2]
    assert (LabelMaps(LABELS).from_frame(frame)[:2] == 1).all()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["--instances", "gone.png"], "there is no file or folder gone.png", id="missing"),
        pytest.param(
            ["--seed", "1"], "takes no style: known has none, or one is baked in; leave --seed out", id="style"
        ),
    ],
)
def test_mistakes_get_a_sentence(
    model: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    grey(tmp_path / "a.png", labels())
    assert main(["translate", str(model.path), "a.png", "-o", "b.png", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_instances_are_for_label_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, source = tiny_bundle(tmp_path / "bundle"), grey(tmp_path / "a.png", labels())
    words = ["translate", str(bundle.path), str(source), "-o", str(tmp_path / "b.png"), "--instances", str(source)]
    assert main(words) == 2
    assert "--instances is for models that translate label maps" in capsys.readouterr().err


def test_a_model_whose_map_is_baked_in_has_nothing_to_translate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    style = TensorSpec("style", "float32", (Axis("N"), Axis("style", size=3)))
    session = KnownSession(StageSpec("translate", (style,), (frames_spec("translated", 4, 1),)))
    model = label_bundle(tmp_path / "model", session)
    assert main(["translate", str(model.path), str(grey(tmp_path / "a.png", labels())), "-o", "b.png"]) == 2
    assert "has its label map baked in and takes a style only" in capsys.readouterr().err
