"""EGSC-IT: what each stage trains, whose turn a step is, what masks and styles are of, and a run of both stages."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.metrics.pairs import psnr
from i2i_rt.pretrained import FrozenNetwork
from i2i_rt.spec import StyleInfo
from i2i_rt.systems import egscit, table
from i2i_rt.systems.base import Batch, Shape
from i2i_rt.systems.egscit import TRANSLATED, TURN, Egscit, EgscitSettings, build_egscit
from i2i_rt.systems.egscit_masks import EgscitMasksSettings, build_egscit_masks, polynomial
from tests.deployment import deployed
from tests.gradients import check_phase
from tests.training.conftest import draw_pictures

SMALL = EgscitSettings(reductions=1, layers=2, content=0.0, style=0.0)
SHAPE = Shape(width=4, blocks=1, discriminator_width=4, crop_size=32, settings=SMALL)
MASKS = replace(SHAPE, settings=EgscitMasksSettings(reductions=1, layers=2))


def small(**settings: Any) -> Egscit:
    torch.manual_seed(0)
    return build_egscit(replace(SHAPE, settings=replace(SMALL, **settings)))


def drawn() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(*(torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(2)))


def test_each_phase_gives_gradients_to_its_own_networks() -> None:
    for system in (build_egscit_masks(MASKS), small()):
        system.step, kept = TURN - 1, dict[str, Tensor]()
        for phase in system.phases:
            check_phase(system, drawn(), phase, kept)


def test_discriminators_have_every_fifth_step_and_features_none() -> None:
    system, turns = small(), []
    for system.step in range(2 * TURN):
        assert system.trained_in("generator") == TRANSLATED
        turns.append(bool(system.trained_in("discriminator")))

    assert turns == [False, False, False, False, True] * 2
    assert set(system.given()) == {"features_a", "features_b"}
    assert not any(system.needs_gradient(name, phase) for name in system.given() for phase in system.phases)


def test_rate_falls_to_nothing_after_the_last_step() -> None:
    system = small()
    system.step, system.steps = 30, 40
    assert system.rate("decoder_a") == pytest.approx(0.25**0.9)
    assert polynomial(0, 40) == 1 and polynomial(40, 40) == 0


def test_weights_of_the_losses_are_the_official_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch, kept = small(), drawn(), dict[str, Tensor]()
    monkeypatch.setattr("i2i_rt.systems.egscit.noisy", lambda code: code + 1)

    losses = system.generator_losses(batch, kept)

    networks, (a, b) = system.networks, batch
    to_b, own, back = (system.way(networks, *way) for way in ("ab", "aa", "ba"))
    code, mask, style = own.shared_encoder(own.encoder(a)) + 1, own.mask(a), networks["features_a"](a)
    made = to_b.decode(code, mask=mask, style=networks["features_b"](b))
    again = back.shared_encoder(back.encoder(made)) + 1
    torch.testing.assert_close(kept["b"], made)
    cycled = back.decode(again, mask=mask, style=style)  # the mask of the picture that it began with
    for name, expected in (
        ("G_GAN_b", 10 * (networks["discriminator_b"](made) - 1).square().mean()),
        ("L1_a", 100 * (own.decode(code, mask=mask, style=style) - a).abs().mean()),
        ("cycle_a", 100 * (cycled - a).abs().mean()),
        ("KL_a", 0.1 * (code.square().mean() + again.square().mean())),
    ):
        torch.testing.assert_close(losses[name], expected)


def test_perceptual_losses_are_to_the_source_and_to_the_exemplar() -> None:
    system = small(content=2.0, style=3.0, features="random")
    batch = drawn()
    images = dict(zip("ab", batch, strict=True))

    same, exchanged = system.perceptual(images, images), system.perceptual({"a": batch.b, "b": batch.a}, images)
    for domain in "ab":
        assert same[f"content_{domain}"] == 0 and same[f"style_{domain}"] > 0
        assert exchanged[f"style_{domain}"] == 0 and exchanged[f"content_{domain}"] > 0
    one = {"a": batch.b, "b": batch.b}
    assert system.perceptual(one, images)["style_a"] == 0 and system.perceptual(one, images)["content_b"] == 0
    heavier = small(content=4.0, features="random").perceptual(one, images)
    torch.testing.assert_close(heavier["content_a"], 2 * system.perceptual(one, images)["content_a"])
    assert system.losses(batch, "generator", {}).keys() >= {"content_a", "style_a", "content_b", "style_b"}
    assert not small().perceptual(images, images)


def test_what_ablations_leave_out() -> None:
    image, exemplar = drawn()
    networks = small().networks
    full, unmasked, plain = (small(**words) for words in ({}, {"masks": False}, {"adain": False}))

    assert full.way(networks, "a", "b").mask(image).max() < 1
    assert (unmasked.way(networks, "a", "b").mask(image) == 1).all()
    made = [system.translated(networks, "a", "b", image, exemplar) for system in (full, unmasked, plain)]
    assert not torch.allclose(made[0], made[1]) and not torch.allclose(made[0], made[2])
    assert torch.equal(made[2], plain.translated(networks, "a", "b", image, exemplar.flip(0)))
    assert not torch.allclose(made[0], full.translated(networks, "a", "b", image, exemplar.flip(0)))
    assert not plain.products(networks)


def test_scores_are_of_pictures_that_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    images, system, ways = drawn(), small(), list[str]()

    def halved(networks: object, source: str, target: str, image: Tensor, exemplar: Tensor) -> Tensor:
        ways.append(source + target)
        return image / 2

    monkeypatch.setattr(system, "translated", halved)

    scores = system.scores(images, system.networks)

    assert ways == ["ab", "ba", "ba", "ab"]  # both there, then both back
    torch.testing.assert_close(scores["psnr_a"], psnr(images.a / 4, images.a))
    torch.testing.assert_close(scores["psnr_b"], psnr(images.b / 4, images.b))
    first, again = build_egscit_masks(MASKS), drawn()
    monkeypatch.setattr(first, "samples", lambda batch, networks: [batch.a, again.a / 2, batch.b, again.b / 3])
    torch.testing.assert_close(first.scores(images, first.networks)["psnr_b"], psnr(images.b / 3, images.b))


@pytest.mark.parametrize("wrong", [{"reductions": -1}, {"layers": 0}, {"mask_low": 1.5}, {"content": -1.0}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(I2IError, match=f"--set {next(iter(wrong))}="):
        EgscitSettings(**wrong)


def test_crops_that_do_not_fit_are_refused() -> None:
    with pytest.raises(I2IError, match=r"--crop-size is 36; .* multiple of 8"):
        build_egscit_masks(replace(MASKS, crop_size=36, settings=EgscitMasksSettings(reductions=3)))
    with pytest.raises(I2IError, match="--crop-size is 32; with --set layers=5 it must be more than 32"):
        build_egscit_masks(replace(MASKS, settings=EgscitMasksSettings(reductions=1, layers=5)))


def test_second_stage_has_five_steps_for_each_of_the_discriminators() -> None:
    (_, first), (_, second) = (table.find(name) for name in ("egscit-masks", "egscit"))
    assert second.epochs == TURN * first.epochs


def test_networks_are_made_without_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(features: str) -> FrozenNetwork:
        raise I2IError(f"{features} features are not here")

    monkeypatch.setattr(egscit, "vgg19_caffe", missing)
    system = small(features="pretrained", content=1.0)  # as for a bundle of a run
    with pytest.raises(I2IError, match="pretrained features are not here"):
        system.losses(drawn(), "generator", {})


WORDS = ["--crop-size", "32", "--load-size", "36", "--width", "4", "--blocks", "1", "--discriminator-width", "4"]
WORDS += ["--batch", "2", "--set", "reductions=1", "--set", "layers=2"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed, folder in enumerate(("trainA", "trainB")):
        draw_pictures(tmp_path / "photos" / folder, 3, seed=seed)
    return tmp_path / "photos"


def weights_in(run: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(run / "state.pt", weights_only=True)["system"]
    return found


def test_both_stages_train_resume_export_and_translate(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks, whole, halves = (tmp_path / name for name in ("masks", "whole", "halves"))
    words = ["--data", str(photos), *WORDS]
    assert main(["train", "egscit-masks", "-o", str(masks), *words, "--steps", "3"]) == 0
    words += ["--from", str(masks), "--set", "content=0", "--set", "style=0"]  # VGG would take most of the time
    assert main(["train", "egscit", "-o", str(whole), *words, "--steps", "20"]) == 0
    assert main(["train", "egscit", "-o", str(halves), *words, "--steps", "12"]) == 0
    assert main(["train", "egscit", "-o", str(halves), "--resume", "--steps", "20"]) == 0

    first, expected, found = (weights_in(run) for run in (masks, whole, halves))
    assert expected.keys() == found.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    kept = [name for name in first if name.startswith("features_")]
    assert kept and all(torch.equal(first[name], expected[name]) for name in kept)
    bundle = Bundle.open(whole / "bundle")
    assert bundle.system == "egscit" and bundle.style == StyleInfo("fitted")
    assert list(bundle.stages) == ["translate", "style_from_image"]
    assert (whole / "bundle-back" / "bundle.json").is_file()
    picture, reference = (next((photos / name).iterdir()) for name in ("trainA", "trainB"))
    assert deployed(whole / "bundle", picture, monkeypatch, reference=reference).shape == (40, 48, 3)


def test_second_stage_without_the_first_is_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(photos), *WORDS, "--set", "features=random"]

    assert main(["train", "egscit", "-o", str(tmp_path / "run"), *words]) == 2

    assert "features_a and features_b from another run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_mixed_precision_trains() -> None:
    system, kept = small(), dict[str, Tensor]()
    system.step = TURN - 1
    for phase in system.phases:
        with torch.autocast("cpu", torch.bfloat16):
            losses = system(drawn(), phase, kept)
        assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
        losses["total"].backward()
