"""The official implementations' results, where they lie beside the checkout; and the harness itself, anywhere."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity import harness
from tests.parity.__main__ import main
from tests.parity.case import UnsupportedCase, nested, write_checkpoints

CASES = Path(__file__).parents[2] / "shared" / "parity"
FEWEST = 65  # cases of networks and pre-processing

folders = harness.case_folders([CASES])


def is_answered(folder: Path) -> bool:
    try:
        harness.find_answer(json.loads((folder / "case.json").read_text()))
    except UnsupportedCase:
        return False
    return True


answered = [folder for folder in folders if is_answered(folder)]


@pytest.mark.skipif(not folders, reason="the parity cases do not lie beside the checkout")
@pytest.mark.parametrize("folder", answered, ids=lambda folder: folder.name)
def test_network_gives_what_the_official_implementation_gave(folder: Path) -> None:
    result = harness.run_case(folder)
    assert result.passed, result.line()


@pytest.mark.skipif(not folders, reason="the parity cases do not lie beside the checkout")
def test_only_losses_and_metrics_have_no_answer() -> None:
    assert len(answered) >= FEWEST
    for folder in set(folders) - set(answered):
        network = json.loads((folder / "case.json").read_text())["network"]
        assert any(word in network for word in ("loss", "metric", "distance")), folder.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[:, :, ::3, ::3]", (slice(None), slice(None), slice(None, None, 3), slice(None, None, 3))),
        ("[0, 1:5]", (0, slice(1, 5))),
    ],
)
def test_cut_of_an_output_is_read(text: str, expected: tuple[object, ...]) -> None:
    assert harness.full_output("a", {"a": text}) == ("a", expected)
    assert harness.full_output("b", {"b": {"of": "whole", "index": text}}) == ("whole", expected)


def test_weights_go_into_one_file_or_into_those_that_the_case_names(tmp_path: Path) -> None:
    one = {"g_ema::a.weight": torch.ones(1), "epoch": torch.ones(1)}
    (file,) = write_checkpoints(one, tmp_path)
    assert torch.load(file) == nested(one)
    two = {"networks.ckpt::generator::a": torch.ones(1), "folder/wing.ckpt::state_dict::b": torch.zeros(1)}
    networks, wing = write_checkpoints(two, tmp_path)
    assert torch.load(networks) == {"generator": {"a": torch.ones(1)}}
    assert torch.load(wing) == {"state_dict": {"b": torch.zeros(1)}}


@pytest.fixture
def preprocessing_case(tmp_path: Path) -> Path:
    """A case made here: pre-processing in the mode `none` leaves a picture whose sides are multiples of 4 alone."""
    folder = tmp_path / "a-name-that-says-nothing"
    folder.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    case = {
        "case": "made-here",
        "system": "CycleGAN",
        "network": "preprocessing",
        "config": {"modes": {"none": {"preprocess": "none", "load_size": 256, "crop_size": 256}}},
        "state": {},
        "inputs": {"image_file": {"shape": [8, 12, 3], "rule": {"kind": "stored"}}},
        "outputs": ["none"],
        "tolerance": 1e-5,
    }
    (folder / "case.json").write_text(json.dumps(case))
    expected = image.transpose(2, 0, 1)[None] / np.float32(127.5) - 1
    np.savez(folder / "tensors.npz", **{"inputs/image_file": image, "outputs/none": expected.astype(np.float32)})
    return folder


def test_harness_passes_a_right_case(preprocessing_case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(preprocessing_case)]) == 0
    assert "PASS" in capsys.readouterr().out


def test_harness_fails_a_wrong_case(preprocessing_case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(preprocessing_case / "tensors.npz") as stored:
        tensors = dict(stored)
    tensors["outputs/none"][0, 0, 0, 0] += 1e-3
    np.savez(preprocessing_case / "tensors.npz", **tensors)
    assert main([str(preprocessing_case)]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_harness_counts_an_unknown_network_unless_told_not_to(
    preprocessing_case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = preprocessing_case / "case.json"
    file.write_text(file.read_text().replace("CycleGAN", "NoSuchSystem"))
    assert main([str(preprocessing_case.parent)]) == 1
    assert "UNSUPPORTED" in capsys.readouterr().out
    assert main([str(preprocessing_case.parent), "--supported-only"]) == 0


def test_harness_says_when_there_is_no_case(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "nothing", ignore_errors=True)
    assert main([str(tmp_path)]) == 2


def test_harness_says_which_of_several_folders_has_no_case(
    preprocessing_case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(preprocessing_case), str(tmp_path / "typo")]) == 2
    assert f"no case.json in {tmp_path / 'typo'}" in capsys.readouterr().err
