"""Systems that learn from pairs and styles: StEP's stages, BicycleGAN, MUNIT-p."""

from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.errors import I2IError
from i2i_rt.systems import table
from i2i_rt.systems.base import Batch, Shape, System, Triplets
from i2i_rt.systems.bicyclegan import BicycleGAN, found_again
from i2i_rt.systems.munit_paired import MunitPaired
from i2i_rt.systems.step import Step, judged
from i2i_rt.systems.step_mapper import StepMapping
from tests.gradients import check_phase

FEATURES = {"features": "random"}
SETTINGS: dict[str, dict[str, str]] = {
    "step-styles": {},
    "step": FEATURES,
    "step-finetune": FEATURES,
    "step-mapper": {"samples": "50"},
    "bicyclegan": FEATURES,
    "munit-paired": FEATURES,
}


def small(name: str, seed: int = 0, size: int = 32, **settings: str) -> System[Any]:
    build, recipe = table.find(name)
    torch.manual_seed(seed)
    parsed = recipe.settings.parse(name, SETTINGS[name] | settings)
    return build(Shape(width=4, blocks=1, discriminator_width=4, crop_size=size, settings=parsed))


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def batch_of(name: str, count: int = 4) -> Any:
    if name == "step-styles":
        return Triplets(images(count), images(count, 1), images(count, 2))
    return Batch(images(count), images(count, 1))


@pytest.mark.parametrize("name", SETTINGS)
def test_each_phase_gives_gradients_to_its_own_networks_alone(name: str) -> None:
    system, kept = small(name), {}

    for phase in system.phases:
        check_phase(system, batch_of(name), phase, kept)


@pytest.mark.parametrize("name", SETTINGS)
def test_network_is_trained_or_given(name: str) -> None:
    system = small(name)

    trained = [network for phase in system.phases for network in system.trained_in(phase)]

    assert sorted([*trained, *system.given()]) == sorted(system.networks)


@pytest.mark.parametrize("name", SETTINGS)
def test_samples_are_pictures_and_scores_a_number_for_each(name: str) -> None:
    system, batch = small(name), batch_of(name)

    columns, scores = system.samples(batch, system.networks), system.scores(batch, system.networks)

    assert all(column.shape == (4, 3, 32, 32) for column in columns)
    assert scores and all(values.shape == (4,) for values in scores.values())


def test_triplet_accuracy_counts_positives_that_are_closer() -> None:
    anchor, other = images(3), images(3, 1)

    scores = small("step-styles").scores(
        Triplets(anchor, torch.cat([anchor[:2], other[2:]]), torch.cat([other[:2], anchor[2:]])),
        small("step-styles").networks,
    )

    assert scores["triplet_accuracy"].tolist() == [1.0, 1.0, 0.0]


def test_second_stage_asks_for_the_first_ones_encoder_and_the_third_trains_it() -> None:
    assert small("step").given() == ("style_encoder",)
    assert small("step-finetune").given() == ()
    assert "style_encoder" in small("step-finetune").averaged()


def test_adversarial_terms_of_step_weigh_a_half(monkeypatch: pytest.MonkeyPatch) -> None:
    system = small("step")
    assert isinstance(system, Step)
    monkeypatch.setattr(system.discriminator, "forward", lambda x: [torch.zeros(4, 1, 4, 4), torch.zeros(4, 1, 2, 2)])

    generator = system(batch_of("step"), "generator", kept := {})
    discriminator = system(batch_of("step"), "discriminator", kept)

    # two scales with scores of 0: least squares are 1 beside the target 1, 0 beside 0
    assert generator["G_GAN"].item() == pytest.approx(1.0)
    assert (discriminator["D_real"].item(), discriminator["D_fake"].item()) == (pytest.approx(1.0), 0.0)


def test_discriminator_of_step_sees_the_image_first_and_then_the_condition() -> None:
    system, batch, seen = small("step"), batch_of("step"), []
    assert isinstance(system, Step)
    system.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    judged(system.discriminator, batch.b, batch.a, real=True)

    torch.testing.assert_close(seen[0], torch.cat([batch.b, batch.a], 1))


@pytest.mark.parametrize(("kind", "least"), [("l1", 10.0), ("vgg", 0.0)])
def test_reconstruction_is_of_pixels_or_of_features(kind: str, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = small("step", reconstruction=kind), batch_of("step")
    assert isinstance(system, Step)

    monkeypatch.setattr(system.generator, "forward", lambda image, style: batch.b + 1)
    away = system(batch, "generator", {})["reconstruction"]
    monkeypatch.setattr(system.generator, "forward", lambda image, style: batch.b)
    right = system(batch, "generator", {})["reconstruction"]

    assert away.item() > right.item() == 0.0
    assert away.item() == pytest.approx(least, rel=1e-4) or kind == "vgg"  # 10 times the mean difference


def test_mapper_learns_styles_that_no_normal_distribution_has() -> None:
    system = small("step-mapper", style_size="2", samples="64")
    assert isinstance(system, StepMapping)
    optimizer = torch.optim.Adam(system.mapper.parameters(), 3e-3, (0.5, 0.999))

    for step in range(600):
        torch.manual_seed(step)
        along = torch.rand(64) * 2 - 1
        curve = 5 + 0.1 * torch.stack([along, 2 * along.square()], 1)
        system.style_encoder.forward = lambda _, curve=curve: curve  # type: ignore[method-assign]
        optimizer.zero_grad()
        system(Batch(curve, curve), "mapper", {})["total"].backward()
        optimizer.step()

    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(1))
    samples = (system.mapper(noise).detach() - 5) / 0.1
    drawn = torch.tensor([0.0, 2 / 3]) + torch.tensor([3**-0.5, 0.596]) * noise  # with the curve's mean and deviation
    off, off_drawn = ((x[:, 1] - 2 * x[:, 0].square()).abs().median() for x in (samples, drawn))
    assert off < 0.3 * off_drawn
    assert samples[:, 0].std() == pytest.approx(3**-0.5, rel=0.3)  # and no part of the curve is forgotten


