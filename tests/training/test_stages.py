"""StEP from the command line: each stage goes on from the run before, and its bundles make styles."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.models import table

SMALL = ["--crop-size", "32", "--width", "4", "--steps", "2", "--threads", "1"]
PAIRS = [*SMALL, "--blocks", "1", "--batch", "4"]
JUDGED = [*PAIRS, "--discriminator-width", "4", "--set", "features=random"]


def train(system: str, data: Path, run: Path, *words: str) -> int:
    return main(["train", system, "--data", str(data), "-o", str(run), *words])


@pytest.fixture
def runs(styles: Path, tmp_path: Path) -> Path:
    """Runs of the stages, by their systems' names, two steps each."""
    assert train("step-styles", styles, tmp_path / "step-styles", *SMALL) == 0
    for system, words, start in (
        ("step", JUDGED, "step-styles"),
        ("step-finetune", JUDGED, "step"),
        ("step-mapper", PAIRS, "step-finetune"),
    ):
        assert train(system, styles, tmp_path / system, *words, "--from", str(tmp_path / start)) == 0
    return tmp_path


def state(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    content: dict[str, dict[str, torch.Tensor]] = torch.load(run / "state.pt", weights_only=True)
    return content


def weights(run: Path, network: str, part: str = "system") -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in state(run)[part].items() if key.startswith(f"{network}.")}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_each_stage_takes_what_it_needs_and_its_bundle_makes_styles(
    runs: Path, styles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = weights(runs / "step-styles", "style_encoder")
    assert encoder and equal(encoder, weights(runs / "step", "style_encoder"))  # the second stage leaves it alone
    assert not equal(encoder, weights(runs / "step-finetune", "style_encoder"))  # the third does not
    # the mapper is for the styles of the bundle, whose weights are averages
    for network in ("generator", "style_encoder"):
        averages = weights(runs / "step-finetune", network, "averages")
        assert averages and equal(weights(runs / "step-mapper", network), averages)
        assert not equal(averages, weights(runs / "step-finetune", network))

    fitted, mapped = (Bundle.open(runs / name / "bundle") for name in ("step-finetune", "step-mapper"))
    assert fitted.style is not None and fitted.style.prior == "fitted" and "style_from_noise" not in fitted.stages
    assert mapped.style is not None and mapped.style.prior == "network" and "style_from_noise" in mapped.stages
    # N(mean, deviation) of the styles of pictures, and the mapper
    assert main(["style", str(fitted.path), "--fit", str(styles / "val")]) == 0
    for bundle in (fitted, mapped):
        assert main(["style", str(bundle.path), "--seed", "1", "-o", str(runs / f"{bundle.path.parent.name}.npz")]) == 0
    assert not (runs / "step-styles" / "bundle").exists()
    capsys.readouterr()
    assert main(["bundle", str(runs / "step-styles"), "-o", str(runs / "none")]) == 2
    assert "holds style_encoder of step-styles: nothing that translates" in capsys.readouterr().err


def test_bundle_computes_what_the_run_does(runs: Path) -> None:
    from i2i_rt.systems.base import Batch
    from i2i_rt.training.options import TrainingOptions
    from i2i_rt.training.processes import Processes
    from i2i_rt.training.run_folder import RunFolder
    from i2i_rt.training.trainer import Trainer

    folder = RunFolder(runs / "step-finetune")
    trainer = Trainer(TrainingOptions.from_json(folder.options()), Processes(0, 1, torch.device("cpu")))
    trainer.load_state(folder.read_state(torch.device("cpu")))
    networks, bundled = trainer.networks(), table.load(Bundle.open(folder.path / "bundle"))
    batch = Batch(*(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)))

    with torch.no_grad():
        style = networks["style_encoder"](batch.b)
        torch.testing.assert_close(bundled["style_encoder"](batch.b), style)
        torch.testing.assert_close(bundled["generator"](batch.a, style), networks["generator"](batch.a, style))


@pytest.mark.parametrize(
    ("system", "words", "start", "sentence"),
    [
        ("step", JUDGED, None, "step takes style_encoder from another run; name its folder with --from"),
        ("step-mapper", PAIRS, "step-styles", "step-mapper takes generator from another run too"),
        ("step", [*JUDGED, "--width", "8"], "step-styles", "has another shape; give the options of that run"),
    ],
)
def test_stage_without_its_forerunner_is_refused(
    system: str,
    words: list[str],
    start: str | None,
    sentence: str,
    styles: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train("step-styles", styles, tmp_path / "step-styles", *SMALL) == 0
    started = [] if start is None else ["--from", str(tmp_path / start)]

    assert train(system, styles, tmp_path / "run", *words, *started) == 2

    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_interrupted_mapper_goes_on_as_if_nothing_had_happened(runs: Path, styles: Path) -> None:
    whole, parts = runs / "whole", runs / "parts"
    start = ["--from", str(runs / "step-finetune")]
    assert train("step-mapper", styles, whole, *PAIRS, *start, "--steps", "4") == 0

    assert train("step-mapper", styles, parts, *PAIRS, *start, "--steps", "2") == 0
    assert main(["train", "step-mapper", "-o", str(parts), "--resume", "--steps", "4"]) == 0

    assert equal(weights(parts, "mapper"), weights(whole, "mapper"))


def test_bicyclegans_bundle_translates_in_the_style_of_a_picture(styles: Path, tmp_path: Path) -> None:
    words = [*SMALL, "--discriminator-width", "4", "--set", "features=random", "--batch", "4"]
    assert train("bicyclegan", styles, tmp_path / "run", *words) == 0

    bundle = Bundle.open(tmp_path / "run" / "bundle")
    assert bundle.style is not None and (bundle.style.prior, bundle.style.mixing) == ("normal", "spherical")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "in.png")
    made = [
        "translate",
        str(bundle.path),
        str(tmp_path / "in.png"),
        "-o",
        str(tmp_path / "out.png"),
        "--backend",
        "torch",
    ]
    assert main([*made, "--reference", str(next((styles / "val").iterdir()))]) == 0
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (32, 32)
