"""Losses of VGG's activations, against the same formulas written out."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import Normalize

from i2i_rt.pretrained import FrozenNetwork, vgg16, vgg16_without_last_reduction, vgg19
from i2i_rt.systems.perceptual import (
    content_distance,
    directions,
    evenly_weighted_vgg_loss,
    gram,
    normalised_vgg_loss,
    squared_vgg_loss,
    style_distance,
    style_features,
    vgg_loss,
)


@pytest.fixture(scope="module")
def caffe() -> FrozenNetwork:
    return vgg16("random")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_spades_loss_is_the_weighted_sum_of_absolute_differences(images: Tensor) -> None:
    vgg = vgg19("random")
    a, b = images[:1], images[1:]
    expected = sum((x - y).abs().mean() * 2.0**power for x, y, power in zip(vgg(a), vgg(b), range(-5, 0), strict=True))
    last = (vgg(a)[4] - vgg(b)[4]).abs().mean()
    assert vgg_loss(vgg, a, b) == pytest.approx(float(expected + last / 2), rel=1e-5)
    assert vgg_loss(vgg, a, a) == 0


def test_steps_loss_squares_a_tenth_of_the_difference(caffe: FrozenNetwork, images: Tensor) -> None:
    a, b = images[:1], images[1:]
    weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
    expected = sum(w * (x - y).square().mean() / 100 for w, x, y in zip(weights, caffe(a), caffe(b), strict=True))
    assert squared_vgg_loss(caffe, a, b) == pytest.approx(float(expected), rel=1e-5)


def test_munits_loss_forgets_mean_and_deviation_of_features(images: Tensor) -> None:
    vgg = vgg16_without_last_reduction("random")
    a, b = images[:1], images[1:]
    ((made,), (wanted,)) = vgg(a), vgg(b)
    assert made.shape == (1, 512, 4, 4)  # an eighth of the sides: the fourth pooling is left out

    def normalised(x: Tensor) -> Tensor:
        return (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()

    expected = (normalised(made) - normalised(wanted)).square().mean()
    assert normalised_vgg_loss(vgg, a, b) == pytest.approx(float(expected), rel=1e-4)
    scaled = made * 3 + 5
    assert normalised_vgg_loss(lambda x: [x], made, scaled) < 1e-4 * expected  # type: ignore[arg-type]


def test_last_convolutions_without_the_pooling_have_the_same_weights(caffe: FrozenNetwork) -> None:
    finer = vgg16_without_last_reduction("random")

    assert torch.equal(finer.layers[26].weight, caffe.layers[26].weight)  # type: ignore[arg-type]


def test_targets_get_no_gradient(images: Tensor) -> None:
    vgg = vgg19("random")
    a, b = images[:1].clone().requires_grad_(), images[1:].clone().requires_grad_()
    vgg_loss(vgg, a, b).backward()
    assert a.grad is not None
    assert a.grad.abs().sum() > 0
    assert b.grad is None


def test_gram_matrix_is_the_mean_product_of_channels() -> None:
    activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels of two pixels
    assert torch.equal(gram(activations), torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 4)


def test_squared_distance_of_style_features_is_the_distance_of_styles(caffe: FrozenNetwork, images: Tensor) -> None:
    features = style_features(caffe, images)
    assert features.shape == (2, 64**2 + 128**2 + 256**2 + 2 * 512**2)
    expected = sum((gram(x)[0] - gram(x)[1]).square().mean() for x in caffe(images))
    assert (features[0] - features[1]).square().sum() == pytest.approx(float(expected), rel=1e-4)


def test_styles_do_not_know_where_things_are(caffe: FrozenNetwork, images: Tensor) -> None:
    image = images[:1]
    mirrored, other = style_features(caffe, image.flip(3)), style_features(caffe, images[1:].pow(3))
    here = style_features(caffe, image)
    assert (here - mirrored).square().sum() < 0.3 * (here - other).square().sum()


def test_egscits_losses_are_of_channels_of_length_one(caffe: FrozenNetwork, images: Tensor) -> None:
    a, b = (directions(caffe, picture) for picture in (images[:1], images[1:]))

    for unit, raw in zip(a, caffe(images[:1]), strict=True):
        length = raw.square().sum((2, 3), keepdim=True).sqrt()
        torch.testing.assert_close(unit * length, raw)
    expected = sum((level + 1) / 5 * (x - y).abs().mean() for level, (x, y) in enumerate(zip(a, b, strict=True)))
    torch.testing.assert_close(content_distance(a, b), expected)
    products = [[torch.einsum("nchw,ndhw->ncd", x, x) / x[0, 0].numel() for x in maps] for maps in (a, b)]
    torch.testing.assert_close(
        style_distance(a, b), sum((x - y).abs().mean() for x, y in zip(*products, strict=True)), rtol=1e-4, atol=1e-9
    )
    assert content_distance(a, a) == style_distance(a, a) == 0


def test_scale_of_a_channel_is_nothing_to_egscits_losses() -> None:
    class Scaled(FrozenNetwork):
        def __call__(self, images: Tensor) -> list[Tensor]:
            return [3 * maps for maps in super().__call__(images)]

    vgg = vgg19("random")
    scaled = Scaled(vgg.layers, (1, 6), mean=[0.0] * 3, deviation=[1.0] * 3, features="random")
    picture = torch.rand(1, 3, 32, 32)
    for unit, other in zip(directions(vgg, picture), directions(scaled, picture), strict=False):
        torch.testing.assert_close(unit, other)


def test_evenly_weighted_loss_is_of_images_normalised_as_those_of_imagenet() -> None:
    vgg = vgg19("random")
    images, targets = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    normalise = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    found = evenly_weighted_vgg_loss(vgg, images, targets)

    pairs = zip(*(vgg(normalise(x / 2 + 0.5)) for x in (images, targets)), strict=True)
    torch.testing.assert_close(found, torch.stack([0.3 * (a - b).abs().mean() for a, b in pairs]).sum())
