"""Official key layouts, made from our own networks: the importer must find every variant from keys and shapes."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from i2i_rt.checkpoint import identify, read_state
from i2i_rt.errors import CheckpointError
from i2i_rt.models import table
from i2i_rt.models.patchgan import PatchDiscriminator, PatchDiscriminatorConfig
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.models.unet import UNetGenerator, UNetGeneratorConfig


def official_resnet(generator: nn.Module, *, legacy: bool = False) -> dict[str, torch.Tensor]:
    """Names our tensors as the official code does, with the fixed filters and, in old files, unused statistics."""
    state = {key.replace("layers.", "model.", 1): tensor for key, tensor in generator.state_dict().items()}
    for index, layer in enumerate(generator.layers):
        if type(layer).__name__ in ("BlurPool", "BilinearUpsample"):
            state[f"model.{index}.filt"] = torch.ones(4, 1, 3, 3)
        if legacy and type(layer).__name__ == "InstanceNorm":
            state |= {f"model.{index}.running_mean": torch.ones(8), f"model.{index}.running_var": torch.ones(8)}
    return state


def official_unet(config: UNetGeneratorConfig) -> dict[str, torch.Tensor]:
    """Names the tensors of a fresh U-Net as the official code does: each level inside the one around it."""
    state = {}
    for key, tensor in UNetGenerator(config).state_dict().items():
        part, level, parameter = key.split(".")
        prefix = "model.model." if level == "0" else "model.model.1." + "model.3." * (int(level) - 1) + "model."
        innermost = int(level) == config.depth - 1
        number = {
            "down": 0 if level == "0" else 1,
            "down_norm": 2,
            "up": 3 if level == "0" or innermost else 5,
            "up_norm": 4 if innermost else 6,
        }[part]
        state[f"{prefix}{number}.{parameter}"] = tensor
    return state


RESNETS = [
    ResnetGeneratorConfig(width=width, blocks=blocks, antialias_down=down, antialias_up=up, norm=norm, dropout=dropout)
    for (width, blocks), (down, up), norm, dropout in itertools.product(
        [(4, 9), (6, 6), (8, 4)],
        [(False, False), (True, True), (True, False), (False, True)],
        ("instance", "batch"),
        (False, True),
    )
]


@pytest.mark.parametrize(
    "config", RESNETS, ids=lambda c: f"{c.blocks}-{c.antialias_down}-{c.antialias_up}-{c.norm}-{c.dropout}"
)
def test_resnet_is_found_from_keys_and_shapes(config: ResnetGeneratorConfig) -> None:
    generator = ResnetGenerator(config).eval()
    found = identify(official_resnet(generator))
    assert found.network.kind == "resnet-generator"
    assert ResnetGeneratorConfig(**found.network.config) == config
    image = torch.rand(1, 3, 16, 20) * 2 - 1
    with torch.no_grad():
        assert torch.equal(found.build()(image), generator(image))


@pytest.mark.parametrize("depth", [5, 7, 8])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_unet_is_found_from_keys_and_shapes(depth: int, norm: str) -> None:
    config = UNetGeneratorConfig(width=2, depth=depth, norm=norm)  # type: ignore[arg-type]
    found = identify(official_unet(config))
    assert UNetGeneratorConfig(**found.network.config) == config
    found.build()


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_discriminator_is_found_from_keys_and_shapes(antialias: bool, norm: str) -> None:
    config = PatchDiscriminatorConfig(in_channels=6, width=4, norm=norm, antialias=antialias)  # type: ignore[arg-type]
    state = {key.replace("layers.", "model."): t for key, t in PatchDiscriminator(config).state_dict().items()}
    assert PatchDiscriminatorConfig(**identify(state).network.config) == config


def test_prefixes_and_containers_are_unwrapped(tmp_path: Path) -> None:
    state = official_resnet(ResnetGenerator(ResnetGeneratorConfig(width=4, blocks=2)))
    torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}}, tmp_path / "a.pth")
    assert set(read_state(tmp_path / "a.pth")) == set(state)


def test_unused_statistics_of_old_files_are_left_out_and_said() -> None:
    state = official_resnet(ResnetGenerator(ResnetGeneratorConfig(width=4, blocks=2)), legacy=True)
    found = identify(state)
    assert "left out" in found.notes[0]
    found.build()


def test_incomplete_network_is_refused() -> None:
    state = official_resnet(ResnetGenerator(ResnetGeneratorConfig(width=4, blocks=2)))
    del state["model.10.conv_block.5.weight"]
    with pytest.raises(CheckpointError, match="not a complete resnet-generator"):
        identify(state).build()
    del state["model.1.weight"]
    with pytest.raises(CheckpointError, match=r"resnet-generator but is not complete: 'model\.1\.weight'"):
        identify(state)


def test_every_network_goes_through_its_json_entry() -> None:
    with torch.device("meta"):  # no weights: some networks have hundreds of megabytes
        for kind, (config, module) in table.NETWORKS.items():
            made = module(config((3, 4))) if kind == "patch-sampler" else module(config())
            entry = table.describe(made)
            assert entry.kind == kind
            assert table.build(entry).config == made.config  # type: ignore[union-attr]
