"""LPIPS: against torchmetrics with the same network, and what a distance must hold."""

import pytest
import torch
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.metrics.lpips import Lpips, _published, lpips
from i2i_rt.pretrained import alexnet


@pytest.fixture(scope="module")
def distance() -> Lpips:
    return lpips("random")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 64, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_distance_is_that_of_torchmetrics(monkeypatch: pytest.MonkeyPatch, images: Tensor) -> None:
    import torchvision
    from torchmetrics.functional.image.lpips import _LPIPS

    network = alexnet("random")

    class Untrained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = network.layers

    monkeypatch.setattr(torchvision.models, "alexnet", lambda **_: Untrained())
    # the pooling behind the last ReLU is cut off from our layers; theirs is not read
    theirs = _LPIPS(pretrained=True, net="alex", eval_mode=True)
    ours = Lpips(network, _published())
    a, b = images[:2], images[1:]
    torch.testing.assert_close(ours(a, b), theirs(a, b).flatten(), rtol=1e-4, atol=1e-6)


def test_equal_images_have_no_distance_and_order_does_not_matter(distance: Lpips, images: Tensor) -> None:
    assert distance(images, images).abs().max() == 0
    assert torch.equal(distance(images[:1], images[1:2]), distance(images[1:2], images[:1]))
    assert distance(images[:1], images[1:2]).shape == (1,)


def test_the_metric_keeps_the_triangle_inequality_where_squares_break_it(distance: Lpips, images: Tensor) -> None:
    a, c = images[:1], images[1:2]
    features_a, features_c = distance.normalized(a), distance.normalized(c)
    middle = [(x + y) / 2 for x, y in zip(features_a, features_c, strict=True)]
    for metric, expected in ((True, 1.0), (False, 0.5)):
        whole = distance.between(features_a, features_c, metric=metric)
        way = distance.between(features_a, middle, metric=metric) + distance.between(middle, features_c, metric=metric)
        assert way / whole == pytest.approx(expected, rel=1e-4)


def test_gradients_are_finite_on_images_of_one_colour(distance: Lpips) -> None:
    image = torch.zeros(1, 3, 32, 32, requires_grad=True)
    distance(image, torch.ones(1, 3, 32, 32)).sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()


def test_images_that_are_too_small_are_refused(distance: Lpips) -> None:
    assert distance(torch.zeros(1, 3, 31, 31), torch.zeros(1, 3, 31, 31)) == 0
    with pytest.raises(I2IError, match="31 pixels a side and more; these are 30x64"):
        distance(torch.zeros(1, 3, 30, 64), torch.zeros(1, 3, 30, 64))
