"""The verb label: pictures in, maps of class indices out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.cli import main
from i2i_rt.importers.table import write_bundle
from i2i_rt.models import table
from i2i_rt.stages.table import stages_of
from i2i_rt.testing import tiny_bundle
from tests.small.cycada import small_drn


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("network") / "bundle"
    write_bundle(small_drn(), "cycada", path, Provenance("drawn", sha256=""))
    return Bundle.open(path)


@pytest.fixture
def draw(tmp_path: Path) -> Callable[[str], Path]:
    def drawn(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)
        Image.fromarray(noise).save(path)
        return path

    return drawn


def test_a_picture_gets_the_most_likely_class_of_every_pixel(
    network: Bundle, draw: Callable[[str], Path], tmp_path: Path
) -> None:
    assert main(["label", str(network.path), str(draw("street.png")), "-o", str(tmp_path / "labels.png")]) == 0

    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.mode == "P" and picture.getpalette()[:6] == [128, 0, 0, 0, 128, 0]
        labels = np.asarray(picture)
    (stage,) = stages_of("cycada", table.load(network)).values()
    image = np.pad(np.asarray(Image.open(tmp_path / "street.png")), [(0, 0), (0, 4), (0, 0)], mode="reflect")
    import torch

    expected = stage.module(torch.from_numpy(image[None]))[0, :, :52].numpy()
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, expected)


def test_a_folder_goes_on_past_a_file_that_cannot_be_read(
    network: Bundle, draw: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("streets/a.jpg"), draw("streets/b.png")
    (tmp_path / "streets" / "c.png").write_bytes(b"no picture")

    assert main(["label", str(network.path), str(tmp_path / "streets"), "-o", str(tmp_path / "found")]) == 1

    assert sorted(file.name for file in (tmp_path / "found").iterdir()) == ["a.png", "b.png"]
    output = capsys.readouterr()
    assert "c.png" in output.err and "labelled 2 of 3 pictures" in output.out


@pytest.mark.parametrize(
    ("names", "output", "message"),
    [
        pytest.param(["a.png"], "labels.jpg", "is no PNG; label maps are written as .png", id="suffix"),
        pytest.param(["s/a.png", "s/a.jpg"], "found", "would both become", id="one-name-twice"),
        pytest.param(["s/a.png"], "s", "is an input itself", id="in-place"),
    ],
)
def test_results_that_cannot_be_are_refused(
    names: list[str],
    output: str,
    message: str,
    network: Bundle,
    draw: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given, *_ = [draw(name) for name in names]
    given = given if len(Path(names[0]).parts) == 1 else given.parent
    assert main(["label", str(network.path), str(given), "-o", str(tmp_path / output)]) == 2
    assert message in capsys.readouterr().err


def test_a_bundle_that_labels_nothing_is_refused(
    draw: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    words = ["label", str(bundle.path), str(draw("a.png")), "-o", str(tmp_path / "labels.png")]
    assert main(words) == 2
    assert "labels no pixels; it has the stages translate" in capsys.readouterr().err
