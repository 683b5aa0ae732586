"""Official files of the Swapping Autoencoder, made from our own networks."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Options
from i2i_rt.importers.swapping import read
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.models.swapping_discriminators import SwappingDiscriminator, SwappingDiscriminatorConfig
from tests.small.swapping import networks


def official() -> dict[str, Tensor]:
    """Names our tensors as the official code does, with its fixed filters and its counter."""
    made = networks()
    small = SwappingDiscriminator(SwappingDiscriminatorConfig(widths=(4, 4, 4, 4, 4), hidden=4))
    state = {f"E.{_encoder_key(key)}": tensor for key, tensor in made["encoder"].state_dict().items()}
    for key, tensor in made["generator"].state_dict().items():
        state[f"G.{_generator_key(key)}"] = tensor[None] if tensor.ndim == 4 and "skip" not in key else tensor
    state["G.ToRGB.bias"] = state["G.ToRGB.bias"].reshape(1, 3, 1, 1)
    state |= {f"D.stylegan2_D.{_discriminator_key(small, key)}": t for key, t in small.state_dict().items()}
    state["E.DownToSpatialCode.ResBlockDownBy1.conv2.Blur.kernel"] = torch.ones(3, 3) / 9
    state["G.UpsamplingResBlock16.conv1.conv.blur.kernel"] = torch.ones(4, 4) / 4
    return {**state, "num_discriminator_iters": torch.tensor([7])}


def _layer(name: str, parameter: str, *, activated: bool = True) -> str:
    return f"{name}.{'Act' if parameter == 'bias' and activated else 'Conv'}.{parameter}"


def _encoder_key(key: str) -> str:
    part, *rest, parameter = key.split(".")
    if part == "from_rgb":
        return _layer("FromRGB", parameter)
    if part == "down":
        return _layer(f"DownToSpatialCode.ResBlockDownBy{2 ** int(rest[0])}.{rest[1]}", parameter)
    if part == "to_structure":
        return _layer(f"ToSpatialCode.{rest[0]}", parameter, activated=rest[0] == "0")
    if part == "texture_down":
        return _layer(f"DownToGlobalCode.ConvLayerDownBy{4 * 2 ** int(rest[0])}", parameter)
    return f"ToGlobalCode.0.{parameter}"


def _generator_key(key: str) -> str:
    part, *rest = key.split(".")
    if part == "modulation":
        return ".".join(["SpatialCodeModulation", *rest])
    if part == "to_rgb":
        return "ToRGB.bias" if rest == ["bias"] else ".".join(["ToRGB.conv", *rest])
    block = f"HeadResnetBlock{rest[0]}" if part == "head" else f"UpsamplingResBlock{16 * 2 ** int(rest[0])}"
    if rest[1] == "skip":
        return _layer(f"{block}.skip", rest[2])
    names = {"bias": "activate.bias", "noise_strength": "noise.weight"}
    return f"{block}.{rest[1]}.{names.get(rest[2], '.'.join(['conv', *rest[2:]]))}"


def _discriminator_key(network: nn.Module, key: str) -> str:
    part, *rest, parameter = key.split(".")
    if part in ("hidden", "score"):
        return f"final_linear.{int(part == 'score')}.{parameter}"
    if part == "final_conv":
        return _layer("final_conv", parameter)
    if part == "from_rgb":
        return _layer("convs.0", parameter)
    return _layer(f"convs.{3 + int(rest[0])}.{rest[1]}", parameter)


@pytest.fixture
def state() -> dict[str, Tensor]:
    return official()


def written(state: dict[str, Tensor], folder: Path) -> Path:
    torch.save(state, folder / "latest_checkpoint.pth")
    return folder / "latest_checkpoint.pth"


def test_networks_are_found_from_keys_and_shapes(state: dict[str, Tensor], tmp_path: Path) -> None:
    found = read([written(state, tmp_path)], Options())

    assert set(found.networks) == {"encoder", "generator"}
    for name, network in networks().items():
        assert found.networks[name].config == network.config
        for key, tensor in network.state_dict().items():
            assert torch.equal(found.networks[name].state_dict()[key], tensor)
    assert found.style is not None and found.style.prior == "fitted"
    assert found.preprocessing.load_size == 64 and found.preprocessing.multiple == 16
    assert any("noise" in note for note in found.notes) and any("discriminator" in note for note in found.notes)


def test_encoder_and_generator_are_enough(state: dict[str, Tensor], tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in state.items() if key.startswith(("E.", "G."))}
    found = read([written(state, tmp_path)], Options({"preprocess": "resize", "load_size": "128"}))
    assert (found.preprocessing.mode, found.preprocessing.load_size) == ("resize", 128)


def test_blocks_without_noise_are_told(state: dict[str, Tensor], tmp_path: Path) -> None:
    generator = read([written(state, tmp_path)], Options({"netG_use_noise": "false"})).networks["generator"]
    assert len(generator.noisy_layers()) == 2  # type: ignore[operator]


def test_bundle_is_written_and_opens(state: dict[str, Tensor], tmp_path: Path) -> None:
    from i2i_rt.translator import Translator

    bundle = import_checkpoint("swapping", written(state, tmp_path), tmp_path / "bundle")
    assert set(bundle.stages) == {"translate", "style_from_image", "encode", "decode"}
    Translator.load(bundle.path, backend="torch").close()


def drop(key: str) -> dict[str, Tensor | None]:
    return {key: None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("E.ToGlobalCode.0.weight"), "ToGlobalCode.0.weight' is missing"),
        (drop("G.HeadResnetBlock0.conv1.activate.bias"), "lacks 'head.0.conv1.bias'"),
        ({"E.Extra.weight": torch.ones(1)}, "has 'E.Extra.weight' too many"),
        ({"F.weight": torch.ones(1)}, "F.weight', which no Swapping Autoencoder has"),
        ({"G.HeadResnetBlock0.conv2.conv.weight": torch.ones(1, 9, 9, 3, 3)}, "where .* is needed"),
        ({"E.FromRGB.Act.bias": torch.full((6,), torch.nan)}, "NaN or infinite"),
        ({"E.DownToSpatialCode.ResBlockDownBy1.conv2.Blur.kernel": torch.ones(1, 1)}, "has 1 taps"),
        ({"E.ToSpatialCode.1.Conv.weight": torch.ones(9, 10, 1, 1), "E.ToSpatialCode.1.Conv.bias": torch.ones(9)},
         "makes 9 structure channels and a generator that takes 4"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_in_a_sentence(
    state: dict[str, Tensor], tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    changed = {key: tensor for key, tensor in {**state, **change}.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=message):
        read([written(changed, tmp_path)], Options())


def test_a_file_without_the_generator_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no generator"):
        read([written({k: t for k, t in state.items() if not k.startswith("G.")}, tmp_path)], Options())


def test_several_files_and_unknown_modes_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    file = written(state, tmp_path)
    with pytest.raises(I2IError, match="all its networks in one file"):
        read([file, file], Options())
    with pytest.raises(I2IError, match="preprocessing is 'zoom'"):
        read([file], Options({"preprocess": "zoom"}))
