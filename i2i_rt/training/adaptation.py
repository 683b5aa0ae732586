"""Pictures with labels, and pictures of another look without: `train_img/`, `train_label/` and `train_target/`."""

from collections.abc import Sequence

import numpy as np

from i2i_rt.systems.base import AdaptationBatch
from i2i_rt.training.crops import Cropping, ImageCache
from i2i_rt.training.files import File, Files
from i2i_rt.training.folders import listed
from i2i_rt.training.labelled import LabelledSampler, LabelledSet
from i2i_rt.training.sampler import Arrays, EpochSampler

TARGET = "train_target"


def find_target(files: Files) -> tuple[File, ...]:
    """Lists the target's pictures in the order of their names.

    Raises:
        I2IError: where there are none.
    """
    return listed(files, TARGET, f"train_img/ with train_label/, and {TARGET}/ with pictures of the other look")


class AdaptationSampler(EpochSampler):
    """Every labelled picture once an epoch, each with a picture of the target that is drawn."""

    kind = AdaptationBatch

    def __init__(
        self,
        source: LabelledSet,
        target: Sequence[File],
        cropping: Cropping,
        *,
        batch: int,
        seed: int,
        epoch_images: int | None = None,
    ) -> None:
        self.source, self.target = LabelledSampler(source, cropping, batch=batch, seed=seed), target
        count, files = len(source.images), self.source.bad.total + len(target)
        super().__init__(count, files=files, batch=batch, seed=seed, epoch_images=epoch_images)
        self.cropping = cropping
        self.description = f"{count} labelled pictures and {len(target)} of the target"
        self._cache = ImageCache()

    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        labels, _, source = self.source.item(index, generator, augmented=augmented)
        cropping = self.cropping if augmented else self.cropping.tight()
        image = self._cache.load(self.target[int(generator.integers(len(self.target)))], cropping)
        return source, labels, cropping.random(image, generator)(image)

    def still(self, index: int) -> Arrays:
        labels, _, source = self.source.still(index)
        tight = self.cropping.tight()
        image = self._cache.load(self.target[index % len(self.target)], tight)
        return source, labels, tight.middle(image)(image)
