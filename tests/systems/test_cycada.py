"""CyCADA's pixel adaptation: CycleGAN's losses, and the semantic one once its judge can be trusted."""

import pytest
import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.models.segmentation import normalised
from i2i_rt.systems import cycada, cyclegan
from i2i_rt.systems.base import AdaptationBatch, Batch, Shape
from i2i_rt.systems.cycada import Cycada, CycadaSettings, SemanticCycada, build_cycada


def small(**settings: object) -> Cycada:
    torch.manual_seed(0)
    return build_cycada(
        Shape(width=4, blocks=1, discriminator_width=4, settings=CycadaSettings(classes=3, **settings))  # type: ignore[arg-type]
    )


def batch(count: int = 2) -> AdaptationBatch:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, count, 3, 2, 2, generator=generator) * 2 - 1
    source, target = (nn.functional.interpolate(images, (32, 32)) for images in coarse)
    return AdaptationBatch(source, (source[:, 0] > 0).long(), target)


def step(system: Cycada, one: AdaptationBatch) -> dict[str, float]:
    kept: dict[str, Tensor] = {}
    losses = {}
    for phase in system.phases:
        if system.trained_in(phase):
            losses |= system(one, phase, kept)
    return {name: loss.item() for name, loss in losses.items() if name != "total"}


def test_losses_are_cyclegans_where_there_is_no_semantic_one() -> None:
    system, one = small(identity=5), batch()
    torch.manual_seed(0)
    plain = cyclegan.build_cyclegan(Shape(width=4, blocks=1, discriminator_width=4))
    plain.load_state_dict(system.state_dict())
    kept: dict[str, Tensor] = {}
    expected = {
        name: loss.item()
        for phase in plain.phases
        for name, loss in plain(Batch(one.source, one.target), phase, kept).items()
        if name != "total"
    }
    assert step(system, one) == pytest.approx(expected)


def test_without_identity_its_passes_are_not_computed() -> None:
    assert not any(name.startswith("identity") for name in step(small(identity=0), batch()))


@pytest.mark.parametrize("learn", [True, False])
def test_each_phase_gives_gradients_to_its_own_networks(learn: bool) -> None:
    system, one, kept = small(semantic=1, learn=learn), batch(), {}
    trust(system, one)
    for phase in system.phases:
        if not system.trained_in(phase):
            assert phase == "segmenter" and not learn
            continue
        system.zero_grad()
        system(one, phase, kept)["total"].backward()
        touched = {
            name for name, network in system.networks.items() if any(w.grad is not None for w in network.parameters())
        }
        assert touched == set(system.trained_in(phase))
    assert system.segmenter.training


def trust(system: Cycada, one: AdaptationBatch) -> None:
    """Lets the task network learn the batch until its loss is small, in both modes of batch norm."""
    assert isinstance(system, SemanticCycada)
    optimizer = torch.optim.Adam(system.segmenter.parameters(), 1e-2)
    learn, system.learn = system.learn, True
    for module in system.segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    for _ in range(8):
        optimizer.zero_grad()
        system(one, "segmenter", {})["total"].backward()
        optimizer.step()
    system.learn = learn


def test_semantic_loss_waits_for_a_task_network_that_knows_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    system, one = small(semantic=1), batch()
    monkeypatch.setattr(cycada, "TRUSTED", 0.7)
    fresh = step(system, one)
    assert fresh["task"] > 0.7 and fresh["semantic_a"] == fresh["semantic_b"] == 0
    trust(system, one)
    taught = step(system, one)
    assert taught["task"] <= 0.7 and taught["semantic_a"] > 0 and taught["semantic_b"] > 0


def test_semantic_loss_is_the_cross_entropy_with_the_originals_labels_and_leaves_no_trace() -> None:
    system, one = small(semantic=2, learn=False), batch()
    assert isinstance(system, SemanticCycada)
    trust(system, one)
    before = {key: value.clone() for key, value in system.segmenter.state_dict().items()}

    found = step(system, one)

    for key, value in system.segmenter.state_dict().items():
        assert torch.equal(value, before[key]), key
    judge = system.segmenter.eval()
    with torch.no_grad():
        labels = judge(normalised(one.source)).argmax(1)
        expected = nn.functional.cross_entropy(judge(normalised(system.generator(one.source))), labels)
    assert found["semantic_b"] == pytest.approx(2 * expected.item(), rel=1e-5)
    assert "task" not in found


def test_products_are_both_directions() -> None:
    system = small(semantic=1)
    assert {name: list(product.networks) for name, product in system.products(system.networks).items()} == {
        "bundle": ["generator"],
        "bundle-back": ["generator"],
    }
    assert [image.shape for image in system.samples(batch(), system.networks)] == 4 * [(2, 3, 32, 32)]


def test_negative_weights_are_refused() -> None:
    with pytest.raises(I2IError, match="semantic is -1; it must not be negative"):
        CycadaSettings(semantic=-1)


def test_network_that_does_not_learn_comes_from_a_run() -> None:
    assert small(semantic=1, learn=False).given() == ("segmenter",)
    assert small(semantic=1).given() == ()
