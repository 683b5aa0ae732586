"""A file under another system's name is told by its keys."""

from pathlib import Path

import pytest
import torch

from i2i_rt.cli import main
from i2i_rt.importers.recognise import recognise
from i2i_rt.importers.table import IMPORTERS
from tests.parity.case import write_checkpoint


@pytest.mark.parametrize(
    ("keys", "system"),
    [
        (["E.FromRGB.Conv.weight", "D.stylegan2_D.convs.0.Conv.weight"], "swapping"),
        (["generator::from_rgb.weight", "mapping_network::shared.0.weight"], "starganv2"),
        (["state_dict::conv1.conv.weight", "state_dict::m0.b1_1.conv1.weight", "epoch"], "starganv2"),
        (["G_EMA_state_dict::cnt_encoder.model.0.conv.weight", "epoch"], "tunit"),
        (["g_ema::style_encoder.model.0.weight", "sampler::lin_out.weight"], "gpunit"),
        (["layer1.0.conv.bias", "layer6.1.conv.weight_v"], "gpunit"),
        (["a::enc_style.model.0.conv.weight", "b::enc_style.model.0.conv.weight"], "munit"),
        (["a::enc.model.0.conv.weight", "b::dec.model.5.conv.bias"], "unit"),
        (["encode_A.0.model.0.weight"], "unit"),
        (["fc.weight", "head_0.conv_0.bias"], "spade"),
        (["fc.0.weight", "fcVar.0.bias"], "bicyclegan"),
        (["module.model.down.0.weight"], "bicyclegan"),
        (["conv1.weight", "layer8.0.0.weight"], "cycada"),
        (["encoder.convs.1.0.weight"], "sincut"),
        (["model.1.weight", "model.12.conv_block.1.weight", "model.7.filt"], "cut"),
        (["model.1.weight", "model.10.conv_block.1.weight"], "cyclegan"),
        (["model.model.0.weight", "model.model.1.model.1.weight"], "pix2pix"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_keys_tell_the_system(keys: list[str], system: str, tmp_path: Path) -> None:
    file = write_checkpoint({key: torch.zeros(1) for key in keys}, tmp_path / "a.pth")
    found = recognise([file])
    assert found is not None and found[0] == system


def test_unknown_keys_look_like_nothing(tmp_path: Path) -> None:
    assert recognise([write_checkpoint({"weight": torch.zeros(1)}, tmp_path / "a.pth")]) is None
    assert recognise([tmp_path / "missing.pth"]) is None


@pytest.mark.parametrize("system", [name for name in IMPORTERS if name != "munit"])
def test_wrong_name_gets_the_right_one(system: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["a::enc_style.model.0.conv.weight", "b::enc_style.model.0.conv.weight"]
    file = write_checkpoint({key: torch.zeros(1) for key in keys}, tmp_path / "gen.pt")
    assert main(["import", system, str(file), "-o", str(tmp_path / "bundle")]) == 2
    message = capsys.readouterr().err
    assert "it looks like the generator of munit" in message and message.count("\n") == 1
    assert not (tmp_path / "bundle").exists()


def test_wrong_file_among_right_ones_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = write_checkpoint({"g_ema::style_encoder.model.0.weight": torch.zeros(1)}, tmp_path / "dog2cat.pt")
    other = write_checkpoint({"head_0.conv_0.bias": torch.zeros(1)}, tmp_path / "latest_net_G.pth")
    assert main(["import", "gpunit", str(task), str(other), "-o", str(tmp_path / "bundle")]) == 2
    message = capsys.readouterr().err
    assert f"{other} looks like the generator of spade: i2i-rt import spade {other}\n" in message


@pytest.mark.parametrize(
    ("system", "state"),
    [
        # vectors of spectral norm that do not fit, and shapes that have no second length
        (
            "gpunit",
            {
                "layer1.0.conv.bias": (4,),
                "layer1.0.conv.weight_orig": (8, 3, 3, 3),
                "layer1.0.conv.weight_u": (4,),
                "layer1.0.conv.weight_v": (27,),
                "model.0.reslayer.conv_0.weight": (1,),
            },
        ),
        (
            "spade",
            {
                "fc.weight": (4, 3, 3, 3),
                "conv_img.weight": (3,),
                "head_0.norm_0.mlp_shared.0.weight": (4,),
                "head_0.a.mlp_gamma.b": (1,),
            },
        ),
        ("swapping", {"E.FromRGB.Conv.weight": (12,), "E.ToSpatialCode.1.Conv.weight": (8,)}),
    ],
    ids=["gpunit", "spade", "swapping"],
)
def test_weight_of_a_wrong_shape_gets_a_sentence(
    system: str, state: dict[str, tuple[int, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_checkpoint({key: torch.ones(shape) for key, shape in state.items()}, tmp_path / "a.pth")
    assert main(["import", system, str(file), "-o", str(tmp_path / "bundle")]) == 2
    message = capsys.readouterr().err
    assert "shape" in message and str(file) in message and message.count("\n") == 1
    assert not (tmp_path / "bundle").exists()
