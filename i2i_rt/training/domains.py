"""Pictures of several domains, `train/<domain>/…`, with references of the domain that they are translated to."""

from collections.abc import Sequence

import numpy as np

from i2i_rt.errors import I2IError
from i2i_rt.systems.base import DomainBatch
from i2i_rt.training import augment
from i2i_rt.training.crops import Cropping, ImageCache
from i2i_rt.training.decoding import scale
from i2i_rt.training.files import File, Files
from i2i_rt.training.folders import held_out_split, listed
from i2i_rt.training.sampler import Arrays, EpochSampler

WANTED = "train/ with a folder for each domain"
CHANCE = 0.5  # of a picture to be cut before it is scaled, as in StarGAN v2

DomainSet = dict[str, tuple[File, ...]]  # by the domains' names, sorted: a domain's index is its place


def find_domains(files: Files, split: str = "train") -> DomainSet:
    """Lists a set's pictures by domain.

    Raises:
        I2IError: where the folder is missing or empty, or a picture is in no domain.
    """
    domains: dict[str, list[File]] = {}
    for file in listed(files, split, WANTED):
        name, _, rest = file.name.partition("/")
        if not rest:
            raise I2IError(f"{file} is in no domain; --data names a folder that holds {WANTED}")
        domains.setdefault(name, []).append(file)
    return {name: tuple(domains[name]) for name in sorted(domains)}


def find_held_out(files: Files, domains: Sequence[str]) -> DomainSet | None:
    """Lists what is not trained on, of `val` or else of `test`; None where a set has none.

    Raises:
        I2IError: where it has other domains.
    """
    split = held_out_split(files, [""])
    if split is None:
        return None
    held = find_domains(files, split)
    if list(held) != list(domains):
        raise I2IError(f"{split}/ of {files} has the domains {', '.join(held)}, and train/ has {', '.join(domains)}")
    return held


class BalancedSampler(EpochSampler):
    """Items of all domains equally often: each picture of the largest one once an epoch, the others round and round."""

    def __init__(
        self,
        files: DomainSet,
        cropping: Cropping,
        *,
        batch: int,
        seed: int,
        epoch_images: int | None = None,
        held: "EpochSampler | None" = None,
    ) -> None:
        self.files, self.cropping, self.domains = list(files.values()), cropping, tuple(files)
        super().__init__(
            len(files) * max(map(len, self.files)),
            files=sum(map(len, self.files)),
            batch=batch,
            seed=seed,
            epoch_images=epoch_images,
            held=held,
        )
        self.description = ", ".join(f"{len(pictures)} of {name}" for name, pictures in files.items())
        self._cache = ImageCache()

    def place(self, index: int) -> tuple[int, int]:
        """Gives the domain of an item and its picture's place there."""
        place, domain = divmod(index, len(self.files))
        return domain, place % len(self.files[domain])

    def picture(self, domain: int, place: int, generator: np.random.Generator, *, augmented: bool) -> np.ndarray:
        """Gives a picture, half of the time a random part of it, mirrored half of the time."""
        size = self.cropping.crop_size
        if not augmented:
            tight = self.cropping.tight()
            image = self._cache.load(self.files[domain][place], tight)
            return tight.random(image, generator)(image)
        image = self._cache.load(self.files[domain][place], self.cropping)
        part = augment.resized_crop(image, size, generator) if generator.random() < CHANCE else scale(image, size, size)
        return augment.mirrored(part, generator)

    def still_picture(self, domain: int, place: int) -> np.ndarray:
        """Gives the middle of a picture."""
        tight = self.cropping.tight()
        image = self._cache.load(self.files[domain][place], tight)
        return tight.middle(image)(image)


class DomainSampler(BalancedSampler):
    """Pictures, and for each two references of a domain that is drawn, which may be the picture's own."""

    kind = DomainBatch

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
        still = None if held is None else DomainSampler(held, cropping, batch=batch, seed=seed)
        super().__init__(files, cropping, batch=batch, seed=seed, epoch_images=epoch_images, held=still)

    def item(self, index: int, generator: np.random.Generator, *, augmented: bool) -> Arrays:
        domain, place = self.place(index)
        image = self.picture(domain, place, generator, augmented=augmented)
        target = int(generator.integers(len(self.files)))
        references = [
            self.picture(target, int(other), generator, augmented=augmented)
            for other in generator.integers(len(self.files[target]), size=2)
        ]
        return image, np.array(domain), *references, np.array(target)

    def still(self, index: int) -> Arrays:
        """Gives a picture with the next ones of the following domain."""
        domain, place = self.place(index)
        target = (domain + 1) % len(self.files)
        references = [self.still_picture(target, (place + step) % len(self.files[target])) for step in (0, 1)]
        return self.still_picture(domain, place), np.array(domain), *references, np.array(target)
