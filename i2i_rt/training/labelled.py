"""Pictures with label maps: `train_label/`, `train_img/` and, where there are instances, `train_inst/`."""

from dataclasses import dataclass

import numpy as np

from i2i_rt.systems.base import LabelledBatch
from i2i_rt.training.bad_files import BadFileError
from i2i_rt.training.crops import Cropping, Cut, ImageCache
from i2i_rt.training.files import File, Files
from i2i_rt.training.folders import check_partners, held_out_split, listed
from i2i_rt.training.sampler import Arrays, EpochSampler

WANTED = "train_label/ and train_img/ with equal file names, and train_inst/ where there are instances"


@dataclass(frozen=True)
class LabelledSet:
    """Files of the same place in each list belong together."""

    labels: tuple[File, ...]
    images: tuple[File, ...]
    instances: tuple[File, ...] = ()  # none, or as many


def find_labelled(files: Files, split: str = "train") -> LabelledSet:
    """Lists a set's label maps, pictures and instance maps in the order of their names.

    Raises:
        I2IError: where a folder is missing or empty, or a picture has no label map.
    """
    names = (f"{split}_label", f"{split}_img", f"{split}_inst")
    labels, images = (listed(files, name, WANTED) for name in names[:2])
    check_partners(labels, images, names[:2])
    if names[2] not in files:
        return LabelledSet(labels, images)
    instances = listed(files, names[2], WANTED)
    check_partners(labels, instances, (names[0], names[2]))
    return LabelledSet(labels, images, instances)


def find_held_out(files: Files) -> LabelledSet | None:
    """Lists what is not trained on, of `val` or else of `test`; None where a set has none."""
    split = held_out_split(files, ["_label"])
    return None if split is None else find_labelled(files, split)


class LabelledSampler(EpochSampler):
    """Every picture once an epoch, cut and mirrored as its label map and its instance map are."""

    kind = LabelledBatch

    def __init__(
        self,
        files: LabelledSet,
        cropping: Cropping,
        *,
        batch: int,
        seed: int,
        epoch_images: int | None = None,
        held: LabelledSet | None = None,
    ) -> None:
        still = None if held is None else LabelledSampler(held, cropping, batch=batch, seed=seed)
        count = len(files.images)
        super().__init__(
            count,
            files=2 * count + len(files.instances),
            batch=batch,
            seed=seed,
            epoch_images=epoch_images,
            held=still,
        )
        self.files, self.cropping = files, cropping
        self.description = f"{count} labelled pictures" + (" with instances" if files.instances else "")
        self._cache = ImageCache()

    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        cropping = self.cropping if augmented else self.cropping.tight()
        image = self._cache.load(self.files.images[index], cropping)
        return self._cut(index, image, cropping, cropping.random(image, generator))

    def still(self, index: int) -> Arrays:
        tight = self.cropping.tight()
        image = self._cache.load(self.files.images[index], tight)
        return self._cut(index, image, tight, tight.middle(image))

    def _cut(self, index: int, image: np.ndarray, cropping: Cropping, cut: Cut) -> Arrays:
        maps: list[np.ndarray | None] = []
        for files in (self.files.labels, self.files.instances):
            if not files:
                maps.append(None)
                continue
            numbers = self._cache.numbers(files[index], cropping)
            if numbers.shape != image.shape[:2]:
                raise BadFileError(str(files[index]), f"has another shape than its picture {self.files.images[index]}")
            maps.append(cut(numbers))
        return *maps, cut(image)
