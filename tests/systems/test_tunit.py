"""TUNIT's losses against their formulas, its schedule, its queue and averages, and a short training."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.spec import StyleInfo
from i2i_rt.stages.table import load_stages
from i2i_rt.systems.base import Shape, ViewsBatch
from i2i_rt.systems.tunit import (
    TUNIT,
    SmoothTUNITSettings,
    TUNITSettings,
    build_smooth_tunit,
    build_tunit,
    clustering_loss,
    contrastive_loss,
    label_loss,
    matched,
)
from i2i_rt.training.options import TrainingOptions
from i2i_rt.training.processes import Processes
from i2i_rt.training.trainer import Trainer
from tests.training.conftest import domains

__all__ = ["domains"]

SMALL = TUNITSettings(clusters=3, style_dim=6, guiding_width=4, queue=10)
SHAPE = Shape(width=4, blocks=1, discriminator_width=4, crop_size=32, domains=("dark", "light"), settings=SMALL)


def small(**settings: Any) -> TUNIT:
    torch.manual_seed(0)
    return build_tunit(replace(SHAPE, settings=replace(SMALL, **settings))).train()


def drawn(count: int = 4, seed: int = 0) -> ViewsBatch:
    generator = torch.Generator().manual_seed(seed)
    domain = torch.arange(count) % 2
    image, view = (torch.rand(count, 3, 32, 32, generator=generator) + domain[:, None, None, None] - 1 for _ in "ab")
    return ViewsBatch(image, view, domain, torch.arange(count))


def trainer(steps: int, settings: dict[str, str]) -> Trainer:
    small = {"clusters": "2", "style_dim": "6", "guiding_width": "4", "queue": "8"}
    options = TrainingOptions(
        system="tunit", data="", epochs=1, decay_epochs=0, batch=4, load_size=32, crop_size=32, learning_rate=1e-3,
        width=4, blocks=1, discriminator_width=4, antialias=False, settings=small | settings,
    )  # fmt: skip
    return Trainer(options, Processes(0, 1, torch.device("cpu")), domains=("dark", "light"), steps=steps)


def test_contrastive_loss_is_the_cross_entropy_of_the_own_key() -> None:
    query, key, queue = torch.tensor([[0.1, 0.0]]), torch.tensor([[0.2, 1.0]]), torch.tensor([[9.0, 9.0], [0.3, 0.0]])
    empty = torch.tensor([True, False])

    expected = -math.log(math.exp(0.02 / 0.07) / (math.exp(0.02 / 0.07) + math.exp(0.03 / 0.07)))
    assert contrastive_loss(query, key, queue, empty).item() == pytest.approx(expected, rel=1e-5)
    assert contrastive_loss(query, key, queue, torch.ones(2, dtype=torch.bool)).item() == 0


def test_clustering_loss_is_the_negative_mutual_information() -> None:
    sure = 50 * torch.eye(4)
    all_rows = torch.ones(4, dtype=torch.bool)
    assert clustering_loss(sure, sure, all_rows).item() == pytest.approx(-math.log(4), rel=1e-5)
    assert clustering_loss(sure, torch.zeros(4, 4), all_rows).item() == pytest.approx(0, abs=1e-5)
    # two of the four rows are left: as if there were two clusters
    assert clustering_loss(sure, sure, torch.tensor([True, True, False, False])).item() == pytest.approx(
        -math.log(2), abs=1e-5
    )


def test_label_loss_is_a_mean_over_the_labelled() -> None:
    logits, label = torch.tensor([[0.0, 1.0], [3.0, 0.0]]), torch.tensor([1, 1])
    assert label_loss(logits, label, torch.tensor([True, False])).item() == pytest.approx(math.log1p(math.exp(-1)))
    assert label_loss(logits, label, torch.tensor([False, False])).item() == 0


def test_clusters_are_matched_one_to_one_with_the_most_agreement() -> None:
    counts = torch.tensor([[5.0, 6.0], [0.0, 5.0], [1.0, 1.0]])  # the first one is nearer to 1, but 1 is the second's
    assert matched(counts).tolist() == [0, 1, -1]


def test_an_even_share_of_the_set_is_labelled() -> None:
    batch = drawn(1000)
    labelled = small(labelled=0.2).labelled(batch)
    assert [int(part.sum()) for part in labelled.split(100)] == pytest.approx([20] * 10, abs=1)
    assert not small().labelled(batch).any() and small(labelled=1.0).labelled(batch).all()


def test_guiding_network_learns_alone_before_the_others_join() -> None:
    system = small(separated=0.25)
    system.steps = 8
    for step, joint in ((0, False), (1, False), (2, True), (7, True)):
        system.step = step
        assert bool(system.trained_in("discriminator")) == bool(system.trained_in("generator")) == joint
        assert system.trained_in("guiding") == ("guiding_network",)
    system.step = 0
    assert small(labelled=1.0).trained_in("generator") == ("generator", "guiding_network")


def test_own_losses_of_the_guiding_network_shrink_when_the_others_join() -> None:
    system = small(separated=0.5)
    system.queued.fill_(4)
    system.queue.normal_()
    alone = system.losses(drawn(), "guiding", {})
    system.step = 1
    for name, loss in system.losses(drawn(), "guiding", {}).items():
        assert loss.item() == pytest.approx(0.1 * alone[name].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("labelled", "names"),
    [(0.0, {"C_style", "C_cluster"}), (0.5, {"C_style", "C_cluster", "C_label"}), (1.0, {"C_style"})],
)
def test_labels_take_the_place_of_clustering(labelled: float, names: set[str]) -> None:
    assert small(labelled=labelled).losses(drawn(), "guiding", {}).keys() == names


def test_translations_are_judged_as_images_of_the_references_domain() -> None:
    system, batch, kept = small(labelled=1.0), drawn(), dict[str, torch.Tensor]()
    system.translate(batch, torch.tensor([1, 2, 3, 0]), kept)
    assert kept["reference domain"].tolist() == [1, 0, 1, 0] and kept["domain"].tolist() == [0, 1, 0, 1]
    assert torch.equal(kept["reference style"][0], kept["style"][1])
    # only scores of these clusters count
    with torch.no_grad():
        system.discriminator.main[-1].weight.zero_()
        system.discriminator.main[-1].bias.copy_(torch.tensor([0.5, -0.25, 100]))
    losses = system.discriminator_losses(batch, kept)
    assert losses["D_real"].item() == pytest.approx((0.5 + 1.25) / 2)
    assert losses["D_fake"].item() == pytest.approx((1.5 + 0.75) / 2)


def test_triplets_are_of_two_images_of_a_domain_and_one_of_another() -> None:
    kept = {
        "style": torch.arange(5.0)[:, None],
        "domain": torch.tensor([0, 1, 0, 1, 2]),
        "order": torch.tensor([4, 3, 0, 2, 1]),
        "reference style": torch.tensor([[4.0], [3.0], [0.0], [2.0], [1.0]]),
        "reference domain": torch.tensor([2, 1, 0, 0, 1]),
    }
    triplet = small().triplet(kept)
    assert triplet.anchor[:, 0].tolist() == [4, 3, 0, 2, 1]
    assert triplet.positive[:, 0].tolist() == [4, 1, 2, 0, 3]  # the first one is alone in its domain
    assert triplet.negative[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert triplet.apart.tolist() == [False, False, False, True, True]


def test_smoothing_adds_its_losses_to_the_generators() -> None:
    settings = SmoothTUNITSettings(
        clusters=3, style_dim=6, guiding_width=4, queue=10, features="random", regularization_start=0.0
    )
    system = build_smooth_tunit(replace(SHAPE, settings=settings)).train()
    system.step, system.steps = 1, 2
    batch, kept = drawn(), dict[str, torch.Tensor]()
    system.translate(batch, torch.tensor([1, 2, 3, 0]), kept)
    losses = system.generator_losses(batch, kept)

    styles = kept["style"].square().mean() + kept["reference style"].square().mean()
    assert losses["G_regularization"].item() == pytest.approx(0.5 * styles.item(), rel=1e-5)
    assert losses["G_content"] > 0 and "G_triplet" in losses
    losses["G_content"].backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in system.generator.parameters())


def test_queue_keeps_the_newest_keys_at_its_end() -> None:
    system = small()
    first, second, many = torch.full((4, 6), 1.0), torch.full((8, 6), 2.0), torch.arange(12.0)[:, None].expand(12, 6)
    for keys, expected, count in (
        (first, [0] * 6 + [1] * 4, 4),
        (second, [1] * 2 + [2] * 8, 10),
        (many, list(range(2, 12)), 10),
    ):
        with torch.no_grad():
            system.stepped({"key": keys})
        assert system.queue[:, 0].tolist() == expected and int(system.queued) == count


def test_average_moves_a_thousandth_and_keeps_its_own_statistics() -> None:
    system = small()
    with torch.no_grad():
        for tensor in (*system.guiding_network.parameters(), *system.guiding_network.buffers()):
            tensor.copy_(tensor + 1)
        before = [tensor.clone() for tensor in system.guiding_average.state_dict().values()]
        weights = dict(system.guiding_average.named_parameters())
        system.stepped({"key": torch.zeros(2, 6)})
    for old, (name, average) in zip(before, system.guiding_average.state_dict().items(), strict=True):
        assert torch.allclose(average, old + 0.001 if name in weights else old, atol=1e-6)


def test_a_step_moves_every_network_that_it_should() -> None:
    training = trainer(steps=2, settings={"separated": "0.5"})
    networks = training.system.networks
    for expected in (
        {"guiding_network", "guiding_average"},
        {"guiding_network", "guiding_average", "generator", "discriminator"},
    ):
        before = {name: [w.detach().clone() for w in network.parameters()] for name, network in networks.items()}
        losses = training.train(drawn(), 0)
        moved = {
            name
            for name, network in networks.items()
            if not all(torch.equal(old, new) for old, new in zip(before[name], network.parameters(), strict=True))
        }
        assert moved == expected and all(loss.isfinite() for loss in losses.values())


def test_clusters_of_bright_and_dark_images_are_found() -> None:
    training = trainer(steps=160, settings={"separated": "1.0"})
    for step in range(160):
        training.train(drawn(16, seed=step), 0)
    scores = training.system.scores(drawn(16, seed=99), training.networks())
    assert scores["cluster_accuracy"].mean() >= 0.9


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TUNITSettings(clusters=0), "clusters is 0"),
        (lambda: TUNITSettings(labelled=1.5), "labelled is 1.5"),
        (lambda: TUNITSettings(style=-1), "style is -1"),
        (lambda: build_tunit(replace(SHAPE, crop_size=48)), "--crop-size is 48"),
        (lambda: build_tunit(replace(SHAPE, domains=(), settings=replace(SMALL, labelled=0.5))), "in 0 folders"),
        (lambda: build_tunit(replace(SHAPE, settings=replace(SMALL, labelled=0.5, clusters=1))), "in 2 folders"),
    ],
)
def test_what_cannot_be_trained_is_refused(make: Any, words: str) -> None:
    with pytest.raises(I2IError, match=words):
        make()


@pytest.mark.parametrize("system", ["tunit", "tunit-smoothing"])
def test_run_leaves_a_bundle_like_an_imported_one(system: str, domains: Path, tmp_path: Path) -> None:
    settings = {"clusters": 2, "style_dim": 6, "guiding_width": 4, "queue": 8, "separated": 0.00025}
    settings |= {"features": "random"} if system != "tunit" else {}
    words = ["--crop-size", "32", "--batch", "2", "--width", "4", "--blocks", "1", "--discriminator-width", "4"]
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]

    run = tmp_path / "run"
    assert main(["train", system, "--data", str(domains), "-o", str(run), *words, "--epochs", "1", "--steps", "6"]) == 0

    assert "cluster_accuracy" in (run / "scores.jsonl").read_text()
    bundle = Bundle.open(run / "bundle")
    assert bundle.system == "tunit" and list(bundle.stages) == ["translate", "style_from_image"]
    assert bundle.style == StyleInfo("fitted", (), "linear")
    stages = load_stages(bundle)
    frames = torch.randint(256, (2, 32, 32, 3), dtype=torch.uint8)
    style = stages["style_from_image"].module(frames)
    assert stages["translate"].module(frames, style).shape == frames.shape
