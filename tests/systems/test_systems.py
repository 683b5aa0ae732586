"""What each system computes: which weights move when, which networks are run, how weights are drawn."""

from dataclasses import replace

import pytest
import torch

from i2i_rt.errors import I2IError
from i2i_rt.models.resnet import ResnetGeneratorConfig
from i2i_rt.systems import table
from i2i_rt.systems.base import Batch, Shape, System
from i2i_rt.systems.cut import CUT, contrasted_layers
from i2i_rt.systems.image_pool import ImagePool
from tests.gradients import touched

SYSTEMS = ["cyclegan", "cut", "fastcut", "sincut", "pix2pix"]  # those that take two images; others have own tests


def small(name: str, size: int = 64, seed: int = 0) -> System:
    build, recipe = table.find(name)
    torch.manual_seed(seed)
    return build(Shape(width=4, blocks=5, discriminator_width=4, antialias=recipe.shape.antialias, crop_size=size))


def images(count: int = 1, size: int = 64) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(*(torch.rand(count, 3, size, size, generator=generator) * 2 - 1 for _ in range(2)))


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_phase_gives_gradients_to_its_own_networks(name: str) -> None:
    system, kept = small(name), {}

    for phase in system.phases:
        system.zero_grad()
        system(images(2), phase, kept)["total"].backward()
        assert touched(system) == set(system.trained_in(phase))


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_network_is_trained_in_one_phase(name: str) -> None:
    system = small(name)

    trained = [network for phase in system.phases for network in system.trained_in(phase)]

    assert sorted(trained) == sorted(system.networks)


@pytest.mark.parametrize("name", SYSTEMS)
def test_total_is_the_sum_of_the_named_losses(name: str) -> None:
    system, kept = small(name), {}

    for phase in system.phases:
        losses = system(images(2), phase, kept)
        total = losses.pop("total")
        assert total.item() == pytest.approx(sum(loss.item() for loss in losses.values()), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "phases"),
    [
        pytest.param("cut", ("discriminator", "generator"), id="cut-judges-first"),
        pytest.param("cyclegan", ("generator", "discriminator"), id="cyclegan-generates-first"),
        pytest.param("pix2pix", ("discriminator", "generator"), id="pix2pix-judges-first"),
    ],
)
def test_phases_come_in_the_order_of_the_papers_code(name: str, phases: tuple[str, ...]) -> None:
    assert small(name).phases == phases


class Passes:
    """Counts the images that go into a generator's first and last convolution."""

    def __init__(self, system: CUT) -> None:
        self.encoded = self.translated = 0
        layers = system.generator.layers
        layers[0].register_forward_pre_hook(lambda _, inputs: self._encode(len(inputs[0])))
        layers[-1].register_forward_pre_hook(lambda _, inputs: self._translate(len(inputs[0])))

    def _encode(self, count: int) -> None:
        self.encoded += count

    def _translate(self, count: int) -> None:
        self.translated += count


