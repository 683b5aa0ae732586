"""Which crops make the batch of a step: a function of the seed and the step alone.

So a resumed run, and each process of a data-parallel one, sees exactly what a single uninterrupted run sees.
"""

from typing import Protocol

import numpy as np
from PIL import Image

from i2i_rt.training.crops import Cropping, ImageCache
from i2i_rt.training.folders import ImageSet

Crops = tuple[np.ndarray, np.ndarray]  # uint8 [N, crop, crop, 3] of A and of B


class Sampler(Protocol):
    """Gives batches by number."""

    steps_per_epoch: int

    def batch(self, step: int, part: slice, *, augmented: bool = True) -> Crops:
        """Gives the images `part` of the batch of `step` (counted from 0)."""
        ...

    def preview(self, images: int) -> Crops:
        """Gives crops that are the same at every call, for the sample grids."""
        ...


class FolderSampler:
    """Every picture of the larger set once an epoch, in a new order; pictures of B are drawn, or are A's partners."""

    def __init__(self, images: ImageSet, cropping: Cropping, *, paired: bool, batch: int, seed: int) -> None:
        self.images, self.cropping, self.paired, self.size, self.seed = images, cropping, paired, batch, seed
        longest = max(len(images.a), len(images.b))
        self.steps_per_epoch = max(longest // batch, 1)
        self._cache = ImageCache()
        # without the margin for random crops
        self._tight = Cropping(cropping.resize, cropping.crop_size, cropping.crop_size)

    def batch(self, step: int, part: slice, *, augmented: bool = True) -> Crops:
        epoch, place = divmod(step, self.steps_per_epoch)
        longest = max(len(self.images.a), len(self.images.b))
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(longest)
        pairs = [
            self._pair(int(order[(place * self.size + item) % longest]), epoch, place * self.size + item, augmented)
            for item in range(self.size)[part]
        ]
        a, b = zip(*pairs, strict=True)
        return np.stack(a), np.stack(b)

    def _pair(self, index: int, epoch: int, item: int, augmented: bool) -> Crops:
        generator = np.random.default_rng((self.seed, 1, epoch, item))
        cropping = self.cropping if augmented else self._tight
        files = self.images
        if self.paired:
            both = self._both(index, cropping)
            crop = cropping.cut(both, generator)
            return crop[..., :3], crop[..., 3:]
        partner = int(generator.integers(len(files.b))) if len(files.b) > 1 else 0
        # the smaller set is walked round and round
        a = self._cache.load(files.a[index % len(files.a)], cropping)
        b = self._cache.load(files.b[partner], cropping)
        return cropping.cut(a, generator), cropping.cut(b, generator)

    def _both(self, index: int, cropping: Cropping) -> np.ndarray:
        """Gives A and B of a pair along the channels, so that they are cut and mirrored alike."""
        a, b = self.images.a[index], self.images.b[index]
        if self.images.joined:
            both = self._cache.load(a, cropping, joined=True)
            return both
        images = [self._cache.load(file, cropping) for file in (a, b)]
        return np.concatenate(images, axis=2)

    def preview(self, images: int) -> Crops:
        tight = self._tight
        if self.paired:
            both = [tight.centre(self._both(index, tight)) for index in range(min(images, len(self.images.a)))]
            return np.stack([image[..., :3] for image in both]), np.stack([image[..., 3:] for image in both])
        a, b = (
            np.stack([tight.centre(self._cache.load(file, tight)) for file in files[:images]])
            for files in (self.images.a, self.images.b)
        )
        return a, b


class SingleImageSampler:
    """SinCUT's crops: the picture scaled anew for each batch, cut along a shifted grid, no cell twice."""

    SMALLEST_SCALE = 1 / 3

    def __init__(self, images: ImageSet, *, crop_size: int, batch: int, epoch_images: int, seed: int) -> None:
        self.crop_size, self.size, self.seed = crop_size, batch, seed
        self.steps_per_epoch = max(epoch_images // batch, 1)
        cache, whole = ImageCache(), Cropping("none", crop_size, crop_size)
        self._pictures = [Image.fromarray(cache.load(file, whole)) for file in (images.a[0], images.b[0])]

    def batch(self, step: int, part: slice, *, augmented: bool = True) -> Crops:
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

    def preview(self, images: int) -> Crops:
        """Gives the middle of each picture, at most 512 pixels a side, in multiples of 4."""
        a, b = (_middle(np.asarray(picture), 512)[None] for picture in self._pictures)
        return a, b


def _middle(image: np.ndarray, most: int) -> np.ndarray:
    height, width = (min(side, most) // 4 * 4 for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
