"""Which crops make the batch of a step: a function of the seed and the step alone.

So a resumed run, and each process of a data-parallel one, sees exactly what a single uninterrupted run sees.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from PIL import Image

from i2i_rt.systems.base import Batch
from i2i_rt.training.bad_files import BadFileError, BadFiles
from i2i_rt.training.crops import Cropping, ImageCache
from i2i_rt.training.files import File
from i2i_rt.training.folders import ImageSet

Arrays = tuple[np.ndarray | None, ...]  # the fields of a batch: images uint8 [N, H, W, 3], the rest int64


class Sampler(Protocol):
    """Gives batches by number.

    Attributes:
        kind: what the arrays are fields of, a named tuple of `i2i_rt.systems.base`.
        domains: names in the order of their indices, of data that has domains.
        description: what the data is, for who reads a bundle's provenance.
        bad: files that could not be used so far.
    """

    kind: type[Any]
    steps_per_epoch: int
    domains: tuple[str, ...]
    description: str
    bad: BadFiles

    def batch(self, step: int, part: slice, *, augmented: bool = True) -> Arrays:
        """Gives the images `part` of the batch of `step` (counted from 0)."""
        ...

    def preview(self, images: int) -> Arrays:
        """Gives crops that are the same at every call, for the sample grids."""
        ...

    def held_out(self) -> Iterator[Arrays]:
        """Gives batches of pictures that are not trained on, always the same; none where the data has none."""
        ...


class EpochSampler(ABC):
    """Every item of a set once an epoch, in a new order; what an item is, its subclasses say.

    In place of an item with a file that cannot be used comes the next one of the set, with other random numbers.
    """

    kind: type[Any]
    domains: tuple[str, ...] = ()
    description = ""

    def __init__(
        self,
        count: int,
        *,
        files: int | None = None,
        batch: int,
        seed: int,
        epoch_images: int | None = None,
        held: "EpochSampler | None" = None,
    ) -> None:
        """Makes a sampler of `count` items that are in `files` files, or in as many."""
        self.count, self.size, self.seed, self.held = count, batch, seed, held
        self.bad = BadFiles(files or count)
        self._order = lru_cache(maxsize=4)(self._drawn_order)  # for 100,000 items it takes as long as decoding one
        self.steps_per_epoch = max((epoch_images or count) // batch, 1)

    @abstractmethod
    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        """Gives the fields of an item, without `N`; all that is random comes from the generator."""

    @abstractmethod
    def still(self, index: int) -> Arrays:
        """Gives the fields of an item, without `N`: always the same ones."""

    def batch(self, step: int, part: slice, *, augmented: bool = True) -> Arrays:
        epoch, place = divmod(step, self.steps_per_epoch)
        numbers = range(place * self.size, (place + 1) * self.size)[part]
        return stacked([self._numbered(epoch, number, augmented) for number in numbers])

    def _numbered(self, epoch: int, number: int, augmented: bool) -> Arrays:
        """Gives the item that is the `number`th of an epoch."""
        lap, position = divmod(number, self.count)

        def drawn(index: int, attempt: int) -> Arrays:
            key = (self.seed, 1, epoch, number, attempt) if attempt else (self.seed, 1, epoch, number)
            return self.item(index, np.random.default_rng(key), augmented=augmented)

        return self._usable(int(self._order(epoch, lap)[position]), drawn)

    def _usable(self, index: int, make: Callable[[int, int], Arrays]) -> Arrays:
        """Gives the item `index`, or the first one after it whose files can be used.

        Raises:
            I2IError: where too many files of the set cannot.
        """
        attempt = 0
        while True:
            try:
                return make((index + attempt) % self.count, attempt)
            except BadFileError as error:
                self.bad.add(error)
                attempt += 1

    def _drawn_order(self, epoch: int, lap: int) -> np.ndarray:
        """Gives the order of the items; an epoch that is longer than the set goes through it in several laps."""
        key = (self.seed, 0, epoch, lap) if lap else (self.seed, 0, epoch)
        return np.random.default_rng(key).permutation(self.count)

    def preview(self, images: int) -> Arrays:
        return self.stills(range(min(images, self.count)))

    def held_out(self) -> Iterator[Arrays]:
        if self.held is None:
            return
        for first in range(0, self.held.count, self.size):
            yield self.held.stills(range(first, min(first + self.size, self.held.count)))

    def stills(self, chosen: Sequence[int]) -> Arrays:
        """Gives items as `still` does."""
        return stacked([self._usable(index, lambda at, attempt: self.still(at)) for index in chosen])


def stacked(items: Sequence[Arrays]) -> Arrays:
    """Joins the fields of items along a new first axis; a field that is None stays None."""
    columns = zip(*items, strict=True)
    return tuple(None if column[0] is None else np.stack(column) for column in columns)  # type: ignore[arg-type]


class FolderSampler(EpochSampler):
    """Every picture of the larger set once an epoch; pictures of B are drawn, or are A's partners."""

    kind = Batch

    def __init__(
        self,
        images: ImageSet,
        cropping: Cropping,
        *,
        paired: bool,
        batch: int,
        seed: int,
        epoch_images: int | None = None,
        held: ImageSet | None = None,
    ) -> None:
        still = None if held is None else FolderSampler(held, cropping, paired=paired, batch=batch, seed=seed)
        longest, files = max(len(images.a), len(images.b)), len({*images.a, *images.b})
        super().__init__(longest, files=files, batch=batch, seed=seed, epoch_images=epoch_images, held=still)
        self.images, self.cropping, self.paired = images, cropping, paired
        self.description = f"{len(images.a)} pictures of A and {len(images.b)} of B"
        self._cache = ImageCache()

    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        cropping = self.cropping if augmented else self.cropping.tight()
        if self.paired:
            a, b = self._pair(index, cropping)
            cut = cropping.random(a, generator)
            return cut(a), cut(b)
        partner = int(generator.integers(len(self.images.b))) if len(self.images.b) > 1 else 0
        a, b = self._load(self.images.a, index, cropping), self._load(self.images.b, partner, cropping)
        return cropping.random(a, generator)(a), cropping.random(b, generator)(b)

    def still(self, index: int) -> Arrays:
        tight = self.cropping.tight()
        if self.paired:
            a, b = self._pair(index, tight)
        else:
            a, b = (self._load(side, index, tight) for side in (self.images.a, self.images.b))
        return tight.middle(a)(a), tight.middle(b)(b)

    def _load(self, files: Sequence[File], index: int, cropping: Cropping) -> np.ndarray:
        """Gives a picture; the smaller set is walked round and round."""
        return self._cache.load(files[index % len(files)], cropping)

    def _pair(self, index: int, cropping: Cropping) -> tuple[np.ndarray, np.ndarray]:
        images = self.images
        if images.joined:
            both = self._cache.load(images.a[index], cropping, joined=True)
            left, right = both[..., :3], both[..., 3:]
            return (right, left) if images.turned else (left, right)
        a, b = (self._cache.load(files[index], cropping) for files in (images.a, images.b))
        if a.shape != b.shape:
            raise BadFileError(str(images.b[index]), f"has another shape than its partner {images.a[index]}")
        return a, b


