"""StarGAN v2's official files: with and without FAN and the filter; what is missing or does not fit is named."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers import stargan
from i2i_rt.importers.base import Options
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.models.stargan import StarGANDiscriminator, StarGANDiscriminatorConfig
from i2i_rt.stages.table import load_stages
from tests.small.stargan import small

State = dict[str, Tensor]


def official_trunk(network: torch.nn.Module, prefix: str) -> State:
    """Names the tensors of a style encoder or a discriminator as the official file does."""
    blocks = len(network.trunk.blocks)  # type: ignore[union-attr, arg-type]
    state = {}
    for key, tensor in network.state_dict().items():
        name = re.sub(r"^trunk\.first", f"{prefix}.0", key)
        name = re.sub(r"^trunk\.blocks\.(\d+)", lambda match: f"{prefix}.{int(match[1]) + 1}", name)
        name = re.sub(r"^trunk\.last", f"{prefix}.{blocks + 2}", name)
        name = re.sub(r"^head\.", f"{prefix}.{blocks + 4}.", re.sub(r"^heads", "unshared", name))
        state[name.replace("shortcut", "conv1x1")] = tensor
    return state


def official_generator(network: torch.nn.Module) -> State:
    """Names a generator's tensors as the official file does, with the unused convolutions of one with masks."""
    names = {"to_rgb_norm": "to_rgb.0", "to_rgb": "to_rgb.2"}
    state = {}
    for key, tensor in network.state_dict().items():
        start, rest = key.split(".", 1)
        state[f"{names.get(start, start)}.{rest.replace('shortcut', 'conv1x1')}"] = tensor
    if network.config.w_hpf:  # type: ignore[union-attr]
        state["decode.4.conv1x1.weight"] = torch.ones(4, 8, 1, 1)
    return state


def official_fan(network: torch.nn.Module) -> State:
    """Names FAN's tensors as the official file does."""
    words = {"beside": 1, "before": 2, "after": 3}
    names = {"stem": "conv1.conv", "stem_norm": "bn1", "mix": "m0.coordconv.conv", "top": "top_m_0"}
    names |= {"last": "conv_last0", "last_norm": "bn_end0", "head": "l0"}
    state = {}
    for key, tensor in network.state_dict().items():
        name = re.sub(r"norms\.(\d)", lambda match: f"bn{int(match[1]) + 1}", key)
        name = re.sub(r"convs\.(\d)", lambda match: f"conv{int(match[1]) + 1}", name)
        start, rest = name.split(".", 1)
        if start == "blocks":
            index, rest = rest.split(".", 1)
            start = f"conv{int(index) + 2}"
        elif start == "hourglass":
            level = 2 - rest.count("inside.")
            rest = rest.replace("inside.", "")
            word, _, inside = rest.partition(".")
            start, rest = (f"m0.b{words[word]}_{level}", inside) if word in words else ("m0.b2_plus_1", rest)
        state[f"{names.get(start, start)}.{rest.replace('shortcut', 'downsample')}"] = tensor
    return state


def official(masks: bool = False) -> dict[str, Any]:
    """Gives what the official file of a small system holds."""
    networks: Any = small(masks=masks).networks
    mapping = networks["mapping_network"].state_dict()
    content = {
        "generator": official_generator(networks["generator"]),
        "mapping_network": {key.replace("heads", "unshared"): tensor for key, tensor in mapping.items()},
        "style_encoder": official_trunk(networks["style_encoder"], "shared"),
    }
    return content | ({"fan": official_fan(networks["fan"])} if masks else {})


def write(content: object, folder: Path, name: str = "100000_nets_ema.ckpt") -> Path:
    torch.save(content, folder / name)
    return folder / name


def check(found: stargan.Imported, masks: bool) -> None:
    """Fails unless the networks are those of `small`."""
    expected = small(masks=masks).networks
    assert set(found.networks) == set(expected)
    for name, network in found.networks.items():
        assert network.config == expected[name].config
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, expected[name].state_dict()[key]), (name, key)


@pytest.mark.parametrize("masks", [False, True])
def test_networks_are_those_in_the_file(masks: bool, tmp_path: Path) -> None:
    found = stargan.read([write(official(masks), tmp_path)], Options())
    check(found, masks)
    assert found.style is not None and found.style.prior == "network"
    assert found.style.domains == (("female", "male") if masks else ("cat", "dog", "wild"))
    assert (found.preprocessing.load_size, found.preprocessing.resample) == (64, "bilinear")


def test_prefixes_of_data_parallel_and_what_rides_along_are_left_out(tmp_path: Path) -> None:
    content = {name: {f"module.{key}": tensor for key, tensor in group.items()} for name, group in official().items()}
    content["discriminator"] = {"module.main.0.bias": torch.ones(4)}
    check(stargan.read([write(content, tmp_path, "100000_nets.ckpt")], Options()), masks=False)


@pytest.mark.parametrize("backwards", [False, True])
def test_fan_may_lie_in_a_second_file(backwards: bool, tmp_path: Path) -> None:
    content = official(masks=True)
    wing = {"state_dict": {**content.pop("fan"), "m1.b1_4.bn1.weight": torch.ones(2)}, "epoch": 3}
    files = [write(content, tmp_path), write(wing, tmp_path, "wing.ckpt")]
    check(stargan.read(files[::-1] if backwards else files, Options()), masks=True)


