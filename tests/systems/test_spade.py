"""SPADE: what its step computes, what its settings refuse, and what becomes of a run."""

from typing import Any

import numpy as np
import pytest
import torch

from i2i_rt import label_maps
from i2i_rt.errors import I2IError
from i2i_rt.models.spade import ConcatNorm, SpadeGeneratorConfig, SpatialNorm, instance_edges
from i2i_rt.stages.table import stages_of
from i2i_rt.systems import table
from i2i_rt.systems.base import LabelledBatch, Shape
from i2i_rt.systems.spade import Spade, SpadeSettings
from tests.gradients import check_phase

LABELS = 3


def small(size: int = 64, **settings: Any) -> Spade:
    given = {"labels": LABELS, "hidden": 4, "vgg_weight": 0.0, **settings}
    build, recipe = table.find("spade")
    assert recipe.settings is SpadeSettings
    torch.manual_seed(0)
    system = build(Shape(width=2, discriminator_width=2, crop_size=size, settings=SpadeSettings(**given)))
    assert isinstance(system, Spade)
    return system.train()


def batch(count: int = 2, size: int = 64) -> LabelledBatch:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, LABELS, (count, size // 8, size // 8), generator=generator)
    labels[:, 0] = 255
    labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return LabelledBatch(labels, labels // 2, torch.rand(count, 3, size, size, generator=generator) * 2 - 1)


def run_step(system: Spade, data: LabelledBatch) -> dict[str, float]:
    kept: dict[str, torch.Tensor] = {}
    found: dict[str, torch.Tensor] = {}
    for phase in system.phases:
        found |= system(data, phase, kept)
    return {name: loss.item() for name, loss in found.items()}


@pytest.mark.parametrize("settings", [{}, {"vae": True}, {"conditioning": "concat", "norm": "instance"}])
def test_each_phase_gives_gradients_to_its_own_networks(settings: dict[str, Any]) -> None:
    system, kept = small(**settings), {}

    for phase in system.phases:
        check_phase(system, batch(), phase, kept)


def test_losses_have_their_formulas() -> None:
    system, data = small(vae=True), batch()
    torch.manual_seed(5)
    found = run_step(system, data)

    # the same step with the parts called one by one: power iteration and draws go on alike
    twin = small(vae=True)
    torch.manual_seed(5)
    semantics = twin._semantics(data)
    with torch.no_grad():
        mean, log_variance = twin.encoder(data.image)
        made = twin.generator(semantics, mean + torch.randn(2, 256) * (log_variance / 2).exp())
        scales = twin.discriminator(torch.cat([torch.cat([semantics, made], 1), torch.cat([semantics, data.image], 1)]))
    matching = [sum((layer[:2] - layer[2:]).abs().mean() for layer in layers[:-1]) for layers in scales]
    assert found["G_GAN"] == pytest.approx(-sum(layers[-1][:2].mean().item() for layers in scales) / 2, rel=1e-4)
    assert found["G_features"] == pytest.approx(10 * float(sum(matching)) / 2, rel=1e-4)
    # a sum over images and dimensions
    kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
    assert found["G_KL"] == pytest.approx(0.05 * kl.item(), rel=1e-4)


def test_discriminator_judges_pictures_that_are_made_anew() -> None:
    system = small()
    norm = system.generator.blocks[0].norm_0.plain
    vector = system.generator.blocks[0].conv_0.parametrizations.weight[0]._u

    before = vector.clone()
    run_step(system, batch())

    assert norm.num_batches_tracked == 2
    assert not torch.equal(vector, before)


def test_rates_are_those_of_two_time_scales() -> None:
    _, recipe = table.find("spade")

    rates = {name: recipe.learning_rate * recipe.optimization_of(name).rate for name in ("generator", "discriminator")}

    assert rates == pytest.approx({"generator": 1e-4, "discriminator": 4e-4})
    assert recipe.optimization_of("encoder").betas == (0.0, 0.9)


def test_vgg_loss_is_there_with_random_features() -> None:
    system = small(size=32, vgg_weight=2.0, features="random")

    found = run_step(system, batch(size=32))

    assert found["G_VGG"] > 0
    assert not any("vgg" in key for key in system.state_dict())


def test_pixels_of_no_class_have_a_channel_of_their_own() -> None:
    semantics = small()._semantics(batch())

    assert semantics.shape[1] == LABELS + 1 + 1
    assert torch.equal(semantics[:, LABELS].bool(), batch().labels == 255)
    assert torch.equal(semantics[:, :-1].sum(1), torch.ones(2, 64, 64))


def test_edges_are_those_of_the_label_maps() -> None:
    instances = torch.randint(0, 3, (2, 9, 7), generator=torch.Generator().manual_seed(0)) * 70_000

    assert np.array_equal(instance_edges(instances), [label_maps.edges_of(one) for one in instances.numpy()])


def test_instance_norm_makes_nothing_of_a_uniform_map_beside_features_and_spade_does_not() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 4, 8, 8).expand(LABELS, -1, -1, -1)
    uniform = torch.eye(LABELS)[:, :, None, None].expand(-1, -1, 8, 8)
    spread = {}
    for kind in (ConcatNorm, SpatialNorm):
        norm = kind(SpadeGeneratorConfig(LABELS, unknown=False, edges=False, norm="instance"), 4)
        with torch.no_grad():
            results = norm(features, uniform)
        spread[kind] = (results - results[:1]).abs().max().item()

    assert spread[ConcatNorm] < 1e-6 and spread[SpatialNorm] > 0.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": 2}, "has the value 2; known are 0 to 1: --set labels"),
        ({"unknown": False}, "has the value 255; known are 0 to 2: --set unknown=true"),
        ({"instances": True}, "no instance maps .* --set instances=false"),
    ],
)
def test_label_maps_that_are_not_as_the_settings_say_get_a_sentence(settings: dict[str, Any], message: str) -> None:
    system, data = small(**settings), batch()._replace(instances=None)

    with pytest.raises(I2IError, match=message):
        run_step(system, data)


