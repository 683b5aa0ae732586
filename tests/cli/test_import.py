"""`i2i-rt import` on official files: good, damaged, hostile, and of something else."""

import os
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from i2i_rt.bundle import Bundle
from i2i_rt.checkpoint import read_state
from i2i_rt.cli import main
from i2i_rt.errors import CheckpointError
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.models.patchgan import PatchDiscriminator, PatchDiscriminatorConfig
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.models.table import load
from i2i_rt.models.unet import UNetGeneratorConfig
from tests.models.test_official_keys import official_resnet, official_unet


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    generator = ResnetGenerator(ResnetGeneratorConfig(width=4, blocks=2, antialias_down=True, antialias_up=True))
    file = tmp_path / "latest_net_G.pth"
    torch.save(official_resnet(generator), file)
    return file


def test_checkpoint_becomes_a_bundle(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "cut", str(checkpoint), "-o", str(tmp_path / "bundle")]) == 0
    output = capsys.readouterr().out
    assert "blocks 2" in output and f"next: i2i-rt export {tmp_path / 'bundle'}" in output
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.system == "cut" and bundle.networks["generator"].config["antialias_up"] is True
    assert bundle.provenance.source == "latest_net_G.pth" and len(bundle.provenance.sha256) == 64
    image = torch.zeros(1, 3, 16, 16)
    expected = ResnetGenerator(ResnetGeneratorConfig(width=4, blocks=2, antialias_down=True, antialias_up=True))
    expected.load_state_dict(
        {k.replace("model.", "layers.", 1): v for k, v in read_state(checkpoint).items() if "filt" not in k}
    )
    assert torch.equal(load(bundle)["generator"](image), expected.eval()(image))


def test_train_mode_of_the_official_script_is_kept_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = ResnetGenerator(ResnetGeneratorConfig(width=4, blocks=2, norm="batch", dropout=True))
    torch.save(official_resnet(generator), tmp_path / "g.pth")
    configs = {}
    for name, options in {"plain": [], "eval": ["--eval"]}.items():
        assert main(["import", "pix2pix", str(tmp_path / "g.pth"), "-o", str(tmp_path / name), *options]) == 0
        bundle = Bundle.open(tmp_path / name)
        configs[name] = bundle.networks["generator"].config
        output = capsys.readouterr().out
        assert bundle.provenance.notes and all(note in output for note in bundle.provenance.notes)
    assert (configs["plain"]["statistics"], configs["plain"]["dropout_seed"]) == ("image", 0)
    assert (configs["eval"]["statistics"], configs["eval"]["dropout_seed"]) == ("running", None)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    return error


def test_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = tmp_path / "it-ran"

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(mark),)

    torch.save({"model.1.weight": Hostile()}, tmp_path / "zip.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Hostile()))
    for name in ("zip.pth", "old.pth"):
        error = refused(["import", "cut", str(tmp_path / name), "-o", str(tmp_path / "bundle")], capsys)
        assert name in error and not mark.exists()
    assert not (tmp_path / "bundle").exists()


def test_wrong_files_get_a_sentence(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ["-o", str(tmp_path / "bundle")]
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save({"epoch": 3}, tmp_path / "no-tensors.pth")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save({"model.1.weight": torch.full((4, 3, 7, 7), torch.nan)}, tmp_path / "nan.pth")
    discriminator = PatchDiscriminator(PatchDiscriminatorConfig(width=4))
    torch.save({k.replace("layers.", "model."): v for k, v in discriminator.state_dict().items()}, tmp_path / "d.pth")
    messages = {
        "missing.pth": "there is no checkpoint file",
        "empty.pth": "is empty",
        "text.pth": "damaged, truncated or no PyTorch checkpoint",
        "no-tensors.pth": "holds no tensors",
        "other.pth": "of no network that is known here",
        "d.pth": "holds a patch discriminator, which no translation needs",
    }
    for name, message in messages.items():
        assert message in refused(["import", "cut", str(tmp_path / name), *output], capsys)
    assert "did you mean 'cyclegan'?" in refused(["import", "cyclegen", str(checkpoint), *output], capsys)
    assert "i2i-rt import cyclegan" in refused(["import", "sincut", str(checkpoint), *output], capsys)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("precious")
    assert "is no bundle" in refused(["import", "cut", str(checkpoint), "-o", str(taken)], capsys)
    assert (taken / "thesis.txt").read_text() == "precious"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=4))
def test_damaged_file_never_does_more_than_raise_a_sentence(
    checkpoint: Path, cut: float, flips: list[tuple[float, int]]
) -> None:
    content = bytearray(checkpoint.read_bytes())
    content = content[: int(len(content) * cut)]
    for position, change in flips:
        if content:
            content[int(len(content) * position)] ^= change
    damaged = checkpoint.with_name("damaged.pth")
    damaged.write_bytes(content)
    try:
        read_state(damaged)
    except CheckpointError as error:
        assert str(error)


def test_zip_that_is_no_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a.txt", "a")
    assert "damaged" in refused(["import", "cut", str(tmp_path / "a.pth"), "-o", str(tmp_path / "b")], capsys)


def test_unet_of_an_unpaired_system_has_no_dropout(tmp_path: Path) -> None:
    torch.save(official_unet(UNetGeneratorConfig(width=2, depth=5)), tmp_path / "g.pth")
    for system, active in (("cyclegan", False), ("cut", False), ("pix2pix", True)):
        bundle = import_checkpoint(system, tmp_path / "g.pth", tmp_path / system)
        assert bundle.networks["generator"].config["dropout"] is active


def test_folder_that_cannot_be_made_gets_one_sentence(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert "file" in refused(["import", "cut", str(checkpoint), "-o", str(tmp_path / "file" / "bundle")], capsys)


def test_bare_pickle_of_a_new_protocol_gets_no_warning_besides_the_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": os.getcwd}, protocol=4))
    with warnings.catch_warnings(record=True) as caught, pytest.raises(CheckpointError):
        warnings.simplefilter("always")
        read_state(tmp_path / "a.pth")
    assert not caught
