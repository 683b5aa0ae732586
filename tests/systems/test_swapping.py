"""The Swapping Autoencoder: whose turn a step is, what each loss is of, R1, sizes, and a run from data to picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.spec import StyleInfo
from i2i_rt.systems import swapping
from i2i_rt.systems.base import Pictures, Shape
from i2i_rt.systems.swapping import (
    PENALTY_EVERY,
    SwappingAutoencoder,
    SwappingSettings,
    build_swapping,
    discriminator_config,
    neighbours,
)
from i2i_rt.systems.table import find
from tests.deployment import deployed
from tests.gradients import check_phase
from tests.training.conftest import draw_pictures

SMALL = SwappingSettings(
    reductions=1, texture_channels=8, max_width=8, patch_size=8, patch_width=4, patch_hidden=8, crops=2
)
SHAPE = Shape(width=4, discriminator_width=4, crop_size=32, settings=SMALL)


def small(**settings: Any) -> SwappingAutoencoder:
    torch.manual_seed(0)
    return build_swapping(replace(SHAPE, settings=replace(SMALL, **settings)))


def drawn(count: int = 4) -> Pictures:
    generator = torch.Generator().manual_seed(0)
    return Pictures(torch.rand(count, 3, 32, 32, generator=generator) * 2 - 1, None)


def test_discriminators_and_autoencoder_take_turns_and_r1_comes_rarely() -> None:
    system, seen = small(), dict[str, list[int]]()

    for system.step in range(4 * PENALTY_EVERY):
        for phase in system.phases:
            if system.trained_in(phase):
                seen.setdefault(phase, []).append(system.step)

    assert seen["discriminator"] == list(range(0, 4 * PENALTY_EVERY, 2))
    assert seen["generator"] == list(range(1, 4 * PENALTY_EVERY, 2))
    assert seen["penalty"] == [2 * PENALTY_EVERY - 2, 4 * PENALTY_EVERY - 2]


@pytest.mark.parametrize(
    ("step", "phase"), [(0, "discriminator"), (2 * PENALTY_EVERY - 2, "penalty"), (1, "generator")]
)
def test_each_phase_gives_gradients_to_its_own_networks(step: int, phase: str) -> None:
    system = small()
    system.step = step

    check_phase(system, drawn(), phase, {})


def test_losses_are_of_reconstructions_of_half_and_swaps_of_all() -> None:
    system, image = small(), drawn().image
    with torch.no_grad():
        torch.manual_seed(1)
        reconstructed, swapped = system.generated(image)
        torch.manual_seed(1)
        losses = system.losses_each(image, "generator")

    assert len(reconstructed) == 2 and len(swapped) == 4
    torch.testing.assert_close(losses["G_L1"], (reconstructed - image[::2]).abs().mean((1, 2, 3)))
    for name, images, weight in (("G_rec", reconstructed, 0.5), ("G_swap", swapped, 1.0)):
        expected = weight * -functional.logsigmoid(system.discriminator(images))
        torch.testing.assert_close(losses[name], expected)
    assert losses["G_patch"].shape == (4 * SMALL.crops, 1)


def test_swap_has_the_texture_of_its_own_picture_and_the_structure_of_the_next() -> None:
    system, image = small(), drawn().image
    system.eval()

    _, swapped = system.generated(image)

    structure, texture = system.encoder(image)
    for row, other in ((0, 1), (1, 0), (2, 3), (3, 2)):
        alone = system.generator(structure[other : other + 1], texture[row : row + 1])
        torch.testing.assert_close(swapped[row : row + 1], alone, rtol=1e-4, atol=1e-5)
    assert neighbours(torch.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]


def test_no_gradient_of_the_patches_reaches_the_pictures_that_they_are_compared_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system, image, graphs = small(), drawn().image.requires_grad_(), []
    compare = system.compare
    monkeypatch.setattr(
        system, "compare", lambda reference, target: graphs.append((reference, target)) or compare(reference, target)
    )

    system.losses_each(image, "generator")

    ((reference, target),) = graphs
    assert not reference.requires_grad and target.requires_grad


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_penalty_is_the_squared_gradient_in_float32(precision: str) -> None:
    system, image = small(crops=1), drawn().image
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        torch.manual_seed(1)
        found = system.losses_each(image, "penalty")

    torch.manual_seed(1)
    reference, target = (system.cut(image).requires_grad_() for _ in range(2))
    scores = system.patch_discriminator(*(system.patch_discriminator.features(cut) for cut in (reference, target)))
    of_crops = torch.autograd.grad(scores.sum(), (reference, target))
    image.requires_grad_()
    (of_images,) = torch.autograd.grad(system.discriminator(image).sum(), image)
    assert {loss.dtype for loss in found.values()} == {torch.float32}
    # 16 times lambda / 2, with lambdas of 10 and 1, of which the crops' is halved again
    torch.testing.assert_close(found["D_R1"], 80 * of_images.square().sum((1, 2, 3)))
    squares = sum((gradient.square().sum((1, 2, 3, 4)) for gradient in of_crops), torch.zeros(()))
    torch.testing.assert_close(found["D_patch_R1"], 4 * squares)


def test_crops_under_mixed_precision_are_cut_where_they_are_in_float32() -> None:
    system, image = small(), drawn().image
    places = system.places(image)

    found, expected = (swapping.crops(images, 16, *places) for images in (image.bfloat16(), image.bfloat16().float()))

    assert torch.equal(found, expected)


def test_networks_are_the_official_ones() -> None:
    _, recipe = find("swapping")
    with torch.device("meta"):
        system = build_swapping(replace(recipe.shape, crop_size=256, settings=SwappingSettings()))

    assert system.encoder.config == swapping.SwappingEncoderConfig()
    assert system.generator.config == swapping.SwappingGeneratorConfig()
    assert system.discriminator.config == swapping.SwappingDiscriminatorConfig()
    assert system.patch_discriminator.config == swapping.SwappingPatchDiscriminatorConfig()
    assert discriminator_config(768, 32, 512).side == 3


def test_discriminators_learn_as_if_r1_were_part_of_every_step() -> None:
    _, recipe = find("swapping")
    for name in ("discriminator", "patch_discriminator"):
        found = recipe.optimization_of(name)
        assert (found.rate, found.betas) == (16 / 17, (0.0, 0.99 ** (16 / 17)))
    assert recipe.optimization_of("encoder").betas == (0.0, 0.99)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        pytest.param({"crop_size": 32, "settings": SwappingSettings()}, "multiple of 16, at least 112", id="small"),
        pytest.param({"settings": SwappingSettings(reductions=40)}, f"multiple of {2**40}, at least", id="huge"),
        pytest.param({"crop_size": 80}, "--crop-size is 80; it must be 3 or 4 times a power of two", id="odd"),
    ],
)
def test_crops_that_do_not_fit_are_refused(shape: dict[str, Any], words: str) -> None:
    with pytest.raises(I2IError, match=words):
        build_swapping(replace(SHAPE, **shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_width": 1},
        {"patch_size": 24},
        {"patch_size": 4},
        {"smallest": 0.5},
        {"largest": 2.0},
        {"crops": 0},
        {"gan": -1.0},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(I2IError, match=f"--set .*{next(iter(wrong))}"):
        SwappingSettings(**wrong)


def test_scores_are_of_reconstruction_texture_and_structure() -> None:
    system, (image, _) = small().eval(), drawn()
    batch = Pictures(image, image.flip(0))

    with torch.no_grad():
        scores = system.scores(batch, system.networks)
        columns = system.samples(batch, system.networks)

    assert {score.shape for score in scores.values()} == {(4,)}
    error = (columns[1].clamp(-1, 1) - image).square().mean((1, 2, 3))
    torch.testing.assert_close(scores["psnr"], 10 * (4 / error).log10())
    for name in ("texture", "structure"):
        assert (scores[name].abs() <= 1 + 1e-5).all()


WORDS = ["--crop-size", "32", "--load-size", "40", "--width", "4", "--discriminator-width", "4"]
WORDS += [
    word
    for name in ("reductions", "texture_channels", "max_width", "patch_size", "patch_width", "patch_hidden", "crops")
    for word in ("--set", f"{name}={getattr(SMALL, name)}")
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name, count in (("train", 5), ("val", 2)):
        draw_pictures(tmp_path / "pictures" / name, count)
    return tmp_path / "pictures"


def weights_in(run: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(run / "state.pt", weights_only=True)["system"]
    return found


def test_run_resumes_exports_and_translates(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train = ["train", "swapping", "--data", str(pictures), "-o"]
    words = [*WORDS, "--batch", "2"]
    assert main([*train, str(whole), *words, "--steps", "34"]) == 0  # with a penalty, at the 31st step
    assert main([*train, str(halves), *words, "--steps", "20"]) == 0
    assert main(["train", "swapping", "-o", str(halves), "--resume", "--steps", "34"]) == 0

    expected, found = weights_in(whole), weights_in(halves)
    assert expected.keys() == found.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    assert "psnr" in (whole / "scores.jsonl").read_text()
    bundle = Bundle.open(whole / "bundle")
    assert bundle.system == "swapping" and set(bundle.networks) == {"encoder", "generator"}
    assert list(bundle.stages) == ["translate", "style_from_image", "encode", "decode"]
    assert bundle.style == StyleInfo("fitted", (), "linear")
    picture, reference = (next((pictures / name).iterdir()) for name in ("val", "train"))
    assert deployed(whole / "bundle", picture, monkeypatch, reference=reference).shape == (40, 48, 3)


def test_batch_without_a_neighbour_for_everybody_is_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "swapping", "--data", str(pictures), "-o", str(tmp_path / "run"), *WORDS, "--batch", "3"]

    assert main(words) == 2

    assert "--batch is 3; give a multiple of 2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_mixed_precision_trains_and_keeps_codes_in_float32() -> None:
    system, batch = small(), drawn()
    for system.step in (0, 2 * PENALTY_EVERY - 2, 1):
        for phase in filter(system.trained_in, system.phases):
            with torch.autocast("cpu", torch.bfloat16):
                losses = system(batch, phase, {})
                structure, texture = system.encoder(batch.image)
            losses["total"].backward()
            assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    assert structure.dtype == texture.dtype == torch.float32
    torch.testing.assert_close(texture.square().sum(1), torch.ones(4))
    grads = [weight.grad for network in (system.encoder, system.generator) for weight in network.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)
