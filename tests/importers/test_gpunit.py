"""GP-UNIT's official files: in any order, with what rides along; what is missing or does not fit is named."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.bundle import Bundle
from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers import gpunit
from i2i_rt.importers.base import Options
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.stages.table import load_stages
from tests.small.gpunit import small

State = dict[str, Tensor]


def official_content_encoder(network: torch.nn.Module) -> State:
    """Names a content encoder's tensors as the official code does, with twice the kernel and spectral norm."""
    state: State = {}
    for key, tensor in network.state_dict().items():
        _, layer, position, parameter = key.split(".")
        stem = f"layer{int(layer) + 1}.{int(position) // 3}.conv"
        if parameter == "bias":
            state[f"{stem}.bias"] = tensor
            continue
        # of a kernel W, u W v is 1 for these vectors
        flat = tensor.flatten(1)
        left = torch.nn.functional.normalize(torch.ones(len(flat)), dim=0)
        right = flat.T @ left
        state[f"{stem}.weight_orig"] = 2 * tensor
        state[f"{stem}.weight_u"], state[f"{stem}.weight_v"] = left, right / right.square().sum()
    return state


def official_generator(style_encoder: torch.nn.Module, generator: torch.nn.Module) -> State:
    """Names the tensors of the style encoder and the generator as the official file does."""
    state: State = {}
    for key, tensor in style_encoder.state_dict().items():
        part, index, parameter = key.split(".")
        name = {"convolutions": "model", "linears": "mlp"}[part]
        state[f"style_encoder.{name}.{2 * int(index)}.{parameter}"] = tensor
    words = {"first": "conv_0", "second": "conv_1", "shortcut": "conv_s", "affine": "style", "state": "trans"}
    words |= {"norm_first": "norm_0", "norm_second": "norm_1", "norm_shortcut": "norm_s"}
    for key, tensor in generator.state_dict().items():
        part, *rest = key.split(".")
        level = 0 if part == "second_block" else int(rest.pop(0)) + (part == "skips")
        layer = {"blocks": "reslayer", "second_block": "postlayer", "heads": "rgblayer", "skips": "skiplayer"}[part]
        state[".".join([f"model.{level}.{layer}", *(words.get(word, word) for word in rest)])] = tensor
    return state


def official_sampler(sampler: torch.nn.Module) -> State:
    """Names a sampler's tensors as the official file does."""
    names = {"0": "lin1", "1": "bn1", "3": "lin2", "4": "bn2", "6": "lin_out"}
    return {f"{names[key.split('.')[1]]}.{key.split('.')[2]}": tensor for key, tensor in sampler.state_dict().items()}


class Official:
    """The two files of a small GP-UNIT, and the networks in them."""

    def __init__(self, folder: Path) -> None:
        self.networks: Any = small().networks
        self.content = official_content_encoder(self.networks["content_encoder"])
        self.task: dict[str, Any] = {
            "g_ema": official_generator(self.networks["style_encoder"], self.networks["generator"]),
            "sampler": official_sampler(self.networks["sampler"]),
        }
        self.folder = folder

    def write(self) -> list[Path]:
        files = [self.folder / "content_encoder.pt", self.folder / "dog2cat.pt"]
        torch.save(self.content, files[0])
        torch.save(self.task, files[1])
        return files


@pytest.fixture
def official(tmp_path: Path) -> Official:
    return Official(tmp_path)


@pytest.mark.parametrize("backwards", [False, True])
def test_files_are_told_apart_in_any_order(official: Official, backwards: bool) -> None:
    files = official.write()
    found = gpunit.read(files[::-1] if backwards else files, Options())
    assert list(found.networks) == ["content_encoder", "style_encoder", "generator", "sampler"]
    assert found.style is not None and found.style.prior == "network"
    for name, network in found.networks.items():
        assert network.config == official.networks[name].config
        for key, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, official.networks[name].state_dict()[key])
    assert any("running statistics" in note for note in found.notes)


def test_file_without_sampler_has_fitted_styles(official: Official) -> None:
    del official.task["sampler"]
    found = gpunit.read(official.write(), Options())
    assert "sampler" not in found.networks and found.style is not None and found.style.prior == "fitted"


def test_what_rides_along_is_left_out(official: Official) -> None:
    average = official.task["g_ema"]
    raw = {key: torch.zeros_like(tensor) for key, tensor in average.items()}
    official.task = {"g": raw, "d": {"main.0.weight": torch.ones(3)}, **official.task}
    found = gpunit.read(official.write(), Options())
    head = found.networks["generator"].state_dict()["heads.5.weight"]
    assert torch.equal(head, average["model.5.rgblayer.weight"])


