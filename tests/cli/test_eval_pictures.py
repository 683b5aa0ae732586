"""The verbs eval pairs, sets, diversity and faces: tables, JSON, marks of random features, and sentences."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i_rt.cli import main
from i2i_rt.cli.eval_report import RANDOM
from i2i_rt.metrics.lpips import lpips


def write(file: Path, seed: int, side: int = 48, noise: int = 0) -> np.ndarray:
    file.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(30, 226, (6, 6, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)).astype(int)
    picture = (picture + noise * (-1) ** np.arange(side)[:, None]).clip(0, 255).astype(np.uint8)
    Image.fromarray(picture).save(file)
    return picture


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three pictures, and the same with errors of 10 levels."""
    for seed in range(3):
        write(tmp_path / "a" / f"{seed}.png", seed, noise=10)
        write(tmp_path / "b" / f"{seed}.png", seed)
    return tmp_path / "a", tmp_path / "b"


def scores(file: Path) -> dict[str, float]:
    return json.loads(file.read_text())["scores"]


def test_pairs_are_measured_in_every_way(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = map(str, folders)
    words = ["--measures", "sifid", "psnr", "ssim", "lpips", "self-similarity", "--features", "random"]
    assert main(["eval", "pairs", first, second, *words, "--json", str(tmp_path / "scores.json")]) == 0

    content = json.loads((tmp_path / "scores.json").read_text())
    found = content["scores"]
    assert list(found) == ["psnr", "ssim", "lpips", "self-similarity", "sifid"]
    assert found["psnr"] == pytest.approx(10 * np.log10(255**2 / 10**2), abs=0.1)
    assert 0 < found["ssim"] < 1
    assert set(content["pairs"]) == {"0", "1", "2"}
    assert found["psnr"] == pytest.approx(np.mean([each["psnr"] for each in content["pairs"].values()]))
    assert (content["features"], content["comparable"], content["notes"]) == ("random", False, [RANDOM])
    printed = capsys.readouterr().out
    for word in ("PSNR (dB)", "LPIPS (random features)", "SIFID (random features)", RANDOM, "3 pairs of pictures"):
        assert word in printed
    assert "SSIM (random" not in printed


def test_figures_that_need_no_features_are_not_marked(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = map(str, folders)
    words = ["--measures", "psnr", "ssim", "--features", "random", "--json", str(tmp_path / "scores.json")]
    assert main(["eval", "pairs", first, first, *words]) == 0
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["comparable"] is True
    assert content["scores"] == {"psnr": None, "ssim": pytest.approx(1)}  # JSON has no infinity
    printed = capsys.readouterr().out
    assert "inf" in printed
    assert RANDOM not in printed


def test_two_files_are_a_pair(folders: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["--features", "random", "--json", str(tmp_path / "scores.json")]
    assert main(["eval", "pairs", str(folders[0] / "0.png"), str(folders[1] / "2.png"), *words]) == 0
    pictures = (np.array(Image.open(file)) for file in (folders[0] / "0.png", folders[1] / "2.png"))
    a, b = (torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1 for picture in pictures)
    assert scores(tmp_path / "scores.json")["lpips"] == pytest.approx(float(lpips("random")(a, b)), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(lambda a, b: (b / "1.png").unlink(), "has 3 pictures and", id="number"),
        pytest.param(
            lambda a, b: (b / "1.png").rename(b / "x.png"), "1.png of {a} has no counterpart in {b}", id="name"
        ),
        pytest.param(lambda a, b: write(b / "1.png", 1, side=50), "1.png is 48x48 and {b}/1.png 50x50", id="size"),
        pytest.param(lambda a, b: write(a / "1.jpg", 1), "1.jpg and 1.png of {a} have the same name", id="twice"),
        pytest.param(lambda a, b: [file.unlink() for file in a.iterdir()], "{a} has no pictures", id="empty"),
        pytest.param(lambda a, b: a.rename(a.with_name("c")), "there is no folder {a}", id="missing"),
    ],
)
def test_folders_that_do_not_fit_are_one_sentence(
    change: Callable[[Path, Path], object],
    sentence: str,
    folders: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    a, b = folders
    change(a, b)
    assert main(["eval", "pairs", str(a), str(b), "--features", "random"]) == 2
    error = capsys.readouterr().err
    assert sentence.format(a=a, b=b) in error
    assert "Traceback" not in error


def test_missing_weights_are_one_sentence(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    assert main(["eval", "pairs", *map(str, folders)]) == 2
    assert "the weights alexnet-owt-7be5be79.pth are not here" in capsys.readouterr().err


def test_sets_are_measured_with_either_resizing(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for resize in ("original", "clean"):
        words = ["--features", "random", "--resize", resize, "--json", str(tmp_path / "scores.json")]
        assert main(["eval", "sets", *map(str, folders), *words]) == 0
        found[resize] = scores(tmp_path / "scores.json")
        assert json.loads((tmp_path / "scores.json").read_text())["resize"] == resize
    assert found["original"]["fid"] > 0
    assert found["original"]["fid"] != found["clean"]["fid"]
    assert found["clean"]["inception_score"] >= 1
    printed = capsys.readouterr().out
    for word in (
        "FID (random features)",
        "KID",
        "resizing: clean; 3 real pictures and 3 others",
        "fewer than 2048",
        RANDOM,
    ):
        assert word in printed


def test_a_set_of_one_picture_is_refused(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folders
    for name in ("0.png", "1.png"):
        (b / name).unlink()
    assert main(["eval", "sets", str(a), str(b), "--features", "random"]) == 2
    assert f"{b} has 1 picture; a set needs 2 or more" in capsys.readouterr().err


def test_diversity_is_a_mean_over_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        write(tmp_path / "results" / "various" / f"{seed}.png", seed)
        write(tmp_path / "results" / "equal" / f"{seed}.png", 0)
    words = ["--features", "random", "--json", str(tmp_path / "scores.json")]
    assert main(["eval", "diversity", str(tmp_path / "results"), *words]) == 0
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["sources"]["equal"] == 0
    assert content["scores"]["diversity"] == pytest.approx(content["sources"]["various"] / 2)
    assert content["scores"]["diversity"] > 0
    assert "6 results of 2 sources" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["0.png"], "has no folders"),
        (["a/0.png"], "a has 1 picture; diversity needs at least 2"),
    ],
)
def test_results_that_are_not_ordered_by_sources_are_refused(
    files: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in files:
        write(tmp_path / "results" / file, 0)
    assert main(["eval", "diversity", str(tmp_path / "results"), "--features", "random"]) == 2
    assert sentence in capsys.readouterr().err


def test_faces_of_the_same_person_are_near(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed, translated in (("same", 0, 0), ("other", 0, 1)):
        write(tmp_path / name / "sources" / "a.png", seed, side=64)
        write(tmp_path / name / "translated" / "a.png", translated, side=64)
        folder = tmp_path / name
        words = [str(folder / "sources"), str(folder / "translated"), "--json", str(folder / "scores.json")]
        assert main(["eval", "faces", *words, "--features", "random"]) == 0
    assert scores(tmp_path / "same" / "scores.json") == {"frd": 0, "cosine": 1}
    found = scores(tmp_path / "other" / "scores.json")
    assert 0 < found["frd"] <= 4
    assert found["cosine"] == pytest.approx(1 - found["frd"] / 2)
    assert "FRD (random features)" in capsys.readouterr().out


def test_help_says_what_figures_mean(capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in ((["--help"], "eval sets testB/"), (["sets", "--help"], "Fréchet")):
        with pytest.raises(SystemExit):
            main(["eval", *words])
        assert expected in capsys.readouterr().out
