"""How well pictures are reconstructed, for the losses and for the tables of papers on translation with styles."""

from functools import cached_property
from typing import Literal

from torch import Tensor

from i2i_rt.metrics.lpips import Lpips, lpips
from i2i_rt.metrics.pairs import psnr
from i2i_rt.pretrained import Features, FrozenNetwork, vgg16
from i2i_rt.systems.losses import distance
from i2i_rt.systems.perceptual import squared_vgg_loss

Kind = Literal["vgg", "l1"]
VGG_WEIGHT, L1_WEIGHT = 0.02, 10.0  # StEP's; BicycleGAN's L1 has the same


class Reconstruction:
    """A loss of VGG's features or of pixels, and PSNR and LPIPS of held-out pictures.

    The feature networks are made when they are first used, for a bundle of a run needs none of them.
    """

    def __init__(self, kind: Kind, features: Features) -> None:
        self.kind, self.features = kind, features

    @cached_property
    def _vgg(self) -> FrozenNetwork:
        return vgg16(self.features)

    @cached_property
    def _lpips(self) -> Lpips:
        return lpips(self.features)

    def loss(self, images: Tensor, truth: Tensor) -> Tensor:
        """Gives the weighted loss of images `[N, 3, H, W]` in [-1, 1]; the truth gets no gradient."""
        if self.kind == "l1":
            return L1_WEIGHT * distance(images, truth)
        return VGG_WEIGHT * squared_vgg_loss(self._vgg, images, truth)

    def scores(self, images: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Gives the scores `[N]` of images `[N, 3, H, W]` in [-1, 1]; PSNR in dB of values in [0, 1]."""
        return {"PSNR": psnr(images.float(), truth), self._lpips.named("LPIPS"): self._lpips(images, truth)}
