"""MUNIT's and UNIT's files: directions, old files, and what is refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers import munit, unit
from i2i_rt.importers.base import Imported, Options
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.models import munit as munit_models
from tests import official_munit as official
from tests.small.munit import STYLE, small_munit, small_shared, small_unit


def munit_file(file: Path, **changes: Any) -> Path:
    """Writes both domains; domain b is the negative of a."""
    networks = small_munit().networks
    state = {
        **official.content_encoder(networks["content_encoder"]),  # type: ignore[arg-type]
        **official.style_encoder(networks["style_encoder"]),  # type: ignore[arg-type]
        **official.decoder(networks["decoder"]),  # type: ignore[arg-type]
    }
    content = {"a": {**state, **changes}, "b": {key: -tensor for key, tensor in state.items()}}
    torch.save(content, file)
    return file


def unit_file(file: Path) -> Path:
    networks = small_unit().networks
    state = {
        **official.content_encoder(networks["encoder"], "enc."),  # type: ignore[arg-type]
        **official.decoder(networks["decoder"]),  # type: ignore[arg-type]
    }
    torch.save({"a": state, "b": state}, file)
    return file


def first(imported: Imported, name: str) -> torch.Tensor:
    return next(imported.networks[name].parameters())


def test_direction_picks_the_domains(tmp_path: Path) -> None:
    file = munit_file(tmp_path / "gen_00000001.pt")
    there = munit.read([file], Options())
    back = munit.read([file], Options({"direction": "b2a", "new_size": "512"}))
    for name in ("content_encoder", "style_encoder", "decoder"):
        assert torch.equal(first(there, name), -first(back, name))
    expected = small_munit().networks
    assert torch.equal(first(there, "content_encoder"), next(expected["content_encoder"].parameters()))
    assert there.style is not None and there.style.prior == "normal"
    assert back.preprocessing.size(640, 480) == (682, 512)
    with pytest.raises(I2IError, match="direction is 'ab'"):
        munit.read([file], Options({"direction": "ab"}))


def test_bundle_has_the_stages(tmp_path: Path) -> None:
    bundle = import_checkpoint("munit", munit_file(tmp_path / "gen_00000001.pt"), tmp_path / "bundle")
    assert list(bundle.stages) == ["translate", "style_from_image"]
    assert bundle.stages["translate"].inputs[1].axes[1].size == STYLE
    bundle = import_checkpoint("unit", unit_file(tmp_path / "gen_00000002.pt"), tmp_path / "unit")
    assert list(bundle.stages) == ["translate"]


def test_statistics_of_old_files_are_left_out(tmp_path: Path) -> None:
    file = munit_file(tmp_path / "a.pt", **{"enc_content.model.0.norm.running_mean": torch.ones(4)})
    munit.read([file], Options())


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    with pytest.raises(CheckpointError, match=r"it lacks 'blocks\.0\.first\.weight'|has shape"):
        munit.read(
            [munit_file(file, **{"enc_content.model.3.model.0.model.0.conv.weight": torch.ones(2, 2, 3, 3)})], Options()
        )
    with pytest.raises(CheckpointError, match=r"'enc_content\.extra\.weight' too many"):
        munit.read([munit_file(file, **{"enc_content.extra.weight": torch.ones(1)})], Options())
    with pytest.raises(CheckpointError, match="generators of unit"):
        munit.read([unit_file(file)], Options())
    with pytest.raises(CheckpointError, match="generators of munit"):
        unit.read([munit_file(file)], Options())
    torch.save({"a": {"cnns.0.0.conv.weight": torch.ones(1)}, "b": {"cnns.0.0.conv.weight": torch.ones(1)}}, file)
    with pytest.raises(CheckpointError, match="discriminators"):
        munit.read([file], Options())
    torch.save({"a": {"dec.model.0.conv.weight": torch.ones(1)}, "b": {"x": torch.ones(1)}}, file)
    with pytest.raises(CheckpointError, match="has the networks dec"):
        munit.read([file], Options())
    torch.save({"state": {"x": torch.ones(1)}}, file)
    with pytest.raises(CheckpointError, match="has no 'a'"):
        unit.read([file], Options())
    with pytest.raises(I2IError, match="one file"):
        munit.read([file, file], Options())
    content = torch.load(munit_file(file))
    del content["b"]["enc_style.model.0.conv.weight"]
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=r"'enc_style' of domain 'b': .* lacks 'model\.0\.conv\.weight'"):
        munit.read([file], Options())


def test_domains_of_two_trainings_are_refused(tmp_path: Path) -> None:
    content = torch.load(munit_file(tmp_path / "a.pt"))
    config = munit_models.DecoderConfig(width=8, blocks=2, style=STYLE, perceptron=(8, 8))
    content["b"].update(official.decoder(munit_models.Decoder(config)))
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="not of one training"):
        munit.read([tmp_path / "a.pt"], Options())


def shared_state() -> dict[str, torch.Tensor]:
    networks = small_shared().networks
    return official.shared(networks["encoder"], networks["decoder"])  # type: ignore[arg-type]


def test_variant_of_the_older_code_is_told_or_asked_for(tmp_path: Path) -> None:
    file, state = tmp_path / "unit_gen_00000001.pkl", shared_state()
    torch.save(state, file)
    with pytest.raises(CheckpointError, match="--set gen="):
        unit.read([file], Options())
    with pytest.raises(I2IError, match="COCOResGen, COCOResGen2"):
        unit.read([file], Options({"gen": "other"}))
    for name, norm in unit.VARIANTS.items():
        imported = unit.read([file], Options({"gen": name, "direction": "b2a"}))
        assert {network.config.norm for network in imported.networks.values()} == {norm}  # type: ignore[union-attr]
    residual = {"encode_A.3.model.1.running_mean": torch.ones(16)}
    torch.save({**state, **residual}, file)
    assert unit.read([file], Options()).networks["encoder"].config.norm == "none"  # type: ignore[union-attr]
    torch.save({**state, **residual, "encode_A.1.model.1.running_mean": torch.ones(8)}, file)
    assert unit.read([file], Options()).networks["encoder"].config.norm == "instance"  # type: ignore[union-attr]


def test_shared_networks_translate_as_they_did(tmp_path: Path) -> None:
    networks, file = small_shared().networks, tmp_path / "unit_gen_00000001.pkl"
    torch.save(shared_state(), file)
    imported = unit.read([file], Options({"gen": "COCOResGen2"}))
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    expected = networks["decoder"](networks["encoder"](image))
    assert torch.equal(imported.networks["decoder"](imported.networks["encoder"](image)), expected)


@pytest.mark.parametrize("key", ["enc_shared.0.model.3.bias", "decode_B.1.model.0.weight", "decode_B.3.weight"])
def test_incomplete_file_of_the_older_code_is_refused(tmp_path: Path, key: str) -> None:
    file, state = tmp_path / "unit_gen_00000001.pkl", copy.copy(shared_state())
    del state[key]
    torch.save(state, file)
    with pytest.raises(CheckpointError):
        unit.read([file], Options({"gen": "COCOResGen2"}))
