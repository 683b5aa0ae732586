"""Bundles of EGSC-IT, made from our own networks: both directions, both stages' files, and what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Options
from i2i_rt.importers.egscit import read
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.models.egscit import EgscitAutoencoder, EgscitAutoencoderConfig
from i2i_rt.stages.table import load_stages
from tests.tf_bundle import write_bundle

LAYERS = (
    (r"convs\.(\d)", r"conv_\1/conv2d"),
    (r"(?:blocks\.)?(\d)\.conv(\d)", r"resblock_\1/res\2/conv2d"),
    (r"deconvs\.(\d)", r"deconv_\1/conv2d_transpose"),
    (r"last", "deconv_tanh/conv2d_transpose"),
)


def official(network: nn.Module, scopes: dict[str, str]) -> dict[str, Tensor]:
    """Names the tensors of a network's parts as the official code does, in TensorFlow's layout."""
    variables = {}
    for key, tensor in network.state_dict().items():
        part, _, rest = key.partition(".")
        module, _, parameter = rest.rpartition(".")
        layer = next(re.sub(old, new, module) for old, new in LAYERS if re.fullmatch(old, module))
        if tensor.ndim == 4:
            tensor = tensor.transpose(0, 1) if module == "last" else tensor
            tensor, parameter = tensor.permute(2, 3, 1, 0).contiguous(), "kernel"
        if part in scopes:
            variables[f"{scopes[part]}/{layer}/{parameter}"] = tensor
    return variables


@pytest.fixture(params=[0, 2], ids=["digits", "streets"])
def variables(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    """Draws both domains' networks; the shared parts of domain B are those of A."""
    torch.manual_seed(0)
    config = EgscitAutoencoderConfig(width=4, reductions=request.param, encoder_blocks=1, decoder_blocks=2)
    found: dict[str, Tensor] = {}
    for domain in "BA":
        scopes = {"encoder": f"UNIT/encoder_{domain}", "decoder": f"UNIT/generator_{domain}"}
        scopes |= {"shared_encoder": "UNIT/share_encoder", "shared_decoder": "UNIT/share_generator"}
        found |= official(EgscitAutoencoder(config), scopes)
        parts = {name: f"VAEGAN_recon_{domain}/part{n}" for n, name in enumerate(PARTS, 1)}
        found |= official(EgscitAutoencoder(config), parts)
    return found


PARTS = ("encoder", "shared_encoder", "shared_decoder", "decoder")


def split(variables: dict[str, Tensor], folder: Path) -> list[Path]:
    """Writes the two stages' bundles."""
    prefixes = []
    for name, start in (("first", "VAEGAN"), ("second", "UNIT")):
        (folder / name).mkdir()
        own = {key: tensor for key, tensor in variables.items() if key.startswith(start)}
        prefixes.append(write_bundle(folder / name / "UNIT.model-0", own | {"UNIT_step": torch.tensor(1)}))
    return prefixes


def test_directions_take_their_own_networks(variables: dict[str, Tensor], tmp_path: Path) -> None:
    prefixes = split(variables, tmp_path)
    for direction, (content, style) in (("a2b", "AB"), ("b2a", "BA")):
        for given in (prefixes, prefixes[::-1]):
            imported = read(given, Options({"direction": direction}))
            generator, encoder = imported.networks["generator"], imported.networks["style_encoder"]
            for module, scope in (
                (generator.encoder, f"UNIT/encoder_{content}"),
                (generator.mask_features, f"VAEGAN_recon_{content}/part1"),
                (encoder.features, f"VAEGAN_recon_{style}/part1"),
            ):
                kernel = variables[f"{scope}/conv_0/conv2d/kernel"].permute(3, 2, 0, 1)
                assert torch.equal(module.convs[0].weight, kernel)
            last = variables[f"UNIT/generator_{style}/deconv_tanh/conv2d_transpose/bias"]
            assert torch.equal(generator.decoder.last.bias, last)
            assert generator.config.noise_seed == 0 and generator.config.decoder_blocks == 2


def test_bundle_runs(variables: dict[str, Tensor], tmp_path: Path) -> None:
    bundle = import_checkpoint("egscit", split(variables, tmp_path), tmp_path / "bundle", options={"noise": "false"})
    assert bundle.style is not None and bundle.style.prior == "fitted"
    stages = load_stages(bundle)
    frames = torch.randint(0, 256, (1, 32, 48, 3)).byte()
    style = stages["style_from_image"].module(frames)
    assert stages["translate"].module(frames, style).shape == frames.shape


def test_a_first_stage_in_the_same_file_is_enough(variables: dict[str, Tensor], tmp_path: Path) -> None:
    assert read([write_bundle(tmp_path / "UNIT.model-0", variables)], Options()).networks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: [v.pop(key) for key in list(v) if key.startswith("VAEGAN")], "no variable VAEGAN_recon_A/part1/…"),
        (lambda v: [v.pop(key) for key in list(v) if key.startswith("UNIT")], "no variable UNIT/encoder_A/…"),
        (lambda v: v.pop("UNIT/encoder_A/conv_0/conv2d/kernel"), "UNIT/encoder_A/conv_0/conv2d/kernel' is missing"),
        (lambda v: v.pop("UNIT/encoder_A/conv_0/conv2d/bias"), r"it lacks 'UNIT/encoder_A/conv_0/conv2d/bias'"),
        (lambda v: v.update({"UNIT/encoder_A/norm/gamma": torch.zeros(1)}), "no published EGSC-IT network has"),
        (lambda v: v.update({"UNIT/encoder_A/conv_0/conv2d/bias": torch.zeros(9)}), r"has shape \[9\] where \[4\]"),
    ],
)
def test_wrong_files_are_sentences(variables: dict[str, Tensor], tmp_path: Path, change: Any, message: str) -> None:
    change(variables)
    with pytest.raises(CheckpointError, match=message):
        read([write_bundle(tmp_path / "UNIT.model-0", variables)], Options())


def test_unknown_direction_is_a_sentence(variables: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(I2IError, match="must be a2b or b2a"):
        read([write_bundle(tmp_path / "UNIT.model-0", variables)], Options({"direction": "c2d"}))
