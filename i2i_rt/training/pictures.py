"""Pictures of one set without labels, each once an epoch: those in and below `train/`."""

from collections.abc import Sequence

import numpy as np

from i2i_rt.systems.base import Pictures
from i2i_rt.training.crops import Cropping, ImageCache
from i2i_rt.training.files import File, Files
from i2i_rt.training.folders import held_out_split, listed
from i2i_rt.training.sampler import Arrays, EpochSampler

WANTED = "train/ with pictures"


def find_pictures(files: Files, split: str = "train") -> tuple[File, ...]:
    """Lists a set's pictures.

    Raises:
        I2IError: where the folder is missing or empty.
    """
    return listed(files, split, WANTED)


def find_held_out(files: Files) -> tuple[File, ...] | None:
    """Lists what is not trained on, of `val` or else of `test`; None where a set has none."""
    split = held_out_split(files, [""])
    return None if split is None else find_pictures(files, split)


class PicturesSampler(EpochSampler):
    """A random crop of each picture."""

    kind = Pictures

    def __init__(
        self,
        files: Sequence[File],
        cropping: Cropping,
        *,
        batch: int,
        seed: int,
        epoch_images: int | None = None,
        held: Sequence[File] | None = None,
    ) -> None:
        still = None if held is None else PicturesSampler(held, cropping, batch=batch, seed=seed)
        super().__init__(len(files), batch=batch, seed=seed, epoch_images=epoch_images, held=still)
        self.files, self.cropping = files, cropping
        self.description = f"{len(files)} pictures"
        self._cache = ImageCache()

    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        cropping = self.cropping if augmented else self.cropping.tight()
        picture = self._cache.load(self.files[index], cropping)
        return cropping.random(picture, generator)(picture), None

    def still(self, index: int) -> Arrays:
        """Gives the middle of a picture, and of the one that lies half of the set away."""
        tight = self.cropping.tight()
        pair = (self._cache.load(self.files[at % self.count], tight) for at in (index, index + self.count // 2))
        image, other = (tight.middle(picture)(picture) for picture in pair)
        return image, other
