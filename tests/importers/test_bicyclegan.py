"""Official files of BicycleGAN, made from our own networks: what is found in them, and what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Options
from i2i_rt.importers.bicyclegan import read
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.models.bicyclegan import (
    BicycleGANEncoder,
    BicycleGANEncoderConfig,
    BicycleGANGenerator,
    BicycleGANGeneratorConfig,
)
from i2i_rt.stages.table import load_stages


def official_generator(config: BicycleGANGeneratorConfig) -> dict[str, Tensor]:
    """Names the tensors of a fresh generator as the official code does: each level inside the one around it."""
    everywhere, bilinear, normed = config.style_at == "all", config.upsample == "bilinear", config.norm != "none"
    state = {}
    for key, tensor in BicycleGANGenerator(config).state_dict().items():
        part, number, parameter = key.split(".")
        level = int(number)
        if everywhere:
            prefix = "model." + "submodule." * level
            place = {"down": 1 if level else 0, "down_norm": 2, "up": 3 if bilinear else 1}
            place["up_norm"] = place["up"] + 1
            state[f"{prefix}{part.removesuffix('_norm')}.{place[part]}.{parameter}"] = tensor
            continue
        inner, outer = level == config.depth - 1, level == 0
        inside = 1 if outer else 3 if normed else 2  # the place of the level within
        prefix = "model.model." + ("1.model." if level else "") + f"{3 if normed else 2}.model." * (level - 1)
        up = (inside + 2 if not inner else 3) + (2 if bilinear else 0)
        place = {"down": 0 if outer else 1, "down_norm": 2, "up": up, "up_norm": up + 1}
        state[f"{prefix}{place[part]}.{parameter}"] = tensor
    return state


def official_encoder(config: BicycleGANEncoderConfig) -> dict[str, Tensor]:
    """Names the tensors of a fresh encoder as the official code does."""
    state = {}
    gap, (first, second) = (2, (1, 3)) if config.norm == "none" else (3, (2, 5))
    names = {"norm1": "conv.0", "conv1": f"conv.{first}", "norm2": "conv.3", "conv2": f"conv.{second}.0"}
    names["shortcut"] = "shortcut.1"
    for key, tensor in BicycleGANEncoder(config).state_dict().items():
        key = re.sub(r"^mean\.", "fc.0.", re.sub(r"^log_variance\.", "fcVar.0.", key))
        if config.residual:
            key = re.sub(r"^layers\.(\d+)\.(\w+)\.(?=\w+$)", lambda m: f"conv.{m[1]}.{names[m[2]]}.", key)
        elif (match := re.match(r"layers\.(\d+)\.(\w+)", key)) and int(match[1]):
            step, place = divmod(int(match[1]) - 2, 3)
            key = f"conv.{2 + gap * step + place}.{match[2]}"
        state[key.replace("layers.0.", "conv.0.")] = tensor
    return state


def save(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path)
    return path


GENERATORS: list[dict[str, Any]] = [
    {},
    {"in_channels": 1},
    {"style_at": "input"},
    {"style_at": "input", "norm": "none"},
    {"style_at": "input", "norm": "batch", "upsample": "bilinear"},
    {"norm": "batch", "upsample": "bilinear", "style_size": 5},
    {"depth": 7, "in_channels": 1, "style_at": "input"},
]


@pytest.mark.parametrize("changes", GENERATORS, ids=str)
def test_generator_is_found(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = BicycleGANGeneratorConfig(**{"width": 4, "depth": 4, **changes})
    imported = read([save(tmp_path / "latest_net_G.pth", official_generator(config))], Options())
    assert imported.networks["generator"].config == config
    assert imported.style is not None and imported.style.prior == "normal"
    assert any("latest_net_E.pth" in note for note in imported.notes)
    assert any("grey" in note for note in imported.notes) == (config.in_channels == 1)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("residual", [True, False])
def test_encoder_is_found_in_any_order(tmp_path: Path, residual: bool, norm: Any) -> None:
    generator = BicycleGANGeneratorConfig(style_size=3, width=4, depth=4, style_at="input")
    config = BicycleGANEncoderConfig(3, 3, (4, 8, 12), residual, norm)
    files = [
        save(tmp_path / "latest_net_E.pth", official_encoder(config)),
        save(tmp_path / "latest_net_G.pth", official_generator(generator)),
    ]
    for order in (files, files[::-1]):
        networks = read(order, Options()).networks
        assert networks["style_encoder"].config == config
        assert networks["generator"].config == generator  # the encoder tells the style's size


def test_bundle_runs(tmp_path: Path) -> None:
    files = [
        save(tmp_path / "G.pth", official_generator(BicycleGANGeneratorConfig(width=4, depth=4))),
        save(tmp_path / "E.pth", official_encoder(BicycleGANEncoderConfig(widths=(4, 8)))),
    ]
    stages = load_stages(import_checkpoint("bicyclegan", files, tmp_path / "bundle"))
    style = stages["style_from_image"].module(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    assert stages["translate"].module(torch.zeros(1, 16, 32, 3, dtype=torch.uint8), style).shape == (1, 16, 32, 3)


def test_statistics_of_instance_norm_in_old_files_are_left_out(tmp_path: Path) -> None:
    state = official_generator(BicycleGANGeneratorConfig(width=4, depth=4))
    state |= {
        "model.submodule.down.2.running_mean": torch.zeros(8),
        "model.submodule.down.2.running_var": torch.ones(8),
    }
    assert read([save(tmp_path / "G.pth", state)], Options()).networks["generator"].config.norm == "instance"


def test_a_discriminator_beside_them_is_left_out(tmp_path: Path) -> None:
    files = [
        save(tmp_path / "G.pth", official_generator(BicycleGANGeneratorConfig(width=4, depth=4))),
        save(tmp_path / "D.pth", {"model_0.0.weight": torch.zeros(4, 3, 4, 4)}),
    ]
    assert any("D.pth" in note for note in read(files, Options()).notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.submodule.up.1.weight"), "has 1 convolutions; it needs 2"),
        (lambda s: s.pop("model.submodule.up.1.bias"), r"it lacks 'model\.submodule\.up\.1\.bias'"),
        (lambda s: s.update(extra=torch.zeros(1)), r"it has 'extra' too many"),
        (lambda s: s["model.down.0.bias"].fill_(float("nan")), "NaN"),
        (lambda s: s.update({"model.down.0.bias": torch.zeros(5)}), r"down\.0\.bias' has shape \[5\]"),
    ],
)
def test_wrong_generator_is_a_sentence(tmp_path: Path, change: Any, message: str) -> None:
    state = official_generator(BicycleGANGeneratorConfig(width=4, depth=4))
    change(state)
    with pytest.raises(CheckpointError, match=message):
        read([save(tmp_path / "G.pth", state)], Options())


def test_wrong_files_are_sentences(tmp_path: Path) -> None:
    encoder = save(tmp_path / "E.pth", official_encoder(BicycleGANEncoderConfig(widths=(4, 8), style_size=3)))
    generator = save(tmp_path / "G.pth", official_generator(BicycleGANGeneratorConfig(width=4, depth=4)))
    with pytest.raises(CheckpointError, match=r"there is no generator of BicycleGAN"):
        read([encoder], Options())
    with pytest.raises(I2IError, match=r"several files hold generators"):
        read([generator, save(tmp_path / "G2.pth", torch.load(generator))], Options())
    with pytest.raises(CheckpointError, match=r"mapper\.pth holds no network of BicycleGAN"):
        read([generator, save(tmp_path / "mapper.pth", {"weight": torch.ones(1)})], Options())
    with pytest.raises(CheckpointError, match=r"takes styles of 8 numbers and the encoder gives 3"):
        read([encoder, generator], Options())
    with pytest.raises(I2IError, match="activation is 'tanh'"):
        read([generator], Options({"nl": "tanh"}))
