"""GP-UNIT: who moves when, what each loss is of, settings, and a run from data to picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.parametrize import is_parametrized

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.models.arcface import ArcFace, ArcFaceConfig
from i2i_rt.models.gpunit_encoders import ContentEncoder, ContentEncoderConfig
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Batch, Shape
from i2i_rt.systems.gpunit import GPUNIT, GPUNITSettings, build_gpunit
from i2i_rt.training.processes import Processes
from i2i_rt.training.recipes import options_of
from i2i_rt.training.trainer import Trainer
from tests.deployment import deployed
from tests.gradients import check_phase
from tests.training.conftest import draw_pictures

SMALL = GPUNITSettings(style_dim=8, bottleneck=4, max_width=8, features="random", vgg=0.0)
SHAPE = Shape(width=4, discriminator_width=4, crop_size=64, settings=SMALL)


def small(**settings: Any) -> GPUNIT:
    torch.manual_seed(0)
    return build_gpunit(replace(SHAPE, settings=replace(SMALL, **settings)))


def drawn(count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(*(torch.rand(count, 3, 64, 64, generator=generator) * 2 - 1 for _ in range(2)))


def official_content_encoder(file: Path) -> ContentEncoder:
    """Writes a content encoder under the official keys, and gives it."""
    torch.manual_seed(1)
    network = ContentEncoder(ContentEncoderConfig(width=4)).eval()
    state = {}
    for key, tensor in network.state_dict().items():
        _, layer, place, parameter = key.split(".")
        state[f"layer{int(layer) + 1}.{int(place) // 3}.conv.{parameter}"] = tensor
    torch.save(state, file)
    return network


@pytest.mark.parametrize("phase", GPUNIT.phases)
def test_each_phase_gives_gradients_to_its_own_networks(phase: str) -> None:
    check_phase(small(), drawn(), phase, {})


def test_reconstruction_has_no_features_of_the_encoder_unless_it_is_asked_for() -> None:
    system, batch = small(flip_style=False), drawn()
    content, *features = system.content_encoder(batch.b)
    style = system.style_encoder(batch.b)

    for asked, given in ((False, []), (True, features)):
        system.settings = replace(system.settings, reconstruct_with_skips=asked)
        expected = (system.generator(content, given, style) - batch.b).abs().mean()
        torch.testing.assert_close(system.generator_losses(batch, batch.b)["G_reconstruction"], expected)


def test_picture_that_gives_the_style_is_mirrored_at_some_steps_for_both_phases_alike() -> None:
    system, batch, mirrored = small(), drawn(), []
    for seed in range(8):
        torch.manual_seed(seed)
        kept: dict[str, Tensor] = {}
        for phase in system.phases:
            system.losses(batch, phase, kept)
        mirrored.append(torch.equal(kept["reference"], batch.b.flip(3)))
        assert mirrored[-1] or torch.equal(kept["reference"], batch.b)

    assert {True, False} == set(mirrored)
    kept = {}
    small(flip_style=False).losses(batch, "discriminator", kept)
    assert torch.equal(kept["reference"], batch.b)


def test_generator_without_skips_has_no_mask_to_keep_small() -> None:
    assert "G_mask" in small().losses(drawn(), "generator", {})
    assert "G_mask" not in small(skip=False).losses(drawn(), "generator", {})


def test_content_encoder_stays_unless_it_is_trained_from_scratch() -> None:
    kept, scratch = small().train(), small(scratch=True).train()
    assert kept.given() == ("content_encoder",) and not kept.content_encoder.training
    assert scratch.given() == () and scratch.content_encoder.training
    assert set(scratch.averaged()) == {"generator", "style_encoder", "content_encoder"}
    scratch(drawn(), "generator", {})["total"].backward()
    assert all(weight.grad is not None for weight in scratch.content_encoder.parameters())
    with pytest.raises(I2IError, match="exclude each other"):
        small(scratch=True, content_encoder="content_encoder.pt")
    bundled = scratch.products(scratch.networks)["bundle"].networks["content_encoder"]
    assert not any(is_parametrized(module) for module in bundled.modules())
    torch.testing.assert_close(bundled(drawn().a), scratch.eval().content_encoder(drawn().a))


def test_identity_is_of_the_face_that_gives_the_style_and_of_no_network_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = ArcFace(ArcFaceConfig(width=2, blocks=(1, 1), reduction=1, embedding=4)).eval()
    monkeypatch.setattr("i2i_rt.systems.gpunit.face_network", lambda features, file: network)
    system, batch = small(identity=2.0, faces="model_ir_se50.pth"), drawn()
    translated, _ = system.translated(batch, system.networks)

    loss = system.generator_losses(batch, batch.b)["G_identity"]

    cosine = torch.cosine_similarity(network(translated), network(batch.b)).mean()
    torch.testing.assert_close(loss, 2 * (1 - cosine))
    assert loss.requires_grad and set(system.networks) == {*system.averaged(), "content_encoder", "discriminator"}


def test_content_encoder_from_scratch_takes_no_prior() -> None:
    settings = {"scratch": "true", "reductions": "3", "style_dim": "8", "bottleneck": "4", "max_width": "8"}
    sizes = {"width": 4, "discriminator_width": 4, "crop_size": 32}
    options = options_of("gpunit", "photos", settings=settings, **sizes)
    trainer = Trainer(options, Processes(0, 1, torch.device("cpu")))
    prior = {"content_encoder": trainer.system.networks["content_encoder"].state_dict()}

    with pytest.raises(I2IError, match=r"--from runs/prior: it has content_encoder, which .* to begin anew"):
        trainer.begin_with(prior, "runs/prior")


@pytest.mark.parametrize("given", [{"identity": 1.0}, {"faces": "model_ir_se50.pth"}])
def test_identity_needs_a_weight_and_a_file(given: dict[str, Any]) -> None:
    with pytest.raises(I2IError, match="needs both a weight above 0 and the file"):
        GPUNITSettings(**given)


def test_every_convolution_of_the_discriminator_is_divided_by_its_norm() -> None:
    system = small()
    convolutions = [module for module in system.discriminator.modules() if isinstance(module, torch.nn.Conv2d)]
    assert convolutions and all(is_parametrized(module, "weight") for module in convolutions)
    assert not any(is_parametrized(module) for module in system.generator.modules())


def test_content_encoder_comes_from_an_official_file(tmp_path: Path) -> None:
    expected = official_content_encoder(tmp_path / "content_encoder.pt")

    system = small(content_encoder=str(tmp_path / "content_encoder.pt"))

    torch.testing.assert_close(system.content_encoder.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert system.given() == () and small().given() == ("content_encoder",)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        pytest.param(
            {"crop_size": 32}, "--crop-size is 32; GP-UNIT takes a power of two, here at least 64", id="small"
        ),
        pytest.param({"crop_size": 96}, "--crop-size is 96", id="odd"),
        pytest.param({"settings": replace(SMALL, style_layer=6)}, "style_layer is 6; .* must be 1 to 5", id="layer"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(shape: dict[str, Any], words: str) -> None:
    with pytest.raises(I2IError, match=words):
        build_gpunit(replace(SHAPE, **shape))


def test_content_encoder_of_another_width_is_refused(tmp_path: Path) -> None:
    official_content_encoder(tmp_path / "content_encoder.pt")
    settings = replace(SMALL, content_encoder=str(tmp_path / "content_encoder.pt"))
    with pytest.raises(I2IError, match=r"--width is 8, but the content encoder of .* has width 4"):
        build_gpunit(replace(SHAPE, width=8, settings=settings))
    with pytest.raises(I2IError, match=r"--set reductions=4, but the content encoder of .* has 5"):
        build_gpunit(replace(SHAPE, settings=replace(settings, reductions=4)))


@pytest.mark.parametrize("name", ["content", "style", "mask", "reconstruction", "vgg", "penalty"])
def test_negative_weights_are_refused(name: str) -> None:
    with pytest.raises(I2IError, match=f"--set {name} is -1; it must not be negative"):
        GPUNITSettings(**{name: -1.0})


def weights_in(run: Path) -> dict[str, Tensor]:
    state = torch.load(run / "state.pt", weights_only=True)
    found: dict[str, Tensor] = state["system"] | {f"average.{key}": value for key, value in state["averages"].items()}
    return found


def test_run_resumes_exports_and_translates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("trainA", "trainB", "valA", "valB")):
        draw_pictures(tmp_path / "data" / name, 3, size=(80, 80), seed=number)
    encoder = official_content_encoder(tmp_path / "content_encoder.pt")
    train, whole, halves = ["train", "gpunit", "-o"], tmp_path / "whole", tmp_path / "halves"
    words = ["--data", str(tmp_path / "data"), "--batch", "2", "--crop-size", "64", "--load-size", "72"]
    words += ["--width", "4", "--discriminator-width", "4", "--set", f"content_encoder={tmp_path}/content_encoder.pt"]
    for name in ("style_dim", "bottleneck", "max_width", "features", "vgg"):
        words += ["--set", f"{name}={getattr(SMALL, name)}"]

    assert main([*train, str(whole), *words, "--steps", "20"]) == 0
    assert main([*train, str(halves), *words, "--steps", "11"]) == 0
    assert main([*train, str(halves), "--resume", "--steps", "20"]) == 0

    expected, found = weights_in(whole), weights_in(halves)
    assert expected.keys() == found.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    for key, tensor in encoder.state_dict().items():
        assert torch.equal(expected[f"content_encoder.{key}"], tensor)  # it stays as it was
    assert "mask_1" in (whole / "scores.jsonl").read_text()
    bundle = Bundle.open(whole / "bundle")
    assert bundle.system == "gpunit" and set(bundle.networks) == {"content_encoder", "style_encoder", "generator"}
    assert bundle.style == StyleInfo("fitted")
    picture, reference = (next((tmp_path / "data" / name).iterdir()) for name in ("valA", "valB"))
    assert deployed(whole / "bundle", picture, monkeypatch, reference=reference).shape == (80, 80, 3)
