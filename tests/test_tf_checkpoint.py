"""TensorFlow 1 bundles: what is written comes back, and what is damaged is one sentence."""

from pathlib import Path

import pytest
import torch

from i2i_rt.errors import CheckpointError
from i2i_rt.tf_checkpoint import bundle_files, crc32c, find_bundle, read_bundle
from tests.tf_bundle import write_bundle

VARIABLES = {f"scope/layer_{n}/weight": torch.randn(3, 3, n + 1, 4) for n in range(40)} | {
    "global_step": torch.tensor(1234),
    "scope/scale": torch.tensor(0.5, dtype=torch.float64),
    "scope/empty": torch.zeros(0, 4),
}


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "model.ckpt-1234", VARIABLES)


def test_checksum_is_castagnoli() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the polynomial


def test_every_variable_comes_back(prefix: Path) -> None:
    read = read_bundle(prefix)
    assert set(read) == set(VARIABLES)
    for name, tensor in VARIABLES.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)


def test_optimizer_slots_are_left_out(tmp_path: Path) -> None:
    names = ("a/w", "a/w/Adam", "a/w/Adam_1", "a/w/ExponentialMovingAverage")
    prefix = write_bundle(tmp_path / "m", dict.fromkeys(names, torch.ones(2)))
    assert set(read_bundle(prefix)) == {"a/w", "a/w/ExponentialMovingAverage"}


@pytest.mark.parametrize("ending", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_any_file_of_the_bundle_leads_to_it(prefix: Path, ending: str) -> None:
    assert find_bundle(f"{prefix}{ending}") == prefix
    assert [file.name for file in bundle_files(prefix)] == [
        "model.ckpt-1234.index",
        "model.ckpt-1234.data-00000-of-00001",
    ]


def test_a_folder_leads_to_the_one_that_it_names_else_to_the_newest(tmp_path: Path) -> None:
    for step in (9, 10):
        write_bundle(tmp_path / f"model.ckpt-{step}", VARIABLES)
    assert find_bundle(tmp_path).name == "model.ckpt-10"
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-9"\n')
    assert find_bundle(tmp_path).name == "model.ckpt-9"


def test_nothing_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file ends in \.index"):
        find_bundle(tmp_path)
    with pytest.raises(CheckpointError, match=r"UNIT\.model-0\.index is missing"):
        find_bundle(tmp_path / "UNIT.model-0")


def test_missing_shard_is_a_sentence(prefix: Path) -> None:
    bundle_files(prefix)[1].unlink()
    with pytest.raises(CheckpointError, match="data-00000-of-00001 is missing"):
        read_bundle(prefix)


def test_short_shard_is_a_sentence(prefix: Path) -> None:
    file = bundle_files(prefix)[1]
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="cut short"):
        read_bundle(prefix)


@pytest.mark.parametrize("position", range(0, 2000, 97))
def test_damaged_index_is_a_sentence(prefix: Path, position: int) -> None:
    file = bundle_files(prefix)[0]
    content = bytearray(file.read_bytes())
    content[position % len(content)] ^= 0x10
    file.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_bundle(prefix)


@pytest.mark.parametrize("length", [0, 7, 47, 500])
def test_cut_index_is_a_sentence(prefix: Path, length: int) -> None:
    file = bundle_files(prefix)[0]
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="cut short or no index"):
        read_bundle(prefix)


def test_other_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.index").write_text("name,value\n" * 20)
    with pytest.raises(CheckpointError, match="no index of a TensorFlow checkpoint"):
        read_bundle(tmp_path / "a")
