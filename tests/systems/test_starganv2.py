"""StarGAN v2 and Smoothing: which networks each phase moves, from where styles come, what a run leaves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2i_rt.bundle import Provenance
from i2i_rt.errors import I2IError
from i2i_rt.stages.table import load_stages
from i2i_rt.systems import table
from i2i_rt.systems.base import DomainBatch, Shape
from i2i_rt.systems.smoothing import Smoothing
from i2i_rt.systems.starganv2 import SmoothStarGANv2Settings, StarGANv2, StarGANv2Settings
from i2i_rt.training.processes import Processes
from i2i_rt.training.recipes import options_of
from i2i_rt.training.run_folder import create_bundle
from i2i_rt.training.trainer import Trainer
from tests.gradients import touched
from tests.importers.test_stargan import official_fan
from tests.small.stargan import SMALL

SYSTEMS = ("starganv2", "smoothing")
SIZES = {"max_width": 8, "style_dim": 6, "latent_dim": 5, "mapping_width": 8, "features": "random"}
SETTINGS = {"starganv2": StarGANv2Settings(**SIZES), "smoothing": SmoothStarGANv2Settings(**SIZES)}
DOMAINS = ("cat", "dog", "wild")


def small(name: str, **changes: object) -> StarGANv2:
    build, _ = table.find(name)
    torch.manual_seed(0)
    settings = replace(SETTINGS[name], **changes)
    system = build(Shape(4, 1, 4, crop_size=32, domains=DOMAINS, settings=settings))
    assert isinstance(system, StarGANv2)
    return system


def images(count: int = 3) -> DomainBatch:
    generator = torch.Generator().manual_seed(0)
    image, reference, other = (torch.rand(count, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(3))
    numbers = torch.arange(count)
    return DomainBatch(image, numbers % 3, reference, other, (numbers + 1) % 3)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("step", [0, 1])
def test_each_phase_gives_gradients_to_its_own_networks(name: str, step: int) -> None:
    system, kept = small(name), dict[str, Tensor]()
    system.step, system.steps = step, 4

    for phase in system.phases:
        system.zero_grad()
        losses = system(images(), phase, kept)
        losses.pop("total").backward()
        assert touched(system) == set(system.trained_in(phase))


@pytest.mark.parametrize("name", SYSTEMS)
def test_total_is_the_sum_of_the_named_losses(name: str) -> None:
    system, kept, names = small(name), dict[str, Tensor](), list[str]()

    for phase in system.phases:
        losses = system(images(), phase, kept)
        total = losses.pop("total").item()
        assert total == pytest.approx(sum(loss.item() for loss in losses.values()), rel=1e-5)
        names += losses

    assert len(set(names)) == len(names)  # losses of both passes stand beside one another in the log


def test_with_references_only_the_generator_moves() -> None:
    assert small("starganv2").trained_in("generator-reference") == ("generator",)


def test_a_step_draws_its_noise_once_and_the_next_one_draws_anew() -> None:
    system, batch = small("starganv2"), images()
    noise = system.from_noise(batch, kept := {})

    assert torch.equal(system.from_noise(batch, kept).given, noise.given)
    assert not torch.equal(noise.given, noise.other)
    assert not torch.equal(system.from_noise(batch, {}).given, noise.given)


def test_diversity_falls_to_nothing_over_the_training() -> None:
    system, batch = small("starganv2"), images()
    system.steps, found = 4, []
    for step in (0, 2, 4):
        system.step = step
        torch.manual_seed(0)
        found.append(system.losses(batch, "generator-latent", {})["G_latent_diversity"].item())

    assert found[0] < 0
    assert found[1] == pytest.approx(found[0] / 2)
    assert found[2] == 0


def test_discriminator_judges_an_image_by_the_output_of_its_domain() -> None:
    system, batch = small("starganv2"), images()

    scores = system.judge(batch.image, batch.domain)

    assert torch.equal(scores[:, 0], system.discriminator(batch.image).diagonal())


@pytest.mark.parametrize(
    ("step", "taught"),
    [pytest.param(0, "mapping_network", id="noise"), pytest.param(1, "style_encoder", id="pictures")],
)
def test_codes_of_noise_and_of_pictures_take_turns(step: int, taught: str) -> None:
    system, batch, kept = small("smoothing", margin=9.0), images(), dict[str, Tensor]()
    assert system.smoothing is not None
    system.step = step
    system.losses(batch, "generator-latent", kept)

    triplet = system.triplet(batch, kept)
    sum(system.smoothing.of_codes(triplet, done=1.0).values(), torch.zeros(())).backward()

    assert touched(system) == {taught}


def test_negatives_are_codes_of_the_images_own_domains() -> None:
    system, batch, kept = small("smoothing"), images(), dict[str, Tensor]()
    batch = batch._replace(target=torch.tensor([0, 2, 1]))  # the first image keeps its domain
    system.losses(batch, "generator-latent", kept)

    of_noise = system.triplet(batch, kept)
    system.step = 1
    of_pictures = system.triplet(batch, kept)

    assert of_noise.apart.tolist() == [False, True, True]
    torch.testing.assert_close(of_noise.negative, system.mapping_network(kept["noise"], batch.domain))
    torch.testing.assert_close(of_pictures.negative, system.style_encoder(batch.image, batch.domain))
    torch.testing.assert_close(of_pictures.positive, system.style_encoder(batch.other_reference, batch.target))


def test_smoothing_adds_its_losses_to_those_of_the_system() -> None:
    plain, smooth = small("starganv2"), small("smoothing", style=1.0, diversity=2.0)
    smooth.step, smooth.steps = 3, 4
    plain.step, plain.steps = 3, 4
    added = {"content", "triplet", "regularization"}

    for phase in plain.phases:
        torch.manual_seed(1)
        without = plain.losses(images(), phase, {})
        torch.manual_seed(1)
        losses = smooth.losses(images(), phase, {})
        assert {name.rpartition("_")[2] for name in losses.keys() - without.keys()} == (
            added if phase == "generator-latent" else {"content"} if phase == "generator-reference" else set()
        )
        for name, loss in without.items():
            torch.testing.assert_close(losses[name], loss)


def test_weights_are_drawn_as_the_papers_code_does() -> None:
    system = table.find("starganv2")[0](
        Shape(16, 1, 16, crop_size=32, domains=DOMAINS, settings=StarGANv2Settings(max_width=32))
    )

    drawn = system.state_dict()

    for name in ("generator.encode.1.conv1", "generator.decode.1.norm1.fc", "discriminator.trunk.last"):
        weight = drawn[f"{name}.weight"]
        assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.1)
        assert not drawn[f"{name}.bias"].any()


def test_mapping_network_learns_slower_than_the_others() -> None:
    networks = ("generator", "mapping_network", "style_encoder", "discriminator")

    assert [small("starganv2").rate(name) for name in networks] == [1, 0.01, 1, 1]
    assert small("starganv2", mapping_rate=0.5).rate("mapping_network") == 0.5


def test_trainer_moves_a_network_by_its_own_rate() -> None:
    sizes = {name: str(value) for name, value in SIZES.items()} | {"mapping_rate": "0"}
    options = options_of("starganv2", "", batch=3, crop_size=32, width=4, discriminator_width=4, settings=sizes)
    trainer = Trainer(options, Processes(0, 1, torch.device("cpu")), domains=DOMAINS)
    before = {name: weight.clone() for name, weight in trainer.system.state_dict().items()}

    trainer.train(images(), epoch=0)

    moved = {name for name, weight in trainer.system.state_dict().items() if not torch.equal(weight, before[name])}
    assert {name.partition(".")[0] for name in moved} == {"generator", "style_encoder", "discriminator"}
    rates = trainer.learning_rates()
    assert rates["mapping_network"] == 0 and rates["generator"] == rates["discriminator"] == 1e-4


@pytest.mark.parametrize("name", SYSTEMS)
def test_bundle_of_a_training_translates_as_its_networks_do(name: str, tmp_path: Path) -> None:
    system = small(name).eval()
    product = system.products(system.networks)["bundle"]
    bundle = create_bundle(tmp_path / "bundle", product, name, Provenance("a test", ""))
    stages, frames = load_stages(bundle), torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    noise, domain = torch.randn(1, 5), torch.tensor([2])

    style = stages["style_from_noise"].module(noise, domain)

    torch.testing.assert_close(style, system.mapping_network(noise, domain))
    assert stages["translate"].module(frames, style).shape == frames.shape
    assert bundle.style is not None and bundle.style.domains == DOMAINS


@pytest.mark.parametrize("name", SYSTEMS)
def test_scores_are_given_for_every_image(name: str) -> None:
    system, batch = small(name).eval(), images(2)

    scores = system.scores(batch, system.networks)

    assert {score.shape for score in scores.values()} == {(2,)}
    smoothness = scores["smoothness_random_features"]
    assert ((smoothness > 0) & (smoothness <= 1)).all()
    assert (scores["diversity_random_features"] > 0).all()


def test_samples_show_images_and_translations_by_noise_and_by_references() -> None:
    system, batch = small("starganv2").eval(), images(2)

    columns = system.samples(batch, system.networks)

    assert [column.shape for column in columns] == [(2, 3, 32, 32)] * 4
    torch.testing.assert_close(
        columns[3], system.generator(batch.image, system.style_encoder(batch.reference, batch.target))
    )


@pytest.fixture
def wing(tmp_path: Path) -> Path:
    """A small face alignment network in the official file."""
    network = SMALL["starganv2-masks"]().networks["fan"]
    file = tmp_path / "wing.ckpt"
    torch.save({"state_dict": official_fan(network)}, file)
    return file


def test_masks_of_faces_are_used_and_go_into_the_bundle_untrained(wing: Path) -> None:
    system, batch, kept = small("starganv2", w_hpf=1.0, fan=str(wing)), images(2), dict[str, Tensor]()
    assert system.faces is not None
    masked = system.generator(batch.image, torch.zeros(2, 6), system.masks(batch.image))

    for phase in system.phases:
        system(batch, phase, kept)["total"].backward()

    assert not torch.equal(masked, system.generator(batch.image, torch.zeros(2, 6)))
    assert not any("fan" in key or "faces" in key for key in system.state_dict())
    assert not any(weight.requires_grad for weight in system.faces.network.parameters())
    assert system.products(system.networks)["bundle"].networks["fan"] is system.faces.network


@pytest.mark.parametrize("wrong", [{"w_hpf": 1.0}, {"fan": "wing.ckpt"}])
def test_masks_need_the_filter_and_the_network(wrong: dict[str, object]) -> None:
    with pytest.raises(I2IError, match=r"need both a w_hpf above 0 and the file of the face alignment network"):
        small("starganv2", **wrong)


def test_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(1)}, tmp_path / "other.ckpt")
    with pytest.raises(I2IError, match="this is no face alignment network"):
        small("starganv2", w_hpf=1.0, fan=str(tmp_path / "other.ckpt"))


@pytest.mark.parametrize("size", [16, 48])
def test_crops_that_are_no_power_of_two_are_refused(size: int) -> None:
    build, _ = table.find("starganv2")
    with pytest.raises(I2IError, match=f"--crop-size is {size}; StarGAN v2 takes a power of two, at least 32"):
        build(Shape(crop_size=size, domains=DOMAINS, settings=StarGANv2Settings()))


def test_smoothing_is_told_where_its_features_cannot_be_had() -> None:
    with pytest.raises(I2IError, match="features is 'other'"):
        Smoothing(SmoothStarGANv2Settings(features="other"))
