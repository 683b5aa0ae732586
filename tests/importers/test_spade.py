"""SPADE's official files: what keys and options tell, what is refused, and what an import must not cost."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Options
from i2i_rt.importers.spade import read
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.models.multiscale import MultiscaleDiscriminator, MultiscaleDiscriminatorConfig
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig
from i2i_rt.models.spade_encoder import SpadeEncoder, SpadeEncoderConfig
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.stages.table import load_stages

BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "up_4")
OFFICIAL = {
    r"^first\.": "fc.",
    r"^last\.": "conv_img.",
    r"\.plain\.": ".param_free_norm.",
    r"\.shared\.": ".mlp_shared.0.",
    r"\.scale\.": ".mlp_gamma.",
    r"\.shift\.": ".mlp_beta.",
    r"^convolutions\.(\d)\.": lambda match: f"layer{int(match[1]) + 1}.0.",
    r"^mean\.": "fc_mu.",
    r"^log_variance\.": "fc_var.",
    r"^blocks\.(\d)": lambda match: BLOCKS[int(match[1])],
    r"^discriminators\.(\d)\.([04])\.0\.": r"discriminator_\1.model\2.0.",
    r"^discriminators\.(\d)\.(\d)\.0\.": r"discriminator_\1.model\2.0.0.",
}


def official(network: nn.Module) -> dict[str, Tensor]:
    """Names our tensors as the official code does, with spectral norm where it has it, of sigma 2."""
    state = {}
    for key, tensor in network.state_dict().items():
        for pattern, name in OFFICIAL.items():
            key = re.sub(pattern, name, key)
        if re.search(r"conv_[01s]\.weight$|^layer\d|\.0\.0\.weight$", key):
            left = torch.randn(tensor.shape[0])
            state |= {f"{key}_orig": 2 * tensor, f"{key}_u": left}
            product = tensor.flatten(1).t() @ left
            state[f"{key}_v"] = product / (product @ product)  # u · (2 W) v = 2
        else:
            state[key] = tensor
    return state


def generator(classes: int = 3, **config: Any) -> SpadeGenerator:
    return SpadeGenerator(SpadeGeneratorConfig(classes, **{"width": 2, "hidden": 4, **config})).eval()


def saved(network: nn.Module, file: Path) -> Path:
    torch.save(official(network), file)
    return file


def config_of(network: SpadeGenerator, folder: Path, **options: str) -> SpadeGeneratorConfig:
    found = read([saved(network, folder / "latest_net_G.pth")], Options(options)).networks["generator"]
    assert isinstance(found, SpadeGenerator)
    return found.config


@pytest.mark.parametrize(
    ("network", "preprocessing", "classes"),
    [
        (generator(182), Preprocessing("resize", 256, 256), 182),
        (generator(150, edges=False), Preprocessing("resize", 256, 256), 151),
        (generator(35, unknown=False, upsampling="more"), Preprocessing("fixed", 512, 512, aspect_ratio=2.0), 35),
        (generator(182, style=8, first_size=(8, 8)), Preprocessing("resize", 256, 256), 182),
        (generator(182, upsampling="most"), Preprocessing("resize", 256, 256), 182),
    ],
    ids=["coco", "ade20k", "cityscapes", "coco-vae", "coco-most"],
)
def test_published_networks_need_no_options(
    network: SpadeGenerator, preprocessing: Preprocessing, classes: int, tmp_path: Path
) -> None:
    found = read([saved(network, tmp_path / "latest_net_G.pth")], Options())
    made = found.networks["generator"]
    assert isinstance(made, SpadeGenerator) and made.config == network.config
    assert found.preprocessing == preprocessing
    assert found.labels is not None and len(found.labels.names) == classes
    assert (found.labels.unknown, found.labels.edges) == (network.config.unknown, network.config.edges)
    assert (found.style is not None) == bool(network.config.style)
    semantics = torch.rand(1, network.config.channels, *(network.config.size or (128, 128)))
    with torch.no_grad():
        expected = network(semantics, torch.ones(1, 8))
        torch.testing.assert_close(made(semantics, torch.ones(1, 8)), expected, atol=1e-5, rtol=1e-4)


def test_keys_tell_what_they_can(tmp_path: Path) -> None:
    network = generator(norm="instance", kernel=5)
    assert config_of(network, tmp_path, label_nc="3", num_upsampling_layers="normal") == network.config
    with pytest.raises(CheckpointError, match="--set label_nc="):
        config_of(network, tmp_path)
    with pytest.raises(CheckpointError, match="--set num_upsampling_layers="):
        config_of(network, tmp_path, label_nc="3")
    with pytest.raises(CheckpointError, match="--set no_instance="):
        config_of(network, tmp_path, label_nc="4", num_upsampling_layers="normal")
    edges = config_of(network, tmp_path, label_nc="4", num_upsampling_layers="more", no_instance="false")
    assert (edges.unknown, edges.edges, edges.upsampling) == (False, True, "more")
    edges = config_of(network, tmp_path, label_nc="4", num_upsampling_layers="more", contain_dontcare_label="false")
    assert (edges.unknown, edges.edges) == (False, True)
    neither = config_of(network, tmp_path, label_nc="5", num_upsampling_layers="more")
    assert (neither.unknown, neither.edges) == (False, False)


def test_options_file_of_the_training_is_read(tmp_path: Path) -> None:
    network = generator(style=8, first_size=(2, 4), upsampling="more", unknown=False)
    (tmp_path / "opt.txt").write_text(
        "----------------- Options ---------------\n"
        "             aspect_ratio: 2.0                           \t[default: 1.0]\n"
        "   contain_dontcare_label: False                         \n"
        "                crop_size: 256                           \n"
        "             dataset_mode: custom                        \t[default: coco]\n"
        "                 label_nc: 3                             \t[default: 182]\n"
        "              no_instance: False                         \n"
        "    num_upsampling_layers: more                          \t[default: normal]\n"
        "----------------- End -------------------\n"
    )
    file = saved(network, tmp_path / "latest_net_G.pth")
    saved(SpadeEncoder(SpadeEncoderConfig(2, 8)), tmp_path / "latest_net_E.pth")
    bundle = import_checkpoint("spade", [file, tmp_path / "latest_net_E.pth"], tmp_path / "bundle")
    assert list(load_stages(bundle)) == ["translate", "layout", "render", "style_from_image"]
    sides = bundle.stages["translate"].inputs[0].axes[1:]
    assert [axis.size for axis in sides] == [128, 256]
    assert [tensor.name for tensor in bundle.stages["translate"].inputs] == ["labels", "edges", "style"]
    assert bundle.style is not None and bundle.style.prior == "normal"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_nc": "9"}, "5 channels for the label map"),
        ({"label_nc": "3", "no_instance": "true"}, "no_instance True make 4"),
        ({"label_nc": "3", "num_upsampling_layers": "most"}, "those of normal or more"),
        ({"label_nc": "3", "num_upsampling_layers": "few"}, "normal, more, most"),
        ({"label_nc": "three"}, "must be a number"),
    ],
)
def test_options_against_the_keys_are_refused(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(I2IError, match=message):
        config_of(generator(), tmp_path, **{"num_upsampling_layers": "normal", **options})


def test_size_of_a_vae_must_fit(tmp_path: Path) -> None:
    network = generator(style=8, first_size=(2, 4))
    given = {"label_nc": "3", "num_upsampling_layers": "normal"}
    with pytest.raises(CheckpointError, match="--set crop_size="):
        config_of(network, tmp_path, **given)
    with pytest.raises(CheckpointError, match="has 8 positions, but crop_size 256"):
        config_of(network, tmp_path, **given, crop_size="256", aspect_ratio="1")
    assert config_of(network, tmp_path, **given, crop_size="128", aspect_ratio="2") == network.config
    square = generator(style=8, first_size=(2, 2))
    assert config_of(square, tmp_path, **given, crop_size="64") == square.config


def test_damaged_networks_are_refused(tmp_path: Path) -> None:
    state = official(generator(182))

    def refused(message: str, **changes: Tensor | None) -> None:
        changed = {**state, **{key: value for key, value in changes.items() if value is not None}}
        kept = {key: tensor for key, tensor in changed.items() if changes.get(key, tensor) is not None}
        torch.save(kept, tmp_path / "a.pth")
        with pytest.raises(CheckpointError, match=message) as error:
            read([tmp_path / "a.pth"], Options())
        assert "\n" not in str(error.value)

    refused("fc.weight is missing", **{"fc.weight": None})
    refused("lacks 'up_0.conv_0.weight'", **{"up_0.conv_0.weight_u": None})
    refused("too many", **{"other.weight": torch.ones(2)})
    refused("up_1.norm_0.mlp_gamma.weight", **{"up_1.norm_0.mlp_gamma.weight": torch.ones(3, 4, 3, 3)})
    refused("NaN", **{"conv_img.bias": torch.full((3,), torch.nan)})


def test_files_are_told_apart_in_any_order(tmp_path: Path) -> None:
    made = saved(generator(182, style=8, first_size=(8, 8)), tmp_path / "a.pth")
    encoder = saved(SpadeEncoder(SpadeEncoderConfig(2, 8)), tmp_path / "b.pth")
    scores = saved(MultiscaleDiscriminator(MultiscaleDiscriminatorConfig(187, 2)), tmp_path / "c.pth")
    found = read([scores, encoder, made], Options())
    assert set(found.networks) == {"generator", "encoder"} and any("discriminator" in note for note in found.notes)
    alone = read([made], Options())
    assert set(alone.networks) == {"generator"} and any("latest_net_E" in note for note in alone.notes)
    with pytest.raises(CheckpointError, match="holds no generator"):
        read([encoder], Options())
    with pytest.raises(I2IError, match="second generator"):
        read([made, made], Options())
    with pytest.raises(CheckpointError, match="no network of SPADE"):
        torch.save({"model.0.weight": torch.ones(1)}, tmp_path / "d.pth")
        read([tmp_path / "d.pth"], Options())
    with pytest.raises(CheckpointError, match="without a VAE"):
        read([saved(generator(182), tmp_path / "e.pth"), encoder], Options())
    with pytest.raises(CheckpointError, match="have 9 values, the generator's 8"):
        read([made, saved(SpadeEncoder(SpadeEncoderConfig(2, 9)), tmp_path / "f.pth")], Options())


def test_old_files_without_counts_are_read(tmp_path: Path) -> None:
    state = {key: t for key, t in official(generator(182)).items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "a.pth")
    bundle = import_checkpoint("spade", tmp_path / "a.pth", tmp_path / "bundle")
    load_stages(bundle)


def test_file_is_opened_for_reading_alone(tmp_path: Path) -> None:
    file = saved(generator(182), tmp_path / "a.pth")
    before = file.read_bytes()
    file.chmod(0o444)
    import_checkpoint("spade", file, tmp_path / "bundle")
    assert file.read_bytes() == before


def test_weights_are_neither_drawn_nor_copied(tmp_path: Path) -> None:
    """What spectral norm leaves alone is the mapped file itself, so that the import of a large file stays small."""
    file = saved(generator(182), tmp_path / "a.pth")
    made, content = read([file], Options()).networks["generator"], file.read_bytes()
    mapped = {key: tensor for key, tensor in made.named_parameters() if ".conv_" not in key}
    largest = max(mapped.values(), key=torch.numel)
    start = largest.data_ptr() - content.index(largest.detach().numpy().tobytes())
    for key, tensor in mapped.items():
        place = tensor.data_ptr() - start
        assert content[place : place + tensor.nbytes] == tensor.detach().numpy().tobytes(), key
