"""PSNR by hand and SSIM by scikit-image."""

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from i2i_rt.errors import I2IError
from i2i_rt.metrics.pairs import psnr, ssim


@pytest.fixture
def images() -> Tensor:
    noise = torch.rand(2, 3, 40, 36, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.avg_pool2d(noise, 5, 1, 2)


def test_psnr_is_known_where_the_error_is(images: Tensor) -> None:
    off = images + torch.tensor([0.02, 0.2]).view(2, 1, 1, 1)  # of a range of 2: 40 and 20 dB
    assert psnr(images, off) == pytest.approx([40, 20], abs=1e-3)
    assert psnr(images, images).isinf().all()


def test_ssim_is_that_of_scikit_image(images: Tensor) -> None:
    other = (images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    expected = [
        structural_similarity(
            a.permute(1, 2, 0).double().numpy() / 2 + 0.5,
            b.permute(1, 2, 0).double().numpy() / 2 + 0.5,
            data_range=1.0,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(images, other, strict=True)
    ]
    assert 0.3 < expected[0] < 0.95
    assert ssim(images, other) == pytest.approx(expected, abs=1e-4)
    assert ssim(images, images) == pytest.approx([1, 1])


def test_images_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(I2IError, match="11 pixels a side and more; these are 10x64"):
        ssim(torch.zeros(1, 3, 10, 64), torch.zeros(1, 3, 10, 64))
