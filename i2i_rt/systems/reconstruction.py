"""How well pictures are reconstructed, for the loss and for the tables of papers on translation with styles."""

from functools import cached_property

from torch import Tensor

from i2i_rt.metrics.lpips import Lpips, lpips
from i2i_rt.pretrained import Features, FrozenNetwork, vgg16
from i2i_rt.systems.perceptual import squared_vgg_loss


class Reconstruction:
    """StEP's VGG loss, and PSNR and LPIPS of held-out pictures.

    The feature networks are made when the first is used, for a bundle of a run needs none of them. All are made at
    once: a file that cannot be had is to stop a training before its first step, not before its first scores.
    """

    def __init__(self, features: Features) -> None:
        self.features = features

    @cached_property
    def _networks(self) -> tuple[FrozenNetwork, Lpips]:
        return vgg16(self.features), lpips(self.features)

    def loss(self, images: Tensor, truth: Tensor) -> Tensor:
        """Gives the VGG loss of images `[N, 3, H, W]` in [-1, 1]; the truth gets no gradient."""
        vgg, _ = self._networks
        return squared_vgg_loss(vgg, images, truth)

    def scores(self, images: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Gives the scores `[N]` of images `[N, 3, H, W]` in [-1, 1]; PSNR in dB of values in [0, 1]."""
        _, distance = self._networks
        error = ((images.float() - truth) / 2).square().flatten(1).mean(1)
        name = "LPIPS" if self.features == "pretrained" else "LPIPS_random_features"
        return {"PSNR": -10 * error.clamp(min=1e-10).log10(), name: distance(images, truth)}
