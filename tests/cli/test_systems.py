"""Every system that translates, small and with drawn weights, through style, translate and bench."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.benchmarks.measure import Rule
from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.cli import main
from i2i_rt.importers.base import Imported
from i2i_rt.importers.table import write_bundle
from i2i_rt.stages.table import STAGES

SMALL: dict[str, Callable[[], Imported]] = {  # without those of one task's network, which translate nothing
    name: make
    for file in sorted((Path(__file__).parents[1] / "small").glob("[a-z]*.py"))
    for name, make in importlib.import_module(f"tests.small.{file.stem}").SMALL.items()
    if not name.startswith("cycada-")
}
TORCH = ["--backend", "torch", "--precision", "fp32"]
SIZE = (64, 96)


def system_of(name: str) -> str:
    """Gives the system of a variant such as "spade-vae"."""
    return name if name in STAGES else name.rpartition("-")[0]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    made: dict[str, Bundle] = {}

    def bundle(name: str) -> Bundle:
        if name not in made:
            path = tmp_path_factory.mktemp("bundles") / name
            made[name] = write_bundle(SMALL[name](), system_of(name), path, Provenance("drawn", sha256=""))
        return made[name]

    return bundle


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture(tmp_path_factory.mktemp("photograph") / "a.png", seed=0)


def picture(path: Path, seed: int) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.BICUBIC).save(path)
    return path


def source_of(bundle: Bundle, photograph: Path) -> Path:
    """Gives what the bundle translates: the photograph or, of label maps, a map of four fields."""
    if bundle.labels is None:
        return photograph
    path = photograph.with_name("labels.png")
    rows, columns = np.indices(SIZE)
    Image.fromarray((rows * 2 // SIZE[0] * 2 + columns * 2 // SIZE[1]).astype(np.uint8)).save(path)
    return path


def levels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", SMALL)
def test_pictures_are_translated_in_the_style_that_is_named(
    bundles: Callable[[str], Bundle], photograph: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundles(name)
    source, output = source_of(bundle, photograph), tmp_path / "b.png"
    domain = ["--domain", bundle.style.domains[-1]] if bundle.style and bundle.style.domains else []

    def translated(*words: object) -> np.ndarray:
        assert main(["translate", str(bundle.path), str(source), "-o", str(output), *map(str, words), *TORCH]) == 0
        return levels(output)

    if bundle.style is None:
        assert translated().std() > 1
        return
    reference, style = picture(tmp_path / "reference.png", seed=5), tmp_path / "style.npz"
    source_words = ["--image", str(reference)] if "style_from_image" in bundle.stages else ["--seed", "1"]
    assert main(["style", str(bundle.path), *source_words, *domain, "-o", str(style), *TORCH]) == 0
    first = translated("--style", style)
    assert first.std() > 1
    if "style_from_image" in bundle.stages:
        np.testing.assert_array_equal(translated("--reference", reference, *domain), first)
    if bundle.style.prior == "fitted":
        assert main(["translate", str(bundle.path), str(source), "-o", str(output), *TORCH]) == 2
        assert "style" in capsys.readouterr().err and not (bundle.path / "styles.npz").exists()
        folder = tmp_path / "photos"
        folder.mkdir()
        for seed in (1, 2, 3):
            picture(folder / f"{seed}.png", seed)
        assert main(["style", str(bundle.path), "--fit", str(folder), *domain, *TORCH]) == 0
    assert (translated("--seed", 3, *domain) != first).any()
    assert (translated(*domain) != first).any()
    (bundle.path / "styles.npz").unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["starganv2", "starganv2-masks", "spade-vae"])
def test_bench_runs_with_styles_labels_and_one_size(
    bundles: Callable[[str], Bundle], name: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bundle = bundles(name)
    rule = Rule("test", warmup_runs=1, warmup_s=0, rounds=1, runs_per_round=1, seconds_per_round=0)
    monkeypatch.setattr("i2i_rt.benchmarks.measure.QUICK", rule)
    words = [*TORCH, "--size", "48", "--quick", "--threads", "1", "-o", str(tmp_path / "bench")]
    assert main(["bench", str(bundle.path), *words]) == 0
    said = capsys.readouterr().out
    size = bundle.stages["translate"].fixed_size
    assert ("the model's only size" in said) == (size is not None)
    assert ("48x48" if size is None else f"{size[0]}x{size[1]}") in said


@pytest.mark.parametrize("name", ["starganv2", "starganv2-masks", "spade", "spade-vae"])
def test_bench_video_runs_with_styles_labels_and_one_size(
    bundles: Callable[[str], Bundle], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundles(name)
    words = [*TORCH, "--size", "32x48", "--frames", "6", "--quick", "--threads", "1", "-o", str(tmp_path / "bench")]
    assert main(["bench", "video", str(bundle.path), *words]) == 0
    fixed = bundle.stages["translate"].fixed_size
    assert ("the only size of the model" in capsys.readouterr().out) == (fixed is not None)


def test_bench_of_what_translates_nothing_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = importlib.import_module("tests.small.cycada").SMALL["cycada-lenet"]()
    bundle = write_bundle(found, "cycada", tmp_path / "bundle", Provenance("drawn", sha256=""))
    for words in (["bench"], ["bench", "video"]):
        assert main([*words, str(bundle.path), "-o", str(tmp_path / "bench")]) == 2
        assert "translates nothing; it has the stages classify" in capsys.readouterr().err


@pytest.mark.parametrize(("system", "name"), [("cycada", "cycada-lenet"), ("egscit", "egscit")])
def test_export_names_a_next_step_that_the_bundle_can_do(
    system: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.import_module(f"tests.small.{system}").SMALL[name]()
    bundle = write_bundle(found, system, tmp_path / "bundle", Provenance("drawn", sha256=""))
    monkeypatch.setattr("i2i_rt.export.build.build", lambda *_, **__: [])
    monkeypatch.setattr("i2i_rt.cli.export.verify_and_print", lambda *_: 0)
    assert main(["export", str(bundle.path), "--format", "onnx"]) == 0
    said = capsys.readouterr().out
    assert ("next:" in said) == (system == "egscit") == ("--reference" in said)
