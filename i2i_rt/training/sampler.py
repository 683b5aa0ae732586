"""Which crops make the batch of a step: a function of the seed and the step alone.

So a resumed run, and each process of a data-parallel one, sees exactly what a single uninterrupted run sees.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from i2i_rt.systems.base import Batch
from i2i_rt.training.crops import Cropping, ImageCache
from i2i_rt.training.folders import ImageSet

Arrays = tuple[np.ndarray | None, ...]  # the fields of a batch: images uint8 [N, H, W, 3], the rest int64


class Sampler(Protocol):
    """Gives batches by number.

    Attributes:
        kind: what the arrays are fields of, a named tuple of `i2i_rt.systems.base`.
        domains: names in the order of their indices, of data that has domains.
        description: what the data is, for who reads a bundle's provenance.
    """

    kind: type[Any]
    steps_per_epoch: int
    domains: tuple[str, ...]
    description: str

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
    """Every item of a set once an epoch, in a new order; what an item is, its subclasses say."""

    kind: type[Any]
    domains: tuple[str, ...] = ()
    description = ""

    def __init__(
        self,
        count: int,
        *,
        batch: int,
        seed: int,
        epoch_images: int | None = None,
        held: "EpochSampler | None" = None,
    ) -> None:
        self.count, self.size, self.seed, self.held = count, batch, seed, held
        self.steps_per_epoch = max((epoch_images or count) // batch, 1)

    @abstractmethod
    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        """Gives the fields of an item, without `N`; all that is random comes from the generator."""

    @abstractmethod
    def still(self, index: int) -> Arrays:
        """Gives the fields of an item, without `N`: always the same ones."""

    def batch(self, step: int, part: slice, *, augmented: bool = True) -> Arrays:
        epoch, place = divmod(step, self.steps_per_epoch)
        items = []
        for number in range(place * self.size, (place + 1) * self.size)[part]:
            lap, position = divmod(number, self.count)
            index = int(self._order(epoch, lap)[position])
            items.append(self.item(index, np.random.default_rng((self.seed, 1, epoch, number)), augmented=augmented))
        return stacked(items)

    def _order(self, epoch: int, lap: int) -> np.ndarray:
        """Gives the order of the items; an epoch that is longer than the set goes through it in several laps."""
        key = (self.seed, 0, epoch, lap) if lap else (self.seed, 0, epoch)
        return np.random.default_rng(key).permutation(self.count)

    def preview(self, images: int) -> Arrays:
        return stacked([self.still(index) for index in range(min(images, self.count))])

    def held_out(self) -> Iterator[Arrays]:
        if self.held is None:
            return
        for first in range(0, self.held.count, self.size):
            chosen = range(first, min(first + self.size, self.held.count))
            yield stacked([self.held.still(index) for index in chosen])


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
        super().__init__(
            max(len(images.a), len(images.b)), batch=batch, seed=seed, epoch_images=epoch_images, held=still
        )
        self.images, self.cropping, self.paired = images, cropping, paired
        self.description = f"{len(images.a)} pictures of A and {len(images.b)} of B"
        self._cache = ImageCache()
        # without the margin for random crops
        self._tight = Cropping(cropping.resize, cropping.crop_size, cropping.crop_size)

    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        cropping = self.cropping if augmented else self._tight
        files = self.images
        if self.paired:
            crop = cropping.cut(self._both(index, cropping), generator)
            return crop[..., :3], crop[..., 3:]
        partner = int(generator.integers(len(files.b))) if len(files.b) > 1 else 0
        # the smaller set is walked round and round
        a = self._cache.load(files.a[index % len(files.a)], cropping)
        b = self._cache.load(files.b[partner], cropping)
        return cropping.cut(a, generator), cropping.cut(b, generator)

    def still(self, index: int) -> Arrays:
        tight, files = self._tight, self.images
        if self.paired:
            both = tight.centre(self._both(index, tight))
            return both[..., :3], both[..., 3:]
        a, b = (tight.centre(self._cache.load(side[index % len(side)], tight)) for side in (files.a, files.b))
        return a, b

    def _both(self, index: int, cropping: Cropping) -> np.ndarray:
        """Gives A and B of a pair along the channels, so that they are cut and mirrored alike."""
        a, b = self.images.a[index], self.images.b[index]
        if self.images.joined:
            both = self._cache.load(a, cropping, joined=True)
            return both if not self.images.turned else np.concatenate([both[..., 3:], both[..., :3]], axis=2)
        images = [self._cache.load(file, cropping) for file in (a, b)]
        return np.concatenate(images, axis=2)


class SingleImageSampler:
    """SinCUT's crops: the picture scaled anew for each batch, cut along a shifted grid, no cell twice."""

    SMALLEST_SCALE = 1 / 3
    kind = Batch
    domains: tuple[str, ...] = ()
    description = "one picture of A and one of B"

    def __init__(self, images: ImageSet, *, crop_size: int, batch: int, epoch_images: int, seed: int) -> None:
        self.crop_size, self.size, self.seed = crop_size, batch, seed
        self.steps_per_epoch = max(epoch_images // batch, 1)
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
