"""Which pictures of a set have similar styles and which have not: what StEP's style encoder learns from.

Distances of styles are those of Gram matrices (Gatys et al. 2016) of all pairs of pictures, measured once and kept in
a file, so that any number of trainings can use them.
"""

import hashlib
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from i2i_rt.errors import I2IError
from i2i_rt.pretrained import Features, FrozenNetwork, vgg16
from i2i_rt.systems.base import Recipe, Triplets
from i2i_rt.systems.perceptual import style_features
from i2i_rt.training.options import TrainingOptions
from i2i_rt.training.sampler import Arrays, EpochSampler, FolderSampler, Sampler

FILE = "triplets.npz"
BLOCK_BYTES = 1 << 30  # of the features that are compared at once, twice
AT_ONCE = 8  # pictures that VGG sees
HELD_OUT_TRIPLETS = 5  # of each held-out picture


@dataclass(frozen=True)
class Neighbours:
    """The pictures of a set with the closest and the furthest styles, by their places in the set.

    Attributes:
        anchors: `[M]`, the pictures that were measured.
        closest, furthest: `[M, k]`, the extremes first.
        names: digest of the names of all pictures of the set, in their order.
    """

    anchors: np.ndarray
    closest: np.ndarray
    furthest: np.ndarray
    names: str

    def arrays(self, prefix: str) -> dict[str, Any]:
        """Gives the entries of a file."""
        return {f"{prefix}.{name}": value for name, value in vars(self).items()}

    @classmethod
    def of(cls, arrays: dict[str, Any], prefix: str) -> "Neighbours | None":
        """Takes the entries of a file; None where it has none of that name."""
        if f"{prefix}.anchors" not in arrays:
            return None
        anchors, closest, furthest, names = (
            arrays[f"{prefix}.{name}"] for name in ("anchors", "closest", "furthest", "names")
        )
        return cls(anchors, closest, furthest, str(names))


@dataclass(frozen=True)
class TripletFile:
    """What `i2i-rt triplets` writes: the neighbours among the pictures to train on, and among the held-out ones."""

    train: Neighbours
    held: Neighbours | None
    features: Features
    crop_size: int

    def save(self, path: Path) -> None:
        """Writes the file; its name appears when it is complete."""
        content = self.train.arrays("train") | {"features": self.features, "crop_size": self.crop_size}
        if self.held is not None:
            content |= self.held.arrays("held")
        temporary = path.with_name(f".{path.name}.part.npz")
        try:
            np.savez(temporary, **content)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise I2IError(f"{path} cannot be written ({error.strerror})") from error

    @classmethod
    def load(cls, path: Path) -> "TripletFile":
        """Reads a file that `save` wrote.

        Raises:
            I2IError: where there is none, or it is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = dict(file)
            train = Neighbours.of(content, "train")
            if train is None:
                raise KeyError("train")
            held = Neighbours.of(content, "held")
            return cls(train, held, cast(Features, str(content["features"])), int(content["crop_size"]))
        except FileNotFoundError as error:
            raise I2IError(f"there is no {path}; i2i-rt triplets {path.parent} makes it") from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise I2IError(f"{path} is no file of triplets; 'i2i-rt triplets' writes one") from error


def names_of(pairs: FolderSampler) -> str:
    """Gives what a set is known by."""
    return hashlib.sha256("\n".join(file.name for file in pairs.images.b).encode()).hexdigest()


def measure(
    pairs: FolderSampler,
    features: Features,
    *,
    crop_size: int,
    closest: int,
    furthest: int,
    images: int,
    progress: Callable[[str], None] = lambda line: None,
) -> TripletFile:
    """Measures the styles of the pictures B of a set, and of those that it holds out where they are enough.

    Args:
        pairs: Gives the set's pictures. In place of one that cannot be read it gives the next one.
        features: VGG's: "pretrained", or "random" for tests.
        crop_size: The side of the middle that is looked at, pixels.
        closest: How many neighbours a picture has.
        furthest: How many pictures are far from one; more of them, because a few odd pictures are far from all.
        images: How many pictures are measured at most, chosen with a fixed seed.
        progress: Is told what goes on.

    Raises:
        I2IError: where the set is too small.
    """
    vgg = vgg16(features)

    def neighbours(sampler: FolderSampler, name: str) -> Neighbours:
        anchors = np.arange(sampler.count)
        if images < sampler.count:
            anchors = np.sort(np.random.default_rng(0).permutation(sampler.count)[:images])
        progress(f"measuring the styles of {len(anchors)} pictures {name}")
        distances = style_distances(lambda part: _styles(vgg, sampler, anchors[part]), len(anchors), _block(vgg))
        near, far = extremes(distances, closest, furthest)
        return Neighbours(anchors, anchors[near], anchors[far], names_of(sampler))

    least = closest + furthest + 1
    if min(pairs.count, images) < least:
        raise I2IError(
            f"{min(pairs.count, images)} of the set's {pairs.count} pictures are measured; --closest {closest} and "
            f"--furthest {furthest} need {least}"
        )
    held = pairs.held
    train, apart = neighbours(pairs, "to train on"), None
    if isinstance(held, FolderSampler) and held.count >= least:
        apart = neighbours(held, "held out")
    return TripletFile(train, apart, features, crop_size)


def _styles(vgg: FrozenNetwork, pairs: FolderSampler, anchors: np.ndarray) -> Tensor:
    """Gives style features `[n, D]` of pictures B, on the GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = []
    for first in range(0, len(anchors), AT_ONCE):
        _, frames = pairs.stills(anchors[first : first + AT_ONCE].tolist())
        assert frames is not None
        image = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            found.append(style_features(vgg, image))
    return torch.cat(found)


