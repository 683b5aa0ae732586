"""TUNIT's discriminator: its norm, its sizes, and what it refuses."""

from typing import Any

import pytest
import torch

from i2i_rt.errors import I2IError
from i2i_rt.models.tunit_discriminator import FilterResponseNorm, TUNITDiscriminator, TUNITDiscriminatorConfig


def test_filter_response_norm_has_its_formula() -> None:
    norm = FilterResponseNorm(2)
    with torch.no_grad():
        norm.gamma[0, 1], norm.beta[0, 1], norm.tau[0, 1] = 2.0, 0.5, -0.25
    x = torch.tensor([[[3.0, -4.0]], [[0.0, -10.0]]])[None]  # root mean squares sqrt(12.5) and sqrt(50)

    expected = torch.tensor([[[3 / 12.5**0.5, 0.0]], [[0.5, -0.25]]])[None]
    assert torch.allclose(norm(x), expected, atol=1e-6)


def test_each_image_is_judged_alone_with_a_logit_a_cluster() -> None:
    torch.manual_seed(0)
    network = TUNITDiscriminator(TUNITDiscriminatorConfig(width=4, max_width=8, image_size=16, clusters=3))
    images = torch.rand(2, 3, 16, 16)

    logits = network(images)

    assert logits.shape == (2, 3)
    assert torch.allclose(network(images[1:]), logits[1:], atol=1e-6)


@pytest.mark.parametrize("make", [
    lambda: TUNITDiscriminatorConfig(width=0),
    lambda: TUNITDiscriminatorConfig(image_size=48),
])  # fmt: skip
def test_wrong_configs_are_refused(make: Any) -> None:
    with pytest.raises(I2IError):
        make()
