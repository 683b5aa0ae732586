"""Linked pictures: `train/<code>/<class>.png` are drawn from one latent code, `train_shape/` says where the object is.

Any generator can draw them that is told a class and keeps the places of things where the latent code is the same. A
code with one picture is one that is linked to none: a photograph, of which only the shape and the class are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from i2i_rt.errors import I2IError
from i2i_rt.systems.base import LinkedBatch
from i2i_rt.training.bad_files import BadFileError
from i2i_rt.training.crops import Cropping, Cut, ImageCache
from i2i_rt.training.files import File, Files
from i2i_rt.training.folders import check_partners, held_out_split, listed
from i2i_rt.training.sampler import Arrays, EpochSampler

WANTED = "train/ with a folder of each latent code, where <class>.png are its pictures, and train_shape/ likewise"


@dataclass(frozen=True)
class LinkedSet:
    """Files of the same place belong together; `linked` gives, for each picture, the places of those linked to it.

    A picture that is linked to no other one is linked to itself.
    """

    images: tuple[File, ...]
    shapes: tuple[File, ...]
    numbers: tuple[int, ...]  # of the classes
    linked: tuple[tuple[int, ...], ...]
    domains: tuple[str, ...]


def find_linked(files: Files, split: str = "train", domains: Sequence[str] | None = None) -> LinkedSet:
    """Lists a set's pictures; `domains` are the classes that it may have, where they are known.

    Raises:
        I2IError: where a folder is missing or empty, a picture is in no folder, has no shape, or is of another class.
    """
    names = (split, f"{split}_shape")
    images, shapes = (listed(files, name, WANTED) for name in names)
    check_partners(images, shapes, names)
    codes: dict[str, list[int]] = {}
    classes = []
    for place, image in enumerate(images):
        code, _, name = image.key.rpartition("/")
        if not code:
            raise I2IError(f"{image} is in no latent code's folder; --data names a folder that holds {WANTED}")
        codes.setdefault(code, []).append(place)
        classes.append(name)
    known = tuple(sorted(set(classes)) if domains is None else domains)
    if unknown := set(classes) - set(known):
        raise I2IError(f"{split}/ of {files} has the class {min(unknown)!r}, and train/ has {', '.join(known)}")
    linked: list[tuple[int, ...]] = [()] * len(images)
    for places in codes.values():
        for place in places:
            linked[place] = tuple(other for other in places if other != place) or (place,)
    return LinkedSet(images, shapes, tuple(map(known.index, classes)), tuple(linked), known)


def find_held_out(files: Files, domains: Sequence[str]) -> LinkedSet | None:
    """Lists what is not trained on, of `val` or else of `test`; None where a set has none."""
    split = held_out_split(files, [""])
    return None if split is None else find_linked(files, split, domains)


class LinkedSampler(EpochSampler):
    """Every picture once an epoch, with one that is drawn of those linked to it; both are cut and mirrored alike."""

    kind = LinkedBatch

    def __init__(
        self,
        files: LinkedSet,
        cropping: Cropping,
        *,
        batch: int,
        seed: int,
        epoch_images: int | None = None,
        held: LinkedSet | None = None,
    ) -> None:
        still = None if held is None else LinkedSampler(held, cropping, batch=batch, seed=seed)
        count = len(files.images)
        super().__init__(count, files=2 * count, batch=batch, seed=seed, epoch_images=epoch_images, held=still)
        self.files, self.cropping, self.domains = files, cropping, files.domains
        self.description = f"{count} linked pictures of {len(files.domains)} classes"
        self._cache = ImageCache()

    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        cropping = self.cropping if augmented else self.cropping.tight()
        others = self.files.linked[index]
        image = self._cache.load(self.files.images[index], cropping)
        return self._cut(
            index, others[int(generator.integers(len(others)))], cropping, cropping.random(image, generator)
        )

    def still(self, index: int) -> Arrays:
        """Gives the middle of a picture, and of the first one that is linked to it."""
        tight = self.cropping.tight()
        image = self._cache.load(self.files.images[index], tight)
        return self._cut(index, self.files.linked[index][0], tight, tight.middle(image))

    def _cut(self, index: int, other: int, cropping: Cropping, cut: Cut) -> Arrays:
        whole = self._cache.load(self.files.images[index], cropping)
        fields: list[np.ndarray] = []
        for place in (index, other):
            for file in (self.files.images[place], self.files.shapes[place]):
                picture = self._cache.load(file, cropping)
                if picture.shape != whole.shape:
                    raise BadFileError(str(file), f"has another size than {self.files.images[index]}")
                fields.append(cut(picture))
            fields.append(np.array(self.files.numbers[place]))
        return tuple(fields)
