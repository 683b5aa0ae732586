"""Bundles of StEP, made from our own networks: what is found in them, and what is refused."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i_rt.errors import CheckpointError
from i2i_rt.importers.base import Options
from i2i_rt.importers.step import read
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.models.step import StepEncoder, StepGenerator, StepGeneratorConfig, StepMapper
from i2i_rt.stages.table import load_stages
from tests.small.step import small
from tests.tf_bundle import write_bundle

NAMES = (
    (r"down\.0", "g_model_enc/conv0"),
    (r"down_norm\.0", "g_model_enc/instance_norm/InstanceNorm"),
    (r"down\.(\d)", lambda m: f"g_model_enc/downsampling/downsampling_block{int(m[1]) - 1}/conv{m[1]}"),
    (r"down_norm\.(\d)", lambda m: f"g_model_enc/downsampling/downsampling_block{int(m[1]) - 1}/instance_norm/I"),
    (r"encoder\.(\d)\.conv(\d)", r"g_model_enc/res_blocks/resblock\1/res\2/res\2_conv"),
    (r"encoder\.(\d)\.norm(\d)", r"g_model_enc/res_blocks/resblock\1/res\2/res\2_norm/InstanceNorm"),
    (r"decoder\.(\d)\.conv(\d)", r"g_model_dec/res_blocks/resblock\1/res\2/res\2_conv"),
    (r"decoder\.(\d)\.norm(\d)", r"g_model_dec/res_blocks/resblock\1/res\2/res\2_norm/InstanceNorm"),
    (r"up\.(\d)\.(\d)", lambda m: f"g_model_dec/upsampling/upscale_{int(m[1]) + 1}/conv{m[2]}"),
    (r"rgb", "g_model_dec/upsampling/rgb"),
    (r"conv", "appearance_net/conv0"),
    (r"blocks\.(\d)\.conv(\d)", r"appearance_net/BB\1/bb_path1/bb_conv\2"),
    (r"blocks\.(\d)\.shortcut", r"appearance_net/BB\1/bb_path2/path2_conv"),
    (r"mean", "appearance_net/FC_mean/dense"),
    (r"log_variance", "appearance_net/FC_logvar/dense"),
    (r"layers\.0", "dense"),
    (r"layers\.(\d)", r"dense_\1"),
)


def official(*networks: nn.Module) -> dict[str, Tensor]:
    """Names the tensors as the official code does, in TensorFlow's layout, without the scale of equalised layers."""
    variables = {}
    for network in networks:
        for key, tensor in network.state_dict().items():
            module, _, parameter = key.rpartition(".")
            name = next(re.sub(old, new, module) for old, new in NAMES if re.fullmatch(old, module))
            name = name.removesuffix("/I") + ("/InstanceNorm" if name.endswith("/I") else "")
            if tensor.ndim == 4:
                slope = 1.0 if re.search(r"/(resblock|BB)\d/", name) else 0.2
                tensor = tensor / math.sqrt(2 / ((1 + slope**2) * tensor[0].numel()))
                tensor = tensor.permute(2, 3, 1, 0).contiguous()
            elif tensor.ndim == 2:
                tensor, parameter = tensor.t().contiguous(), "kernel"
            elif "norm" in key.lower():
                parameter = {"weight": "gamma", "bias": "beta"}[parameter]
            variables[f"{name}/{parameter}"] = tensor
    return variables


@pytest.fixture
def networks() -> dict[str, Any]:
    return dict(small().networks)


def test_all_networks_are_found(networks: dict[str, Any], tmp_path: Path) -> None:
    main = official(networks["generator"], networks["style_encoder"])
    riders = {"d_model_1/D_scale0/block_0/conv0/weight": torch.zeros(4, 4, 6, 8), "global_step": torch.tensor(1)}
    write_bundle(tmp_path / "model.ckpt-7", main | riders | {f"{name}/Adam": main[name] for name in main})
    mapper = write_bundle(tmp_path / "mapper", official(networks["mapper"]))
    for given in ([tmp_path / "model.ckpt-7", mapper], [mapper.with_suffix(".index"), tmp_path / "model.ckpt-7.meta"]):
        imported = read(given, Options())
        assert imported.style is not None and imported.style.prior == "network"
        assert set(imported.networks) == set(networks)
        for name, network in networks.items():
            assert imported.networks[name].config == network.config
            for key, tensor in network.state_dict().items():
                torch.testing.assert_close(imported.networks[name].state_dict()[key], tensor)


