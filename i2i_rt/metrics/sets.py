"""How close a set of images is to a set of real ones, by features of Inception: FID, KID and Inception score."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from i2i_rt.errors import I2IError
from i2i_rt.metrics.frechet import frechet_distance
from i2i_rt.pretrained import INCEPTION_SIDE, FrozenNetwork

Resize = Literal["original", "clean"]

BATCH = 32
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
PARTS = 10  # of the Inception score


@dataclass(frozen=True)
class SetFeatures:
    """What Inception gives for a set of images: features `[N, 2048]` and logits `[N, 1008]`."""

    features: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Spread:
    """A score that random parts of the sets give, and their standard deviation."""

    mean: float
    deviation: float


def set_features(
    inception: FrozenNetwork, images: Iterable[np.ndarray], resize: Resize = "original", *, device: str = "cpu"
) -> SetFeatures:
    """Gives the features of RGB images `[H, W, 3]`, uint8, which may differ in size.

    Args:
        inception: `i2i_rt.pretrained.inception`.
        images: are read once, a few at a time.
        resize: how they are brought to 299x299. `original` is what FID was published with, TensorFlow 1's bilinear
            resizing, which skips pixels of large images; `clean` Pillow's bicubic one, which does not (Parmar et al.
            2022, arXiv:2104.11222). Figures of the two do not compare.
        device: where the network runs; the features come to the CPU.

    Raises:
        I2IError: where there is no image.
    """
    prepare = _original if resize == "original" else _clean
    found = []
    with torch.no_grad():
        for batch in _batches(images):
            prepared = torch.cat([prepare(image) for image in batch]).to(device) / 127.5 - 1
            found.append([part.cpu() for part in inception(prepared)])
    if not found:
        raise I2IError("a set without images has no features")
    features, logits = (torch.cat(parts) for parts in zip(*found, strict=True))
    return SetFeatures(features, logits)


def _batches(images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    iterator = iter(images)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _original(image: np.ndarray) -> Tensor:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as interpolate

    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    resized: Tensor = interpolate(pixels, size=(INCEPTION_SIDE, INCEPTION_SIDE), align_corners=False)
    return resized


def _clean(image: np.ndarray) -> Tensor:
    """Resizes each channel in float32: eight bits between would be rounded."""
    size = (INCEPTION_SIDE, INCEPTION_SIDE)
    channels = [
        np.asarray(Image.fromarray(image[:, :, channel].astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
        for channel in range(3)
    ]
    return torch.from_numpy(np.stack(channels)[None].clip(0, 255))


def fid(real: SetFeatures, fake: SetFeatures) -> float:
    """Gives the Fréchet Inception distance (Heusel et al. 2017, arXiv:1706.08500); few images raise it."""
    return frechet_distance(real.features, fake.features)


def kid(real: SetFeatures, fake: SetFeatures) -> Spread:
    """Gives the kernel Inception distance (Bińkowski et al. 2018, arXiv:1801.01401), which few images do not raise.

    Over 100 random subsets of 1000 images, or of as many as the smaller set has; the subsets are always the same. Two
    sets of one size and no more than 1000 images are compared whole, once.

    Raises:
        I2IError: where a set has fewer than two images.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KID_SUBSET_SIZE, len(real.features), len(fake.features))
    if size < 2:
        raise I2IError("a kernel Inception distance needs at least 2 images a set")
    with _repeatable():
        subsets = 1 if size == len(real.features) == len(fake.features) else KID_SUBSETS
        metric = KernelInceptionDistance(feature=_Given(), subsets=subsets, subset_size=size)
        metric.update(real.features.double(), real=True)
        metric.update(fake.features.double(), real=False)
        mean, deviation = metric.compute()
    return Spread(float(mean), float(deviation))


def inception_score(fake: SetFeatures) -> Spread:
    """Gives the Inception score (Salimans et al. 2016, arXiv:1606.03498) of ten parts; fewer where one has < 100."""
    from torchmetrics.image.inception import InceptionScore

    parts = max(1, min(PARTS, len(fake.logits) // 100))
    with _repeatable():
        metric = InceptionScore(feature=_Given(), splits=parts)
        metric.update(fake.logits.double())
        mean, deviation = metric.compute()
    return Spread(float(mean), float(deviation) if parts > 1 else 0.0)


class _Given(nn.Module):
    """Stands where torchmetrics has its network: the features are there already, once for all metrics."""

    num_features = 2048

    def forward(self, features: Tensor) -> Tensor:
        return features


@contextmanager
def _repeatable() -> Iterator[None]:
    """Makes random parts the same each time, and silences what torchmetrics notes of memory and of a single part."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features in buffer")
        warnings.filterwarnings("ignore", message=r"std\(\): degrees of freedom")
        torch.manual_seed(0)
        yield