@pytest.mark.parametrize(
    ("name", "mirrored", "encoded", "translated"),
    [
        # A and B translated, both results encoded; keys come from the translation itself
        pytest.param("cut", False, 4, 2, id="cut"),
        pytest.param("fastcut", False, 2, 1, id="fastcut-without-identity"),
        pytest.param("fastcut", True, 3, 1, id="fastcut-mirrored-needs-own-keys"),
    ],
)
def test_no_pass_is_computed_twice(
    name: str, mirrored: bool, encoded: int, translated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, kept = small(name), {}
    assert isinstance(system, CUT)
    passes = Passes(system)
    monkeypatch.setattr(torch, "rand", lambda *size: torch.tensor(0.0 if mirrored else 1.0))

    for phase in system.phases:
        system(images_of_ones(), phase, kept)

    assert (passes.encoded, passes.translated) == (encoded, translated)


def images_of_ones() -> Batch:
    return Batch(torch.ones(1, 3, 32, 32), torch.ones(1, 3, 32, 32))


def test_mirrored_step_contrasts_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch, kept = small("fastcut"), images(), {}
    assert isinstance(system, CUT)
    monkeypatch.setattr(torch, "rand", lambda *size: torch.tensor(0.0))
    monkeypatch.setattr(system.generator, "finish", lambda feature, index: batch.a.flip(3))

    system.translate(batch, kept)
    features = system.generator.features(kept["translated"].flip(3), system.contrast.layers)

    # a "translation" that leaves the mirrored image as it is, mirrored back, has exactly the keys' features
    for layer, feature in zip(system.contrast.layers, features, strict=True):
        at = kept[f"positions {layer}"]
        torch.testing.assert_close(feature.flatten(2)[:, :, at], kept[f"key {layer}"])


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        pytest.param({"antialias_down": True}, (0, 4, 8, 12, 16), id="the-papers"),
        pytest.param({"antialias_down": False}, (0, 4, 7, 10, 14), id="strided-convolutions"),
        pytest.param({"antialias_down": True, "blocks": 3}, (0, 4, 8, 12, 14), id="short-generator"),
        pytest.param({"antialias_down": True, "blocks": 1}, (0, 4, 8, 12), id="one-block"),
    ],
)
def test_contrasted_layers_are_the_named_five(config: dict[str, int], layers: tuple[int, ...]) -> None:
    assert contrasted_layers(ResnetGeneratorConfig(**config)) == layers


@pytest.mark.parametrize(
    ("name", "network", "weight", "deviation"),
    [
        # Xavier: gain * sqrt(2 / (fan in + fan out))
        pytest.param("cut", "generator", "layers.12.conv_block.1.weight", 0.02 * (2 / (2 * 256 * 9)) ** 0.5, id="cut"),
        pytest.param("cyclegan", "generator", "layers.10.conv_block.1.weight", 0.02, id="cyclegan"),
        pytest.param("pix2pix", "generator", "down.3.weight", 0.02, id="pix2pix"),
        pytest.param("sincut", "generator", "encoder.3.conv1.weight", 1.0, id="sincut-equalised"),
    ],
)
def test_weights_are_drawn_as_the_papers_code_does(name: str, network: str, weight: str, deviation: float) -> None:
    build, recipe = table.find(name)
    system = build(replace(recipe.shape, blocks=1, discriminator_width=4))

    drawn = system.networks[network].state_dict()[weight]

    assert drawn.std().item() == pytest.approx(deviation, rel=0.02)


def test_pool_gives_new_images_until_it_is_full_and_then_mixes_in_old_ones() -> None:
    torch.manual_seed(0)
    pool = ImagePool(3)
    first = torch.arange(3.0).view(3, 1, 1, 1)

    assert torch.equal(pool.exchange(first), first)
    later = torch.cat([pool.exchange(torch.full((1, 1, 1, 1), 10.0 + step)) for step in range(40)]).flatten()

    new = later == 10.0 + torch.arange(40.0)
    assert 10 < new.sum() < 30
    assert len(pool.images) == 3


def test_cyclegans_pools_are_part_of_its_state() -> None:
    system, kept = small("cyclegan"), {}
    for phase in system.phases:
        system(images(), phase, kept)
    other = small("cyclegan", seed=1)

    other.load_state_dict(system.state_dict())

    assert torch.equal(other.pools["b"].images[0], system.pools["b"].images[0])


def test_unknown_system_names_the_closest() -> None:
    with pytest.raises(I2IError, match="did you mean 'cyclegan'"):
        table.find("cylegan")


def test_pix2pix_refuses_crops_that_cannot_be_halved() -> None:
    with pytest.raises(I2IError, match="a multiple of 32 with --crop-size"):
        small("pix2pix", size=100)


def test_sincut_refuses_crops_that_its_discriminator_cannot_take() -> None:
    with pytest.raises(I2IError, match="takes crops of 64 only"):
        small("sincut", size=128)
