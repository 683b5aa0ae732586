"""CyCADA's files: a generator, each task network, and what is refused."""

from pathlib import Path

import pytest
import torch

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers import cycada
from i2i_rt.importers.base import Options
from i2i_rt.importers.table import import_checkpoint
from tests import official_munit as official
from tests.small.cycada import SMALL, small_dtn, small_generator, small_lenet


def saved(file: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save(state, file)
    return file


@pytest.mark.parametrize(
    ("key", "stage"),
    [("cycada-drn", "segment"), ("cycada-fcn8s", "segment"), ("cycada-lenet", "classify"), ("cycada-dtn", "classify")],
)
def test_task_network_becomes_a_bundle(tmp_path: Path, key: str, stage: str) -> None:
    ((name, network),) = SMALL[key]().networks.items()
    file = saved(tmp_path / "net.pth", official.task_network(network))
    bundle = import_checkpoint("cycada", file, tmp_path / "bundle")
    assert list(bundle.stages) == [stage] and list(bundle.networks) == [name]
    imported = cycada.read([file], Options()).networks[name]
    assert all(torch.equal(tensor, imported.state_dict()[key]) for key, tensor in network.state_dict().items())


def test_target_network_of_an_adaptation_is_taken(tmp_path: Path) -> None:
    state = official.task_network(small_lenet().networks["classifier"])
    both = {f"src_net.{key}": -tensor for key, tensor in state.items()}
    both |= {f"tgt_net.{key}": tensor for key, tensor in state.items()} | {"discriminator.0.weight": torch.ones(1)}
    imported = cycada.read([saved(tmp_path / "adda.pth", both)], Options())
    assert torch.equal(imported.networks["classifier"].last.bias, state["classifier.2.bias"])  # type: ignore[union-attr]
    assert "target network" in imported.notes[0]


def test_generator_is_read_as_cyclegans(tmp_path: Path) -> None:
    network = small_generator().networks["generator"]
    state = {key.replace("layers.", "model.", 1): tensor for key, tensor in network.state_dict().items()}
    file = saved(tmp_path / "latest_net_G_A.pth", state)
    imported = cycada.read([file], Options({"fineSize": "32"}))
    assert imported.preprocessing.size(64, 48) == (32, 32)
    assert any("dropout stays on" in note for note in imported.notes)
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(imported.networks["generator"](image), network(image))


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    file, state = tmp_path / "a.pth", official.task_network(small_dtn().networks["classifier"])
    with pytest.raises(CheckpointError, match="has shape"):
        cycada.read([saved(file, {**state, "fc_params.0.weight": torch.ones(12, 4)})], Options())
    with pytest.raises(CheckpointError, match="'extra' too many"):
        cycada.read([saved(file, {**state, "extra": torch.ones(1)})], Options())
    with pytest.raises(CheckpointError, match="no network that is known"):
        cycada.read([saved(file, {"a.weight": torch.ones(1)})], Options())
    with pytest.raises(I2IError, match="one file"):
        cycada.read([file, file], Options())
