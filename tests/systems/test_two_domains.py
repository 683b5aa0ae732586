"""MUNIT and both forms of UNIT: which weights move when, what losses are of, sizes, and a run from data to picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.models import across
from i2i_rt.models.munit import (
    ContentEncoderConfig,
    DecoderConfig,
    LayerNorm,
    ScalesDiscriminatorConfig,
    StyleEncoderConfig,
)
from i2i_rt.models.table import describe
from i2i_rt.models.unit import SharedDecoderConfig, SharedEncoderConfig
from i2i_rt.models.unit_discriminator import UnitDiscriminatorConfig
from i2i_rt.spec import StyleInfo
from i2i_rt.systems import table
from i2i_rt.systems.base import Batch, Shape
from i2i_rt.systems.munit import Munit
from i2i_rt.systems.two_domains import TwoDomains
from i2i_rt.systems.unit import Unit
from tests.deployment import deployed
from tests.gradients import check_phase
from tests.training.conftest import draw_pictures

SYSTEMS = ("munit", "unit", "unit-shared")
SMALL = {"judge_layers": "2", "judge_scales": "2", "cycle": "10", "vgg": "0", "features": "random"}
BUNDLES = {
    "munit": ({"content_encoder", "style_encoder", "decoder"}, ["translate", "style_from_image"], StyleInfo("normal")),
    "unit": ({"encoder", "decoder"}, ["translate"], None),
    "unit-shared": ({"encoder", "decoder"}, ["translate"], None),
}


def small(name: str, size: int = 32, **settings: str) -> TwoDomains:
    build, recipe = table.find(name)
    torch.manual_seed(0)
    parsed = recipe.settings.parse(name, SMALL | settings)
    system = build(Shape(width=4, blocks=1, discriminator_width=4, crop_size=size, settings=parsed))
    assert isinstance(system, TwoDomains)
    return system


def images(count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(*(torch.rand(count, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(2)))


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_phase_gives_gradients_to_its_own_networks(name: str) -> None:
    system, kept = small(name), {}

    for phase in system.phases:
        check_phase(system, images(), phase, kept)
    assert sorted(key for phase in system.phases for key in system.trained_in(phase)) == sorted(system.networks)


def test_losses_of_unit_are_of_noisy_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = small("unit"), images()
    assert isinstance(system, Unit)
    monkeypatch.setattr(across, "normal", lambda *shape, device: torch.full(shape, 0.5, device=device))
    net = system.networks
    with torch.no_grad():
        losses = system.losses(batch, "generator", {})
        code = net["encoder_a"](batch.a)
        made = net["decoder_b"](code + 0.5)
        found = net["encoder_b"](made)
        expected = {
            "reconstruction_a": 10 * (net["decoder_a"](code + 0.5) - batch.a).abs().mean(),
            "kl_a": 0.01 * code.square().mean(),
            "cycle_kl_a": 0.01 * found.square().mean(),
            "cycle_a": 10 * (net["decoder_a"](found + 0.5) - batch.a).abs().mean(),
            "G_GAN_b": sum((scores - 1).square().mean() for scores in net["discriminator_b"](made)),
        }

    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss)


def test_losses_of_shared_layers_are_of_codes_with_their_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = small("unit-shared", cycle="100", dropout="0"), images()
    monkeypatch.setattr(across, "normal", lambda *shape, device: torch.full(shape, 0.5, device=device))
    net = system.networks
    with torch.no_grad():
        losses = system.losses(batch, "generator", {})
        judged = system.losses(batch, "discriminator", {})
        code = net["shared_encoder"](net["encoder_b"](batch.b)) + 0.5
        made = net["decoder_a"](net["shared_decoder"](code))
        found = net["shared_encoder"](net["encoder_a"](made)) + 0.5
        back = net["decoder_b"](net["shared_decoder"](found))
        fake, real = net["discriminator_a"](made), net["discriminator_a"](batch.a)
        expected = {
            "reconstruction_b": 100 * (net["decoder_b"](net["shared_decoder"](code)) - batch.b).abs().mean(),
            "kl_b": 0.1 * code.square().mean(),
            "cycle_kl_b": 0.1 * found.square().mean(),
            "cycle_b": 100 * (back - batch.b).abs().mean(),
            "G_GAN_a": 10 * sum(-scores.sigmoid().log().mean() for scores in fake),
        }
        discriminated = sum(-scores.sigmoid().log().mean() for scores in real)
        discriminated += sum(-(1 - scores.sigmoid()).log().mean() for scores in fake)

    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss)
    torch.testing.assert_close(judged["D_a"], 10 * discriminated)


def test_bundle_has_the_shared_layers_of_the_training() -> None:
    system, batch = small("unit-shared").eval(), images()

    product = system.products(system.networks)["bundle"]

    with torch.no_grad():
        _, _, translated, *_ = system.samples(batch, system.networks)
        torch.testing.assert_close(product.networks["decoder"](product.networks["encoder"](batch.a)), translated)
    encoder, decoder = (describe(network) for network in product.networks.values())
    assert (product.system, encoder.config["blocks"], decoder.config["blocks"]) == ("unit", 2, 2)


@pytest.mark.parametrize("name", SYSTEMS)
def test_loss_without_weight_is_not_computed(name: str) -> None:
    losses = small(name, cycle="0").losses(images(), "generator", {})

    assert not any(key in ("cycle_a", "cycle_b") or key.startswith("vgg") for key in losses)


def test_vgg_compares_a_translation_with_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch, seen = small("munit", vgg="2", features="random"), images(), []

    def watched(vgg: Any, made: Tensor, wanted: Tensor) -> Tensor:
        seen.append(wanted)
        return made.new_ones(())

    monkeypatch.setattr("i2i_rt.systems.two_domains.normalised_vgg_loss", watched)
    losses = system.losses(batch, "generator", {})

    assert losses["vgg_a"].item() == losses["vgg_b"].item() == 2
    assert seen[0] is batch.a and seen[1] is batch.b


@pytest.mark.parametrize("name", SYSTEMS)
def test_mixed_precision_has_nearly_the_losses_of_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = small(name, **({"dropout": "0"} if name == "unit-shared" else {})), images()
    monkeypatch.setattr(across, "normal", lambda *shape, device: torch.linspace(-1, 1, 2)[:, None].expand(2, shape[1]))
    monkeypatch.setattr("i2i_rt.systems.unit.noisy", lambda codes: codes)

    for phase in system.phases:
        expected = system(batch, phase, {})
        with torch.autocast("cpu", torch.bfloat16):
            found = system(batch, phase, {})
        found["total"].backward()
        for key, loss in expected.items():
            assert found[key].dtype == torch.float32
            torch.testing.assert_close(found[key], loss.detach(), rtol=0.05, atol=0.01)
    gradients = [weight.grad for weight in system.parameters()]
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def test_judges_see_styles_drawn_anew_and_leave_no_graph() -> None:
    system, batch, seen = small("munit"), images(), []
    system.networks["discriminator_a"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    for phase in system.phases:
        system.losses(batch, phase, {})

    made, real, again = seen
    assert real is batch.a and not made.requires_grad and again.requires_grad
    assert not torch.allclose(made, again)


@pytest.mark.parametrize("name", SYSTEMS)
def test_samples_are_pictures_and_scores_a_number_for_each(name: str) -> None:
    system, batch = small(name).eval(), images()

    with torch.no_grad():
        columns, scores = system.samples(batch, system.networks), system.scores(batch, system.networks)

    assert [column.shape for column in columns] == [(2, 3, 32, 32)] * 6
    assert columns[0] is batch.a and columns[3] is batch.b
    error = (columns[4] - batch.b).square().mean((1, 2, 3))
    torch.testing.assert_close(scores["psnr_b"], 10 * (4 / error).log10())


def test_munit_is_scored_by_the_diversity_of_drawn_styles() -> None:
    system, batch = small("munit").eval(), images()

    with torch.no_grad():
        scores = system.scores(batch, system.networks)
        assert (scores["diversity_random_features_a"] > 0).all() and scores["diversity_random_features_b"].shape == (2,)
        for side in ("a", "b"):
            for weight in system.networks[f"decoder_{side}"].perceptron[0].parameters():
                weight.zero_()  # every style is the same to the decoder
        scores = system.scores(batch, system.networks)
    assert scores["diversity_random_features_a"].max() == scores["diversity_random_features_b"].max() == 0


def test_networks_are_the_official_ones() -> None:
    with torch.device("meta"):
        built = {}
        for name in SYSTEMS:
            build, recipe = table.find(name)
            built[name] = build(replace(recipe.shape, settings=recipe.settings())).networks

    munit, unit, shared = (built[name] for name in SYSTEMS)
    assert munit["content_encoder_a"].config == unit["encoder_b"].config == ContentEncoderConfig()
    assert munit["style_encoder_b"].config == StyleEncoderConfig()
    assert munit["decoder_a"].config == DecoderConfig()
    assert unit["decoder_a"].config == DecoderConfig(style=0)
    assert munit["discriminator_a"].config == unit["discriminator_b"].config == ScalesDiscriminatorConfig()
    assert shared["encoder_a"].config == SharedEncoderConfig(blocks=3)
    assert shared["decoder_b"].config == SharedDecoderConfig(blocks=3)
    assert [len(shared[f"shared_{part}"]) for part in ("encoder", "decoder")] == [1, 1]
    assert shared["discriminator_a"].config == UnitDiscriminatorConfig()


def test_weights_are_drawn_as_published() -> None:
    build, recipe = table.find("munit")
    torch.manual_seed(0)
    system = build(Shape(width=16, blocks=1, discriminator_width=64, settings=recipe.settings()))
    assert isinstance(system, Munit)

    judge, encoder = (system.networks[f"{name}_a"] for name in ("discriminator", "content_encoder"))
    assert judge.scales[0][2].weight.std().item() == pytest.approx(0.02, rel=0.05)
    block = encoder.blocks[0].first.weight
    assert block.std().item() == pytest.approx((2 / block[0].numel()) ** 0.5, rel=0.05)
    (scale, *_) = (module.weight for module in system.modules() if isinstance(module, LayerNorm))
    assert 0 <= scale.min() < 0.3 and 0.7 < scale.max() <= 1
    found = recipe.optimization_of("decoder_b")
    assert (found.weight_decay, found.betas, recipe.learning_rate) == (1e-4, (0.5, 0.999), 1e-4)


def test_crops_too_small_for_the_judges_are_refused() -> None:
    with pytest.raises(I2IError, match="--crop-size is 32; judges of 4 layers at 3 scales need at least 64"):
        small("munit", judge_layers="4", judge_scales="3")


@pytest.mark.parametrize("name", SYSTEMS)
def test_crops_that_decoders_do_not_give_back_are_refused(name: str) -> None:
    with pytest.raises(I2IError, match="--crop-size is 36; with --set reductions=3 it must be a multiple of 8"):
        small(name, 36, reductions="3")


@pytest.mark.parametrize("name", SYSTEMS)
def test_crops_that_would_be_reduced_to_one_place_are_refused(name: str) -> None:
    small(name, reductions="4")
    with pytest.raises(I2IError, match="--crop-size is 32; with --set reductions=5 it must be at least 64"):
        small(name, reductions="5")


@pytest.mark.parametrize("widths", ["0", "8,-3"])
def test_widths_that_mean_nothing_are_refused(widths: str) -> None:
    with pytest.raises(I2IError, match=f"--set perceptron is {widths}; each width must be at least 1"):
        small("munit", perceptron=widths)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("unit-shared", "shared_blocks"),
        ("munit", "style_size"),
        ("unit", "judge_layers"),
        ("munit", "content"),
        ("unit", "kl"),
    ],
)
def test_settings_that_mean_nothing_are_refused(name: str, wrong: str) -> None:
    with pytest.raises(I2IError, match=f"--set {wrong} is -1; it must (be at least 1|not be negative)"):
        small(name, **{wrong: "-1"})


def test_dropout_of_everything_is_refused() -> None:
    with pytest.raises(I2IError, match="--set dropout is 1; it must be at least 0 and less than 1"):
        small("unit-shared", dropout="1")


def test_dropout_is_of_training_alone() -> None:
    encoder, image = small("unit-shared").networks["encoder_a"], images().a
    with torch.no_grad():
        assert not torch.equal(encoder(image), encoder(image))
        encoder.eval()
        assert torch.equal(encoder(image), encoder(image))


@pytest.mark.parametrize("name", SYSTEMS)
def test_run_resumes_exports_and_translates(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    for number, folder in enumerate(("trainA", "trainB", "testA", "testB")):
        draw_pictures(photos / folder, 2, seed=number)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    words = ["--crop-size", "32", "--load-size", "40", "--width", "4", "--blocks", "1", "--discriminator-width", "4"]
    words += [word for setting, value in SMALL.items() for word in ("--set", f"{setting}={value}")]
    train = ["train", name, "--data", str(photos), "-o"]
    assert main([*train, str(whole), *words, "--steps", "20"]) == 0
    assert main([*train, str(halves), *words, "--steps", "10"]) == 0
    assert main(["train", name, "-o", str(halves), "--resume", "--steps", "20"]) == 0

    expected, found = (torch.load(run / "state.pt", weights_only=True)["system"] for run in (whole, halves))
    assert expected.keys() == found.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
    (networks, stages, style), system = BUNDLES[name], name.partition("-")[0]
    for folder in ("bundle", "bundle-back"):
        bundle = Bundle.open(whole / folder)
        assert (bundle.system, set(bundle.networks), list(bundle.stages)) == (system, networks, stages)
        assert bundle.style == style
    assert Bundle.open(whole / "bundle").preprocessing["load_size"] == 32
    picture, reference = (next((photos / folder).iterdir()) for folder in ("testA", "testB"))
    chosen = {"reference": reference} if style else {}
    assert deployed(whole / "bundle", picture, monkeypatch, **chosen).shape[2] == 3
