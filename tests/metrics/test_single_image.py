"""SIFID and self-similarity: the thesis's corruption study (figure 4.19) in small, and the formulas written out."""

import pytest
import torch
from skimage import data
from torch import Tensor
from torch.nn import functional

from i2i_rt.metrics.single_image import _self_similarity, self_similarity_distance, sifid
from i2i_rt.pretrained import FrozenNetwork, inception_stem, vgg16


@pytest.fixture(scope="module")
def stem() -> FrozenNetwork:
    return inception_stem("random")


@pytest.fixture(scope="module")
def vgg() -> FrozenNetwork:
    return vgg16("random")


@pytest.fixture(scope="module", params=["astronaut", "coffee"])
def image(request: pytest.FixtureRequest) -> Tensor:
    picture = getattr(data, request.param)()[:400, :400].copy()
    return functional.interpolate(torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1, (96, 96), mode="area")


def test_an_image_is_at_no_distance_from_itself(stem: FrozenNetwork, vgg: FrozenNetwork, image: Tensor) -> None:
    assert sifid(stem, image, image) == pytest.approx([0], abs=1e-6)
    assert self_similarity_distance(vgg, image, image) == 0


def test_structure_is_what_moves_and_style_is_what_noise_and_blur_change(
    stem: FrozenNetwork, vgg: FrozenNetwork, image: Tensor
) -> None:
    noise = 0.3 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    blurred = functional.interpolate(functional.interpolate(image, 32, mode="area"), 96, mode="bilinear")
    moved = image.flip(3), image.roll(12, 3)
    worse = (image + noise).clamp(-1, 1), blurred
    assert max(sifid(stem, image, other) for other in moved) < min(sifid(stem, image, other) for other in worse)
    moved_distances, worse_distances = (
        [self_similarity_distance(vgg, image, other) for other in others] for others in (moved, worse)
    )
    assert min(moved_distances) > max(worse_distances)


def test_style_has_no_size(stem: FrozenNetwork, image: Tensor) -> None:
    part = image[:, :, 8:88, :80]
    assert sifid(stem, image, part) < 0.5 * sifid(stem, image, (image * 2).clamp(-1, 1))


def test_self_similarity_of_two_by_two_places_by_hand() -> None:
    # grids of one feature map, whose places repeat to 32x32: two orthogonal vectors in columns
    ones, zeros = torch.ones(1, 1, 2, 1), torch.zeros(1, 1, 2, 1)
    activations = torch.cat([torch.cat([ones, zeros], 3), torch.cat([zeros, ones], 3)], 1)
    rows = _self_similarity([activations])[0]
    assert rows.shape == (1024, 1024)
    assert rows.sum(1) == pytest.approx(torch.ones(1024), rel=1e-4)
    # half of all places are orthogonal to a place and share its row's sum
    assert sorted(rows.unique().tolist()) == pytest.approx([0, 2 / 1024], abs=1e-6)