class SingleImageSampler:
    """SinCUT's crops: the picture scaled anew for each batch, cut along a shifted grid, no cell twice."""

    SMALLEST_SCALE = 1 / 3
    kind = Batch
    domains: tuple[str, ...] = ()
    description = "one picture of A and one of B"

    def __init__(self, images: ImageSet, *, crop_size: int, batch: int, epoch_images: int, seed: int) -> None:
        self.crop_size, self.size, self.seed = crop_size, batch, seed
        self.steps_per_epoch = max(epoch_images // batch, 1)
        self.bad = BadFiles(2)
        cache, whole = ImageCache(), Cropping("none", crop_size, crop_size)
        self._pictures = [Image.fromarray(cache.load(file, whole)) for file in (images.a[0], images.b[0])]

    def batch(self, step: int, part: slice, *, augmented: bool = True) -> Arrays:
        a, b = (
            self._crops(picture, np.random.default_rng((self.seed, side, step)))[part]
            for side, picture in enumerate(self._pictures)
        )
        return a, b

    def _crops(self, picture: Image.Image, generator: np.random.Generator) -> np.ndarray:
        factors = generator.uniform(self.SMALLEST_SCALE, 1.0, 2)
        crop = self.crop_size
        size = [max(round(side * factor), crop) for side, factor in zip(picture.size, factors, strict=True)]
        image = np.asarray(picture.resize((size[0], size[1]), Image.Resampling.BILINEAR))
        shifts = [int(generator.integers(side % crop + 1)) for side in size]
        cells = [
            (top, left)
            for left in range(shifts[0], size[0] - crop + 1, crop)
            for top in range(shifts[1], size[1] - crop + 1, crop)
        ]
        # a small picture has fewer cells than the batch has places
        order = np.concatenate([generator.permutation(len(cells)) for _ in range(-(-self.size // len(cells)))])
        crops = []
        for cell in order[: self.size]:
            top, left = cells[cell]
            cut = image[top : top + crop, left : left + crop]
            crops.append(cut[:, ::-1] if generator.random() < 0.5 else cut)
        return np.stack(crops)

    def preview(self, images: int) -> Arrays:
        """Gives the middle of each picture, at most 512 pixels a side, in multiples of 4."""
        a, b = (_middle(np.asarray(picture), 512)[None] for picture in self._pictures)
        return a, b

    def held_out(self) -> Iterator[Arrays]:
        return iter(())


def _middle(image: np.ndarray, most: int) -> np.ndarray:
    height, width = (min(side, most) // 4 * 4 for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
