"""TUNIT's official file: the averaged networks among much else; what is missing or does not fit is named."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers import tunit
from i2i_rt.importers.base import Options
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.models.tunit import GuidingNetwork, GuidingNetworkConfig
from i2i_rt.stages.table import load_stages
from tests.small.tunit import small

State = dict[str, Tensor]


def official_generator(network: torch.nn.Module) -> State:
    """Names a generator's tensors as the official file does, with the statistics that nothing uses."""
    levels = network.config.levels  # type: ignore[union-attr]
    state = {}
    for key, tensor in network.state_dict().items():
        part, *rest = key.split(".")
        number, layer = int(rest[0]) if rest[0].isdigit() else 0, rest[2] if len(rest) > 2 else ""
        stem = {
            "encode": f"cnt_encoder.model.{number}.conv",
            "encode_residual": f"cnt_encoder.model.{levels + 1}.model.{number}.model.{layer}.conv",
            "decode_residual": f"decoder.model.0.model.{number}.model.{layer}.conv",
            "decode": f"decoder.model.{2 * number + 2}.conv",
            "to_rgb": f"decoder.model.{2 * levels + 1}.conv",
            "mlp": f"mlp.model.{number // 2}.fc",
        }[part]
        state[f"{stem}.{rest[-1]}"] = tensor
        if part.startswith("decode") and rest[-1] == "bias":
            state[stem.removesuffix("conv") + "norm.running_mean"] = torch.zeros(len(tensor))
    return state


def official_guiding_network(network: torch.nn.Module) -> State:
    names = {"to_style": "cont", "to_cluster": "disc"}
    return {re.sub(r"^to_\w+", lambda match: names[match[0]], key): t for key, t in network.state_dict().items()}


@pytest.fixture
def official() -> dict[str, Any]:
    """Gives what the official file of a small system holds."""
    networks = small().networks
    generator = official_generator(networks["generator"])
    guiding_network = official_guiding_network(networks["guiding_network"])
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter], 1e-4)
    parameter.sum().backward()
    optimizer.step()
    return {
        "epoch": 4568,
        "G_state_dict": {key: torch.zeros_like(tensor) for key, tensor in generator.items()},
        "G_EMA_state_dict": generator,
        "C_EMA_state_dict": guiding_network,
        "inceptionNet_state_dict": {"blocks.0.0.conv.weight": torch.ones(2, 3, 3, 3)},
        "g_optimizer": optimizer.state_dict(),
        "best_mfid": np.float64(33.5),
    }


def write(content: object, folder: Path) -> Path:
    torch.save(content, folder / "model_4568.ckpt")
    return folder / "model_4568.ckpt"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_networks_are_the_averaged_ones(official: dict[str, Any], prefix: str, tmp_path: Path) -> None:
    for name in ("G_EMA_state_dict", "C_EMA_state_dict"):
        official[name] = {prefix + key: tensor for key, tensor in official[name].items()}
    found = tunit.read([write(official, tmp_path)], Options())
    assert found.style is not None and found.style.prior == "fitted"
    assert found.preprocessing.load_size == 64
    for name, network in small().networks.items():
        assert found.networks[name].config == network.config
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, found.networks[name].state_dict()[key])


@pytest.mark.parametrize(("group", "key"), [
    ("G_EMA_state_dict", "mlp.model.1.fc.bias"), ("G_EMA_state_dict", "cnt_encoder.model.0.conv.weight"),
    ("G_EMA_state_dict", "decoder.model.5.conv.weight"), ("C_EMA_state_dict", "features.8.bias"),
    ("C_EMA_state_dict", "cont.weight"),
])  # fmt: skip
def test_missing_tensor_is_named(official: dict[str, Any], group: str, key: str, tmp_path: Path) -> None:
    del official[group][key]
    with pytest.raises(CheckpointError, match=key.split(".")[-1]) as refused:
        tunit.read([write(official, tmp_path)], Options())
    assert "\n" not in str(refused.value)


def test_order_of_keys_does_not_matter(official: dict[str, Any], tmp_path: Path) -> None:
    in_order = tunit.read([write(official, tmp_path)], Options()).networks
    shuffled = {
        group: dict(sorted(state.items())) if isinstance(state, dict) and group.endswith("_state_dict") else state
        for group, state in official.items()
    }
    networks = tunit.read([write(shuffled, tmp_path)], Options()).networks
    for name, network in networks.items():
        assert network.config == in_order[name].config


def test_further_tensor_is_named(official: dict[str, Any], tmp_path: Path) -> None:
    official["C_EMA_state_dict"]["classifier.weight"] = torch.ones(2)
    with pytest.raises(CheckpointError, match=r"'classifier\.weight' too many"):
        tunit.read([write(official, tmp_path)], Options())


def test_networks_of_two_systems_are_refused(official: dict[str, Any], tmp_path: Path) -> None:
    other = GuidingNetwork(GuidingNetworkConfig((4,) * 8, style_dim=9, clusters=2))
    official["C_EMA_state_dict"] = official_guiding_network(other)
    with pytest.raises(CheckpointError, match="the generator's styles have 6 numbers, the guiding network's 9"):
        tunit.read([write(official, tmp_path)], Options())


def test_other_files_are_refused(official: dict[str, Any], tmp_path: Path) -> None:
    del official["C_EMA_state_dict"]
    with pytest.raises(CheckpointError, match="has no 'C_EMA_state_dict'"):
        tunit.read([write(official, tmp_path)], Options())
    with pytest.raises(I2IError, match="not 2"):
        tunit.read([tmp_path, tmp_path], Options())


def test_bundle_has_the_stages(official: dict[str, Any], tmp_path: Path) -> None:
    bundle = import_checkpoint("tunit", write(official, tmp_path), tmp_path / "bundle")
    stages = load_stages(bundle)
    assert list(stages) == ["translate", "style_from_image"]
    frames = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    style = stages["style_from_image"].module(frames)
    assert stages["translate"].module(frames, style).shape == frames.shape