def _block(vgg: FrozenNetwork) -> int:
    """Gives how many pictures' features fit into a block."""
    with torch.no_grad():
        length = style_features(vgg, torch.zeros(1, 3, 32, 32)).shape[1]  # the same for images of any size
    return max(BLOCK_BYTES // (4 * length), 1)


def style_distances(features: Callable[[slice], Tensor], count: int, block: int) -> np.ndarray:
    """Gives the squared distances `[N, N]` of features, which are computed for `block` rows at a time.

    With more than one block features are computed several times, because those of all pictures need not fit into
    memory.
    """
    starts = range(0, count, block)
    result = np.zeros((count, count), np.float32)
    centre: Tensor | None = None
    for first in starts:
        rows = features(slice(first, first + block))
        # distances stay the same, and what has to be subtracted below is smaller
        centre = rows.mean(0) if centre is None else centre
        rows = rows - centre
        for other in (start for start in starts if start >= first):
            columns = rows if other == first else features(slice(other, other + block)) - centre
            squares = rows.square().sum(1)[:, None] + columns.square().sum(1) - 2 * rows @ columns.T
            part = squares.clamp(min=0).cpu().numpy()
            result[first : first + len(rows), other : other + len(columns)] = part
            result[other : other + len(columns), first : first + len(rows)] = part.T
    return result


def extremes(distances: np.ndarray, closest: int, furthest: int) -> tuple[np.ndarray, np.ndarray]:
    """Gives the `closest` and the `furthest` columns of each row of `[N, N]`, without the row's own."""
    np.fill_diagonal(distances, math.inf)
    near = np.argsort(distances, axis=1, kind="stable")[:, :closest]
    np.fill_diagonal(distances, -math.inf)
    far = np.argsort(-distances, axis=1, kind="stable")[:, :furthest]
    return near, far


class TripletSampler(EpochSampler):
    """Every measured picture once an epoch, with a picture of similar and one of different style."""

    kind = Triplets

    def __init__(
        self,
        pairs: EpochSampler,
        neighbours: Neighbours,
        *,
        batch: int,
        seed: int,
        epoch_images: int | None = None,
        held: EpochSampler | None = None,
    ) -> None:
        super().__init__(len(neighbours.anchors), batch=batch, seed=seed, epoch_images=epoch_images, held=held)
        self.pairs, self.neighbours, self.bad = pairs, neighbours, pairs.bad
        self.description = f"{len(neighbours.anchors)} pictures with {neighbours.closest.shape[1]} neighbours each"

    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        found = self.neighbours
        positive, negative = (int(generator.choice(column[index])) for column in (found.closest, found.furthest))
        places = (int(found.anchors[index]), positive, negative)
        return tuple(self.pairs.item(place, generator, augmented=augmented)[1] for place in places)

    def still(self, index: int) -> Arrays:
        return self._still(index, 0)

    def _still(self, index: int, number: int) -> Arrays:
        found = self.neighbours
        columns = (column[:, number % column.shape[1]] for column in (found.closest, found.furthest))
        places = (found.anchors, *columns)
        return tuple(self.pairs.still(int(column[index]))[1] for column in places)


class HeldOutTriplets(TripletSampler):
    """Several triplets of each held-out picture, always the same."""

    def __init__(self, pairs: EpochSampler, neighbours: Neighbours, *, batch: int, seed: int) -> None:
        super().__init__(pairs, neighbours, batch=batch, seed=seed)
        self.count *= HELD_OUT_TRIPLETS

    def still(self, index: int) -> Arrays:
        return self._still(*divmod(index, HELD_OUT_TRIPLETS))


def open_triplets(options: TrainingOptions, recipe: Recipe, paired: Callable[..., Sampler]) -> Sampler:
    """Opens a paired set and the file of its triplets; `paired` opens the set.

    Raises:
        I2IError: where the file is missing, or was made for another set.
    """
    named = options.settings.get("triplets")
    path = Path(named) if named else Path(options.data) / FILE
    file = TripletFile.load(path)
    pairs = paired(options, replace(recipe, data="paired"))
    assert isinstance(pairs, FolderSampler)
    for neighbours, sampler in ((file.train, pairs), (file.held, pairs.held)):
        if neighbours is not None and isinstance(sampler, FolderSampler) and neighbours.names != names_of(sampler):
            raise I2IError(
                f"{path} was made of other pictures than {options.data} has now; make it anew with "
                f"i2i-rt triplets {options.data}"
            )
    held = None
    if pairs.held is not None and file.held is not None:
        held = HeldOutTriplets(pairs.held, file.held, batch=options.batch, seed=options.seed)
    return TripletSampler(
        pairs, file.train, batch=options.batch, seed=options.seed, epoch_images=recipe.epoch_images, held=held
    )