def test_bundle_names_the_files_and_runs(networks: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "finetune"
    folder.mkdir()
    write_bundle(folder / "model.ckpt-7", official(networks["generator"], networks["style_encoder"]))
    bundle = import_checkpoint("step", folder, tmp_path / "bundle")
    assert bundle.provenance.source == "model.ckpt-7.index, model.ckpt-7.data-00000-of-00001"
    assert bundle.style is not None and bundle.style.prior == "fitted"
    stages = load_stages(bundle)
    assert list(stages) == ["translate", "style_from_image"]
    style = stages["style_from_image"].module(torch.zeros(1, 32, 16, 3, dtype=torch.uint8))
    assert stages["translate"].module(torch.zeros(1, 16, 32, 3, dtype=torch.uint8), style).shape == (1, 16, 32, 3)


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("everywhere", [True, False])
def test_arrangement_is_found_from_shapes(
    networks: dict[str, Any], tmp_path: Path, skips: bool, everywhere: bool
) -> None:
    config = StepGeneratorConfig(
        style_size=4,
        width=4,  # as the style, which the last layer alone does not tell from a skip
        reductions=1,
        encoder_blocks=0,
        decoder_blocks=1,
        skips=skips,
        style_everywhere=everywhere,
    )
    prefix = write_bundle(tmp_path / "m", official(StepGenerator(config), networks["style_encoder"]))
    assert read([prefix], Options()).networks["generator"].config == config


def test_moving_averages_win(networks: dict[str, Any], tmp_path: Path) -> None:
    main = official(networks["generator"], networks["style_encoder"])
    raw = {name: torch.zeros_like(tensor) for name, tensor in main.items()}
    averages = {f"{name}/ExponentialMovingAverage": tensor for name, tensor in main.items()}
    imported = read([write_bundle(tmp_path / "m", raw | averages)], Options())
    torch.testing.assert_close(imported.networks["generator"].rgb.weight, networks["generator"].rgb.weight)


def test_encoder_beside_the_generator_wins(networks: dict[str, Any], tmp_path: Path) -> None:
    pretrained = official(StepEncoder(networks["style_encoder"].config))
    alone = write_bundle(tmp_path / "pretrained", pretrained)
    both = write_bundle(tmp_path / "tuned", official(networks["generator"], networks["style_encoder"]))
    for given in ([alone, both], [both, alone]):
        encoder = read(given, Options()).networks["style_encoder"]
        torch.testing.assert_close(encoder.conv.weight, networks["style_encoder"].conv.weight)


def test_scale_and_norm_follow_the_options(networks: dict[str, Any], tmp_path: Path) -> None:
    main = official(networks["generator"], networks["style_encoder"])
    options = Options({"use_scaling": "false", "normalize_drit_Ez": "false"})
    imported = read([write_bundle(tmp_path / "m", main)], options)
    rgb = main["g_model_dec/upsampling/rgb/weight"].permute(3, 2, 0, 1)
    torch.testing.assert_close(imported.networks["generator"].rgb.weight, rgb)
    assert not imported.networks["style_encoder"].config.normalize


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("g_model_dec/upsampling/rgb/weight"), "g_model_dec/upsampling/rgb/weight' is missing"),
        (lambda v: v.pop("g_model_dec/upsampling/rgb/bias"), r"it lacks 'g_model_dec/upsampling/rgb/bias'"),
        (lambda v: v.update({"g_model_dec/more/weight": torch.zeros(1)}), r"g_model_dec/more/weight' too many"),
        (lambda v: v.update({"g_model_dec/upsampling/rgb/bias": torch.zeros(4)}), r"rgb/bias' has shape \[4\]"),
    ],
)
def test_wrong_generator_is_a_sentence(networks: dict[str, Any], tmp_path: Path, change: Any, message: str) -> None:
    variables = official(networks["generator"], networks["style_encoder"])
    change(variables)
    with pytest.raises(CheckpointError, match=message):
        read([write_bundle(tmp_path / "m", variables)], Options())


def test_missing_networks_are_sentences(networks: dict[str, Any], tmp_path: Path) -> None:
    alone = write_bundle(tmp_path / "encoder", official(networks["style_encoder"]))
    with pytest.raises(CheckpointError, match="no generator is there"):
        read([alone], Options())
    with pytest.raises(CheckpointError, match="neither a style encoder"):
        read([write_bundle(tmp_path / "generator", official(networks["generator"]))], Options())
    with pytest.raises(CheckpointError, match="holds no network of StEP"):
        read([write_bundle(tmp_path / "other", {"UNIT/encoder_A/w": torch.zeros(1)})], Options())
    mapper = StepMapper(networks["mapper"].config.__class__((6, 16, 9)))
    with pytest.raises(CheckpointError, match="the mapper gives styles of 9 numbers and the generator takes 4"):
        read(
            [
                write_bundle(tmp_path / "g", official(networks["generator"])),
                write_bundle(tmp_path / "m", official(mapper)),
            ],
            Options(),
        )