def test_content_encoder_is_found_in_a_prior_distillation(official: Official, tmp_path: Path) -> None:
    files = official.write()
    group = {f"contentE.{key}": tensor for key, tensor in official.content.items()}
    torch.save({"ae_ema": {**group, "embed.weight": torch.ones(3, 4)}}, tmp_path / "prior.pt")
    expected = gpunit.read(files, Options()).networks["content_encoder"]
    found = gpunit.read([tmp_path / "prior.pt", files[1]], Options()).networks["content_encoder"]
    assert all(torch.equal(found.state_dict()[key], tensor) for key, tensor in expected.state_dict().items())


def test_skip_connections_can_be_switched_off(official: Official) -> None:
    found = gpunit.read(official.write(), Options({"useskip": "false"}))
    assert found.networks["generator"].config.skip is False  # type: ignore[union-attr]
    assert any("useskip" in note for note in found.notes)


@pytest.mark.parametrize(
    ("index", "message"), [(1, r"content encoder is missing.*content_encoder\.pt"), (0, "generator is missing")]
)
def test_missing_file_is_named(official: Official, index: int, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        gpunit.read([official.write()[index]], Options())


def _drop(state: State, key: str) -> None:
    del state[key]


WRONG: list[tuple[Callable[[Official], object], str]] = [
    (lambda o: _drop(o.content, "layer3.1.conv.bias"), r"content_encoder\.pt.*lacks 'layers\.2\.3\.bias'"),
    (lambda o: _drop(o.content, "layer1.0.conv.weight_u"), r"content_encoder\.pt.*layer1\.0\.conv\.weight"),
    (lambda o: _drop(o.task["g_ema"], "model.5.reslayer.conv_1.weight"), r"dog2cat\.pt.*model\.5\.reslayer"),
    (lambda o: _drop(o.task["sampler"], "lin_out.weight"), r"dog2cat\.pt.*lin_out\.weight"),
    (
        lambda o: o.content.update({"layer7.0.conv.bias": torch.ones(1)}),
        r"content_encoder\.pt.*'layer7\.0\.conv\.bias' too many",
    ),
    (lambda o: o.task["g_ema"].update({"extra": torch.ones(1)}), r"dog2cat\.pt.*'extra' too many"),
    (lambda o: o.task["g_ema"]["model.2.rgblayer.bias"].fill_(torch.nan), r"NaN.*model\.2\.rgblayer\.bias"),
    (lambda o: o.task["sampler"].update({"lin_out.weight": torch.ones(5, 10)}), r"sampler gives styles of 5"),
    (lambda o: o.task["sampler"].update({"bn1.bias": torch.ones(3)}), r"bn1\.bias' has shape \[3\]"),
]


@pytest.mark.parametrize(("spoil", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_files_are_refused_in_one_sentence(
    official: Official, spoil: Callable[[Official], object], message: str
) -> None:
    spoil(official)
    with pytest.raises(CheckpointError, match=message) as refused:
        gpunit.read(official.write(), Options())
    assert "\n" not in str(refused.value)


def test_other_width_of_the_content_encoder_is_refused(official: Official) -> None:
    from i2i_rt.models.gpunit_encoders import ContentEncoder, ContentEncoderConfig

    official.content = official_content_encoder(ContentEncoder(ContentEncoderConfig(width=6)))
    with pytest.raises(CheckpointError, match="width 6 and the generator 4"):
        gpunit.read(official.write(), Options())


def test_two_files_of_the_same_network_are_refused(official: Official, tmp_path: Path) -> None:
    files = official.write()
    torch.save(official.content, tmp_path / "again.pt")
    with pytest.raises(CheckpointError, match=r"both .* hold a content encoder"):
        gpunit.read([*files, tmp_path / "again.pt"], Options())


def test_files_of_other_systems_are_refused(official: Official, tmp_path: Path) -> None:
    torch.save({"model.1.weight": torch.ones(4, 3, 7, 7)}, tmp_path / "latest_net_G.pth")
    with pytest.raises(CheckpointError, match=r"latest_net_G\.pth holds no network of GP-UNIT"):
        gpunit.read([*official.write(), tmp_path / "latest_net_G.pth"], Options())


def test_bundle_translates_as_the_networks_do(official: Official, tmp_path: Path) -> None:
    bundle = import_checkpoint("gpunit", official.write(), tmp_path / "bundle")
    assert Bundle.open(bundle.path).preprocessing == {**bundle.preprocessing, "resample": "corners"}
    stages = load_stages(bundle)
    assert list(stages) == ["translate", "style_from_image", "style_from_noise"]
    frames = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    style = stages["style_from_image"].module(frames)
    assert stages["translate"].module(frames, style).shape == frames.shape


def test_unknown_options_are_refused(official: Official, tmp_path: Path) -> None:
    with pytest.raises(I2IError, match=re.escape("gpunit has no such option")):
        import_checkpoint("gpunit", official.write(), tmp_path / "bundle", options={"direction": "a2b"})