def test_generator_with_masks_needs_fan(tmp_path: Path) -> None:
    content = official(masks=True)
    del content["fan"]
    with pytest.raises(CheckpointError, match=r"give the official wing\.ckpt as a second file"):
        stargan.read([write(content, tmp_path)], Options())


@pytest.mark.parametrize(("stored", "given", "expected"), [(None, {}, 1), (2, {}, 2), (None, {"w_hpf": "0.5"}, 0.5)])
def test_weight_of_the_filter(stored: float | None, given: dict[str, str], expected: float, tmp_path: Path) -> None:
    content = official(masks=True)
    if stored is not None:
        filter_ = -torch.ones(3, 3)
        filter_[1, 1] = 8
        content["generator"]["hpf.filter"] = filter_ / stored
    found = stargan.read([write(content, tmp_path)], Options(given))
    assert found.networks["generator"].config.w_hpf == expected  # type: ignore[union-attr]
    assert bool(found.notes) == (stored is None and not given)


@pytest.mark.parametrize(("masks", "value"), [(True, "0"), (False, "1")])
def test_weight_of_the_filter_must_fit_the_generator(masks: bool, value: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"w_hpf is {value}, but the generator"):
        stargan.read([write(official(masks), tmp_path)], Options({"w_hpf": value}))


def test_domains_are_named(tmp_path: Path) -> None:
    file = write(official(), tmp_path)
    named = stargan.read([file], Options({"domains": "summer, autumn, winter"}))
    assert named.style is not None and named.style.domains == ("summer", "autumn", "winter")
    with pytest.raises(CheckpointError, match="domains names 2, but the networks have 3 domains"):
        stargan.read([file], Options({"domains": "summer,winter"}))


@pytest.mark.parametrize(("group", "key"), [
    ("generator", "encode.1.norm1.weight"), ("generator", "from_rgb.weight"), ("generator", "decode.1.norm2.fc.bias"),
    ("mapping_network", "unshared.1.4.bias"), ("style_encoder", "shared.2.conv1.bias"),
])  # fmt: skip
def test_missing_tensor_is_named(group: str, key: str, tmp_path: Path) -> None:
    content = official()
    del content[group][key]
    with pytest.raises(CheckpointError, match=re.escape(key.split(".")[-1])) as refused:
        stargan.read([write(content, tmp_path)], Options())
    assert "\n" not in str(refused.value)


def test_further_tensor_is_named(tmp_path: Path) -> None:
    content = official()
    content["generator"]["encode.9x.bias"] = torch.ones(2)
    with pytest.raises(CheckpointError, match=r"'encode\.9x\.bias' too many"):
        stargan.read([write(content, tmp_path)], Options())


def test_networks_of_two_systems_are_refused(tmp_path: Path) -> None:
    content = official() | {"mapping_network": official(masks=True)["mapping_network"]}
    with pytest.raises(CheckpointError, match="the mapping network has 2 domains, the style encoder 3"):
        stargan.read([write(content, tmp_path)], Options())
    content = official()
    for key in [key for key in content["generator"] if key.startswith("encode.3.")]:
        del content["generator"][key]
    with pytest.raises(CheckpointError, match="images of 64x64, which the generator's 1 reductions do not fit"):
        stargan.read([write(content, tmp_path)], Options())


def test_second_file_that_nothing_needs_is_refused(tmp_path: Path) -> None:
    first = write(official(), tmp_path)
    second = write({"weights": torch.ones(1)}, tmp_path, "wing.ckpt")
    with pytest.raises(CheckpointError, match=f"takes no masks of the face: leave {second} out"):
        stargan.read([first, second], Options())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no 'generator'; it has 'model'"):
        stargan.read([write({"model": {"a": torch.ones(1)}}, tmp_path)], Options())
    with pytest.raises(I2IError, match="not 3 files"):
        stargan.read([tmp_path / "a"] * 3, Options())


def test_discriminator_is_read() -> None:
    torch.manual_seed(0)
    network = StarGANDiscriminator(StarGANDiscriminatorConfig(4, 8, 32, domains=3)).eval()
    found = stargan.load("discriminator", official_trunk(network, "main"), "file")
    image = torch.rand(2, 3, 32, 32)
    assert found.config == network.config and torch.equal(found(image), network(image))


@pytest.mark.parametrize("system", ["starganv2", "smoothing"])
def test_bundle_has_the_stages(system: str, tmp_path: Path) -> None:
    bundle = import_checkpoint(system, write(official(), tmp_path), tmp_path / "bundle")
    stages = load_stages(bundle)
    assert list(stages) == ["translate", "style_from_image", "style_from_noise"]
    style = stages["style_from_noise"].module(torch.zeros(1, 5), torch.tensor([2]))
    frames = torch.zeros(1, 64, 96, 3, dtype=torch.uint8)
    assert stages["translate"].module(frames, style).shape == frames.shape
    with pytest.raises(I2IError, match="has no such option"):
        import_checkpoint(system, tmp_path / "100000_nets_ema.ckpt", tmp_path / "other", options={"direction": "a2b"})