def test_batch_norm_of_one_position_gets_a_sentence() -> None:
    with pytest.raises(I2IError, match="give --batch 2, or --crop-size 64"):
        run_step(small(size=32), batch(count=1, size=32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": 0}, "1 to 255"),
        ({"vgg_weight": -1.0}, "negative"),
        ({"upsampling": "much"}, "normal, more, most"),
        ({"conditioning": "add"}, "spade, concat"),
        ({"norm": "layer"}, "batch or instance"),
        ({"upsampling": "most", "size": 64}, "multiples of 128"),
    ],
)
def test_wrong_settings_get_a_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(I2IError, match=message):
        small(**settings)


def test_ade20k_keeps_the_labels_of_its_files() -> None:
    system = small(labels=150, data_set="ade20k", instances=False)

    assert system.info.names[0] == "unknown" and len(system.info.names) == 151
    system._semantics(batch()._replace(labels=torch.full((2, 64, 64), 150)))


@pytest.mark.parametrize("settings", [{}, {"vae": True}, {"conditioning": "concat"}])
def test_product_makes_the_pictures_of_the_trained_networks(settings: dict[str, Any]) -> None:
    system, data = small(**settings), batch()
    run_step(system, data)
    networks = {name: network.eval() for name, network in system.networks.items()}

    product = system.products(networks)["bundle"]
    stages = stages_of("spade", product.networks)
    inputs = [data.labels.byte(), instance_edges(data.instances)]
    if "vae" in settings:
        frames = ((data.image.permute(0, 2, 3, 1) + 1) * 127.5).round().byte()
        inputs.append(stages["style_from_image"].module(frames))
    frames = stages["translate"].module(*inputs)

    with torch.no_grad():
        expected = (system.samples(data, networks)[1].permute(0, 2, 3, 1) + 1) * 127.5
    assert (frames.float() - expected).abs().max() < (2.0 if "vae" in settings else 1.01)
    assert product.labels is not None and product.labels.edges and len(product.labels.palette) == LABELS
    assert (product.style is not None) == ("vae" in settings)
    assert ("render" in stages) == (settings.get("conditioning") != "concat")
