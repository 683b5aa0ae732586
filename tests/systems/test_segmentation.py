"""The task networks: their loss, what is reported of them, and what a bundle gets."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.models.segmentation import DilatedResnet, FCN8s, normalised
from i2i_rt.systems.base import LabelledBatch, Shape
from i2i_rt.systems.segmentation import (
    RECIPE,
    Segmentation,
    SegmentationSettings,
    build_segmentation,
    painted,
    pixel_loss,
)


def small(network: str = "drn26", classes: int = 3) -> Segmentation:
    torch.manual_seed(0)
    return build_segmentation(Shape(width=8, settings=SegmentationSettings(network=network, classes=classes)))


def batch(count: int = 2, size: int = 32, classes: int = 3) -> LabelledBatch:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(count, 3, size, size, generator=generator) * 2 - 1
    labels = torch.randint(classes, (count, size, size), generator=generator)
    labels[:, :4] = 255
    return LabelledBatch(labels, None, image)


@pytest.mark.parametrize("network", ["drn26", "fcn8s"])
def test_a_network_learns_its_batch(network: str) -> None:
    system, one = small(network), batch()
    one = one._replace(labels=(one.image[:, 0] > 0).long())
    optimizer = torch.optim.Adam(system.parameters(), 1e-2)
    first = last = float("nan")
    for step in range(6):
        optimizer.zero_grad()
        total = system(one, "segmenter", {})["total"]
        total.backward()
        optimizer.step()
        first, last = (total.item(), last) if step == 0 else (first, total.item())
    assert last < 0.8 * first
    assert all(weight.grad is not None for weight in system.segmenter.parameters())


def test_loss_is_the_mean_over_known_pixels() -> None:
    scores, one = torch.randn(2, 3, 32, 32), batch()
    known = one.labels != 255
    expected = functional.cross_entropy(scores.permute(0, 2, 3, 1)[known], one.labels[known])
    assert pixel_loss(scores, one.labels).item() == pytest.approx(expected.item())
    assert pixel_loss(scores, torch.full_like(one.labels, 255)).item() == 0


def test_unknown_classes_are_refused() -> None:
    labels = torch.full((1, 4, 4), 7)
    with pytest.raises(I2IError, match="the value 7; with 3 classes they are 0 to 2, and 255 is unknown"):
        pixel_loss(torch.zeros(1, 3, 4, 4), labels)


class Oracle(torch.nn.Module):
    """Says what it was told, whatever the image."""

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, image: Tensor) -> Tensor:
        return functional.one_hot(self.labels, 3).permute(0, 3, 1, 2).float()


def test_figures_are_those_of_all_pixels_together() -> None:
    truth = torch.tensor([[[0, 0, 1, 255]], [[1, 1, 1, 2]]])
    found = torch.tensor([[[0, 1, 1, 2]], [[1, 1, 1, 1]]])
    system, images = small(), torch.zeros(2, 3, 1, 4)

    counts = system.scores(LabelledBatch(truth, None, images), {"segmenter": Oracle(found)})["confusion"]
    figures = system.figures({"confusion": counts.double().mean(0)})

    assert counts.shape == (2, 3, 3) and counts.sum() == 7
    assert figures["mIoU"] == pytest.approx((1 / 2 + 4 / 6 + 0) / 3)
    assert figures["fwIoU"] == pytest.approx((2 * 1 / 2 + 4 * 4 / 6 + 0) / 7)
    assert figures["pixel accuracy"] == pytest.approx(5 / 7)


def test_samples_show_truth_and_prediction_in_colours() -> None:
    one, system = batch(), small().eval()
    with torch.no_grad():
        image, truth, found = system.samples(one, system.networks)
    assert image.shape == truth.shape == found.shape
    assert (truth[:, :, :4] == -1).all(), "what is unknown is black"
    assert len(painted(torch.arange(3).view(1, 1, 3), 3).unique(dim=3)[0, 0, 0]) == 3


def test_product_is_a_bundle_of_a_task_network() -> None:
    system = small()
    product = system.products(system.networks)["bundle"]
    assert product.system == "cycada" and list(product.networks) == ["segmenter"]


def test_networks_have_the_papers_size_by_default() -> None:
    with torch.device("meta"):
        drn, fcn = (SegmentationSettings(network=name).segmenter(64) for name in ("drn26", "fcn8s"))
    assert isinstance(drn, DilatedResnet) and drn.config.widths == (16, 32, 64, 128, 256, 512, 512, 512)
    assert isinstance(fcn, FCN8s) and fcn.config.features == 4096
    assert RECIPE.optimization_of("segmenter").method == "sgd"


def test_fcn8s_drops_channels_in_training_only() -> None:
    network = small("fcn8s").segmenter
    image = normalised(batch().image)
    with torch.no_grad():
        assert not torch.equal(network.train()(image), network(image))
        assert torch.equal(network.eval()(image), network(image))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"network": "drn62"}, "--set network=drn62: it must be one of drn26, fcn8s", id="network"),
        pytest.param({"classes": "0"}, "--set classes is 0; it must be between 1 and 255", id="classes"),
    ],
)
def test_settings_are_checked(settings: dict[str, str], message: str) -> None:
    with pytest.raises(I2IError, match=message):
        SegmentationSettings.parse("segmentation", settings)
