"""How close images are to the ones that they should be, pixel by pixel: PSNR and SSIM."""

from torch import Tensor

from i2i_rt.errors import I2IError

WINDOW = 11  # side of SSIM's Gaussian window


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Gives `[N]` peak signal-to-noise ratios, in dB, of images `[N, 3, H, W]` in [-1, 1]; infinite for equal ones."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    ratios: Tensor = peak_signal_noise_ratio(images, targets, data_range=(-1.0, 1.0), reduction="none", dim=(1, 2, 3))
    return ratios


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Gives `[N]` structural similarities (Wang et al. 2004), 1 for equal images `[N, 3, H, W]` in [-1, 1].

    The mean over channels and over the places where the Gaussian window of 11x11 pixels (deviation 1.5) fits.

    Raises:
        I2IError: where the images are smaller than the window.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    height, width = images.shape[2:]
    if min(height, width) < WINDOW:
        raise I2IError(f"SSIM needs images of {WINDOW} pixels a side and more; these are {height}x{width}")
    # luminance is compared by ratios, so black has to be 0
    zero_to_one = ((x.float() + 1) / 2 for x in (images, targets))
    _, everywhere = structural_similarity_index_measure(*zero_to_one, data_range=1.0, return_full_image=True)
    edge = WINDOW // 2
    values: Tensor = everywhere[:, :, edge : height - edge, edge : width - edge].mean((1, 2, 3))
    return values
