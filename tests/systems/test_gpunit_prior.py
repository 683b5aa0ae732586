"""GP-UNIT's prior distillation: what each loss is of, settings, and the translation that begins with its content."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import LinkedBatch, Shape
from i2i_rt.systems.gpunit_prior import GPUNITPrior, GPUNITPriorSettings, build_gpunit_prior
from tests.deployment import deployed
from tests.training.conftest import draw_linked, draw_pictures

SMALL = GPUNITPriorSettings(reductions=3, embedding=4, vgg=0.0, features="random")
SHAPE = Shape(width=4, crop_size=32, domains=("cat", "dog", "owl"), settings=SMALL)


def small(**settings: Any) -> GPUNITPrior:
    torch.manual_seed(0)
    return build_gpunit_prior(replace(SHAPE, settings=replace(SMALL, **settings)))


def drawn() -> LinkedBatch:
    generator = torch.Generator().manual_seed(0)
    image, shape, other, other_shape = (torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(4))
    return LinkedBatch(image, shape, torch.tensor([0, 1]), other, other_shape, torch.tensor([2, 0]))


def test_losses_are_those_of_both_pictures_and_of_what_links_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i_rt.systems.gpunit_prior.NOISE", 0.0)
    system, batch = small().eval(), drawn()
    contents = [system.content_encoder(image)[0] for image in (batch.image, batch.other)]
    pairs = [(batch.image, batch.shape, batch.domain), (batch.other, batch.other_shape, batch.other_domain)]
    expected: dict[str, Any] = {"shape": 0, "swapped_shape": 0, "length": 0, "class": 0}
    for (_, shape, domain), own, other in zip(pairs, contents, contents[::-1], strict=True):
        wanted = functional.interpolate(shape, (8, 8), mode="bilinear")
        embedded = system.embedding(domain)
        expected["shape"] += 5 * (system.decoder.shaped(own, embedded)[1] - wanted).abs().mean() / 2
        expected["swapped_shape"] += 5 * (system.decoder.shaped(other, embedded)[1] - wanted).abs().mean() / 2
        expected["length"] += 0.001 * own.square().sum((1, 2, 3)).sqrt().mean() / 2
        expected["class"] += functional.cross_entropy(system.classifier(own), domain) / 2
    expected["content"] = (contents[0] - contents[1]).abs().mean()

    found = system.losses(batch, "distillation", {})

    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss, msg=name)


def test_style_is_read_from_mirrored_pictures_at_some_steps() -> None:
    system, batch = small(), drawn()
    turned = set()
    for seed in range(8):
        seen: list[torch.Tensor] = []
        handle = system.level_styles.register_forward_pre_hook(lambda module, given, seen=seen: seen.append(given[0]))
        torch.manual_seed(seed)
        system.losses(batch, "distillation", {})
        handle.remove()
        images = torch.cat([batch.image, batch.other])
        turned.add(torch.equal(seen[0], images.flip(3)))
        assert torch.equal(seen[0], images) or torch.equal(seen[0], images.flip(3))
    assert turned == {True, False}


def test_classifier_learns_the_class_and_the_encoder_its_opposite() -> None:
    system, batch = small(shape=0.0, content=0.0, length=0.0).eval(), drawn()
    images, domains = torch.cat([batch.image, batch.other]), torch.cat([batch.domain, batch.other_domain])
    weight = system.content_encoder.layers[-1][3].parametrizations.weight.original
    own = functional.cross_entropy(system.classifier(system.content_encoder(images)[0]), domains)
    plain = torch.autograd.grad(own, [system.classifier.linear.weight, weight])

    loss = system.losses(batch, "distillation", {})["class"]
    found = torch.autograd.grad(loss, [system.classifier.linear.weight, weight])

    torch.testing.assert_close(found[0], plain[0])
    torch.testing.assert_close(found[1], -plain[1])
    assert plain[1].abs().sum() > 0


def test_distance_of_contents_moves_the_first_one_only() -> None:
    system, batch = small().eval(), drawn()
    images = [image.clone().requires_grad_() for image in (batch.image, batch.other)]
    loss = system.losses(batch._replace(image=images[0], other=images[1]), "distillation", {})["content"]
    first, second = torch.autograd.grad(loss, images)
    assert first.abs().sum() > 0 and not second.any()


def test_every_convolution_is_divided_by_its_norm() -> None:
    layers = [module for module in small().modules() if isinstance(module, torch.nn.Conv2d)]
    assert layers and all(is_parametrized(layer, "weight") for layer in layers)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        pytest.param({"crop_size": 36}, "--crop-size is 36; it must be a multiple of 8", id="odd"),
        pytest.param(
            {"crop_size": 16}, "the content has 2 pixels a side, and a prior distillation needs 4", id="small"
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(shape: dict[str, Any], words: str) -> None:
    with pytest.raises(I2IError, match=words):
        build_gpunit_prior(replace(SHAPE, **shape))


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(I2IError, match="--set shape is -1; it must not be negative"):
        GPUNITPriorSettings(shape=-1.0)
    with pytest.raises(I2IError, match="reductions is 2; GP-UNIT halves the size 3 times or more"):
        GPUNITPriorSettings(reductions=2)


def test_translation_begins_with_the_content_that_was_distilled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_linked(tmp_path / "linked", "train", 4)
    draw_linked(tmp_path / "linked", "val", 2)
    for number, name in enumerate(("trainA", "trainB", "valA", "valB")):
        draw_pictures(tmp_path / "photos" / name, 3, seed=number)
    common = ["--batch", "2", "--crop-size", "32", "--load-size", "36", "--width", "4"]
    common += ["--set", "reductions=3", "--set", "vgg=0"]
    prior = ["train", "gpunit-prior", "--data", str(tmp_path / "linked"), *common, "--set", "embedding=4"]
    halves = ["train", "gpunit-prior", "-o", str(tmp_path / "halves")]
    assert main([*prior, "-o", str(tmp_path / "prior"), "--steps", "20"]) == 0
    assert main([*prior, "-o", str(tmp_path / "halves"), "--steps", "11"]) == 0
    assert main([*halves, "--resume", "--steps", "20"]) == 0
    whole, resumed = (
        torch.load(tmp_path / run / "state.pt", weights_only=True)["system"] for run in ("prior", "halves")
    )
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert "swapped" in (tmp_path / "prior" / "scores.jsonl").read_text()

    run = tmp_path / "run"
    words = ["train", "gpunit", "--data", str(tmp_path / "photos"), *common, "--discriminator-width", "4"]
    for setting in ("style_dim=8", "bottleneck=4", "max_width=8", "style_layer=3"):
        words += ["--set", setting]
    assert main([*words, "-o", str(run), "--from", str(tmp_path / "prior"), "--steps", "3"]) == 0

    trained = torch.load(run / "state.pt", weights_only=True)["system"]
    kept = {name: tensor for name, tensor in trained.items() if name.startswith("content_encoder.")}
    assert kept and all(torch.equal(tensor, whole[name]) for name, tensor in kept.items())
    bundle = Bundle.open(run / "bundle")
    assert bundle.networks["content_encoder"].config["reductions"] == 3
    picture, reference = (next((tmp_path / "photos" / name).iterdir()) for name in ("valA", "valB"))

    words = ["train", "gpunit-sampler", "--data", str(tmp_path / "photos"), *common[:-2], "--set", "noise_dim=4"]
    for setting in ("style_dim=8", "bottleneck=4", "hidden=4"):
        words += ["--set", setting]
    assert main([*words, "-o", str(tmp_path / "sampler"), "--from", str(run), "--steps", "20"]) == 0
    sampling = Bundle.open(tmp_path / "sampler" / "bundle")
    assert sampling.style == StyleInfo("network") and "style_from_noise" in sampling.stages
    # with the averages of the translation's weights
    averages = torch.load(run / "state.pt", weights_only=True)["averages"]
    weights = sampling.weights("generator.")
    assert weights and all(np.array_equal(found, averages[name]) for name, found in weights.items())
    assert "closest_sample" in (tmp_path / "sampler" / "scores.jsonl").read_text()
    assert deployed(run / "bundle", picture, monkeypatch, reference=reference).shape == (40, 48, 3)