def test_bicyclegan_reconstructs_one_half_and_compares_random_styles_with_the_other() -> None:
    system, batch, seen = small("bicyclegan"), batch_of("bicyclegan"), []
    assert isinstance(system, BicycleGAN)
    system(batch, "generator", kept := {})
    system.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    system.discriminator_random.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    system(batch, "discriminator", kept)

    encoded, real, random, other = seen
    torch.testing.assert_close(real, batch.b[::2])
    torch.testing.assert_close(other, batch.b[1::2])
    torch.testing.assert_close(encoded, kept["encoded"])
    torch.testing.assert_close(random, kept["random"])


def test_drawn_style_is_found_again_without_help_of_the_encoders_weights() -> None:
    system = small("bicyclegan")
    assert isinstance(system, BicycleGAN)
    picture = images(2).requires_grad_()

    mean = found_again(system.style_encoder, picture)
    mean.square().sum().backward()

    torch.testing.assert_close(mean, system.style_encoder(picture))
    assert picture.grad is not None and picture.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in system.style_encoder.parameters())


def test_kl_of_bicyclegan_is_a_sum_over_the_encoded_half() -> None:
    losses = []
    for count in (2, 4):
        system = small("bicyclegan")
        assert isinstance(system, BicycleGAN)
        ones = torch.ones(count // 2, 8)
        system.style_encoder.posterior = lambda _, ones=ones: (ones, torch.zeros_like(ones))  # type: ignore[method-assign]
        losses.append(system(batch_of("bicyclegan", count), "generator", {})["KL"].item())

    assert losses == [pytest.approx(0.01 * 8 / 2), pytest.approx(2 * 0.01 * 8 / 2)]


def test_munit_p_exchanges_styles_between_neighbours() -> None:
    system, decoded = small("munit-paired"), []
    assert isinstance(system, MunitPaired)
    means = torch.arange(4.0)[:, None].repeat(1, 8)
    system.posterior = lambda _: (means, torch.full_like(means, -80.0))  # type: ignore[method-assign]
    decode = system.generator.decode

    def watched(maps: list[Tensor], style: Tensor) -> Tensor:
        decoded.append(style)
        return decode(maps, style)

    system.generator.decode = watched  # type: ignore[method-assign]
    system(batch_of("munit-paired"), "generator", {})

    direct, _, exchanged, cycled = decoded
    torch.testing.assert_close(direct, means)
    torch.testing.assert_close(exchanged, means[[1, 0, 3, 2]])
    # the encoder is made to give the same styles to what was exchanged, so neighbours get each other's again
    torch.testing.assert_close(cycled, means[[1, 0, 3, 2]])


def test_without_the_cycle_munit_p_is_bicyclegan_on_steps_networks() -> None:
    losses = small("munit-paired", cycle="false")(batch_of("munit-paired", 3), "generator", {})

    assert "cycle" not in losses and "style_L1" in losses


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [
        ("bicyclegan", 48, "BicycleGAN takes powers of two from 32"),
        ("bicyclegan", 16, "BicycleGAN takes powers of two from 32"),
        ("step", 40, "a multiple of 16 with --crop-size"),
    ],
)
def test_crops_that_cannot_be_halved_are_refused(name: str, size: int, sentence: str) -> None:
    with pytest.raises(I2IError, match=sentence):
        small(name, size=size)


@pytest.mark.parametrize(
    ("name", "setting", "sentence"),
    [
        ("step-styles", {"style_size": "0"}, "--set style_size=0: a style has at least one number"),
        ("step", {"reconstruction": "l2"}, "--set reconstruction=l2: it must be one of vgg, l1"),
        ("step-mapper", {"samples": "0"}, "--set samples=0: at least one sample has to be drawn"),
    ],
)
def test_wrong_setting_is_refused(name: str, setting: dict[str, str], sentence: str) -> None:
    with pytest.raises(I2IError, match=sentence):
        small(name, **setting)


def test_bicyclegan_has_the_papers_networks_at_256_pixels() -> None:
    build, recipe = table.find("bicyclegan")
    with torch.device("meta"):
        system = build(Shape(crop_size=256, settings=recipe.settings.parse("bicyclegan", {})))
    assert isinstance(system, BicycleGAN)

    sizes = {
        name: round(sum(weight.numel() for weight in network.parameters()) / 1e6, 3)
        for name, network in system.networks.items()
    }

    # with 3 channels of input; the discriminators are those of basic_256_multi
    assert sizes == {"generator": 54.795, "style_encoder": 2.590, "discriminator": 3.459, "discriminator_random": 3.459}
