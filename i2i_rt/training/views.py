"""Pictures in two views, each picture once an epoch: `train/<domain>/…`, or `train/` without folders."""

import numpy as np

from i2i_rt.systems.base import ViewsBatch
from i2i_rt.training import augment
from i2i_rt.training.crops import Cropping, ImageCache
from i2i_rt.training.domains import DomainSet, find_domains
from i2i_rt.training.files import Files
from i2i_rt.training.folders import held_out_split, listed
from i2i_rt.training.sampler import Arrays, EpochSampler

WANTED = "train/ with pictures, or with a folder for each domain"


def find_pictures(files: Files, split: str = "train") -> DomainSet:
    """Lists a set's pictures by domain; where they lie in no folders, there is one without a name.

    Raises:
        I2IError: where the folder is missing or empty, or only some of the pictures are in a folder.
    """
    pictures = listed(files, split, WANTED)
    if not any("/" in picture.name for picture in pictures):
        return {"": pictures}
    return find_domains(files, split)


def find_held_out(files: Files) -> DomainSet | None:
    """Lists what is not trained on, of `val` or else of `test`; None where a set has none."""
    split = held_out_split(files, [""])
    return None if split is None else find_pictures(files, split)


class ViewsSampler(EpochSampler):
    """A picture's crop, and another one of it in other places and colours, with its domain and number."""

    kind = ViewsBatch

    def __init__(
        self,
        files: DomainSet,
        cropping: Cropping,
        *,
        batch: int,
        seed: int,
        epoch_images: int | None = None,
        held: DomainSet | None = None,
    ) -> None:
        still = None if held is None else ViewsSampler(held, cropping, batch=batch, seed=seed)
        self.pictures = [(file, domain) for domain, pictures in enumerate(files.values()) for file in pictures]
        count = len(self.pictures)
        super().__init__(count, files=count, batch=batch, seed=seed, epoch_images=epoch_images, held=still)
        self.domains = tuple(files) if list(files) != [""] else ()
        self.description = f"{count} pictures" + (f" of {', '.join(self.domains)}" if self.domains else "")
        self.cropping = cropping
        self._cache = ImageCache()

    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        file, domain = self.pictures[index]
        cropping = self.cropping if augmented else self.cropping.tight()
        picture = self._cache.load(file, cropping)
        image, other = (cropping.random(picture, generator)(picture) for _ in range(2))
        return image, augment.view(other, generator), np.array(domain), np.array(index)

    def still(self, index: int) -> Arrays:
        """Gives the middle of a picture, and of one that lies half of the set away: mostly of another domain."""
        file, domain = self.pictures[index]
        other, _ = self.pictures[(index + self.count // 2) % self.count]
        tight = self.cropping.tight()
        images = (self._cache.load(one, tight) for one in (file, other))
        return *(tight.middle(image)(image) for image in images), np.array(domain), np.array(index)
