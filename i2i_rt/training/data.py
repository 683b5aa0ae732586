"""From a folder to the sampler that a system trains with."""

from collections.abc import Callable
from typing import Literal, TypedDict

from i2i_rt.systems.base import Arrangement, Recipe
from i2i_rt.training import adaptation, domains, labelled, linked, pictures, views
from i2i_rt.training.crops import Cropping
from i2i_rt.training.folders import find_held_out, find_images, open_files
from i2i_rt.training.options import TrainingOptions
from i2i_rt.training.sampler import FolderSampler, Sampler, SingleImageSampler
from i2i_rt.training.triplets import open_triplets


def open_sampler(options: TrainingOptions, recipe: Recipe) -> Sampler:
    """Finds a training set's files and makes what cuts batches from them.

    Raises:
        I2IError: where folders are missing or empty, or what belongs together is incomplete.
    """
    return SAMPLERS[recipe.data](options, recipe)


class Sizes(TypedDict):
    """What every sampler of epochs is told beside its files."""

    batch: int
    seed: int
    epoch_images: int | None


def _sizes(options: TrainingOptions, recipe: Recipe) -> Sizes:
    return {"batch": options.batch, "seed": options.seed, "epoch_images": recipe.epoch_images}


def cropping_of(options: TrainingOptions) -> Cropping:
    return Cropping(options.resize, options.load_size, options.crop_size)


def _unpaired(options: TrainingOptions, recipe: Recipe) -> Sampler:
    return _folders(options, recipe, paired=False)


def _paired(options: TrainingOptions, recipe: Recipe) -> Sampler:
    return _folders(options, recipe, paired=True)


def _folders(options: TrainingOptions, recipe: Recipe, *, paired: bool) -> Sampler:
    arrangement: Literal["paired", "unpaired"] = "paired" if paired else "unpaired"
    files = open_files(options.data)
    images, held = find_images(files, arrangement), find_held_out(files, arrangement)
    if options.direction == "BtoA":
        images, held = images.swapped(), held and held.swapped()
    return FolderSampler(
        images,
        cropping_of(options),
        paired=paired,
        **_sizes(options, recipe),
        held=held,
    )


def _single(options: TrainingOptions, recipe: Recipe) -> Sampler:
    images = find_images(open_files(options.data), "single")
    return SingleImageSampler(
        images if options.direction == "AtoB" else images.swapped(),
        crop_size=options.crop_size,
        batch=options.batch,
        epoch_images=recipe.epoch_images or options.batch,
        seed=options.seed,
    )


def _triplets(options: TrainingOptions, recipe: Recipe) -> Sampler:
    return open_triplets(options, recipe, open_sampler)


def _labelled(options: TrainingOptions, recipe: Recipe) -> Sampler:
    files = open_files(options.data)
    return labelled.LabelledSampler(
        labelled.find_labelled(files),
        cropping_of(options),
        **_sizes(options, recipe),
        held=labelled.find_held_out(files),
    )


def _domains(options: TrainingOptions, recipe: Recipe) -> Sampler:
    files = open_files(options.data)
    found = domains.find_domains(files)
    return domains.DomainSampler(
        found,
        cropping_of(options),
        **_sizes(options, recipe),
        held=domains.find_held_out(files, list(found)),
    )


def _views(options: TrainingOptions, recipe: Recipe) -> Sampler:
    files = open_files(options.data)
    return views.ViewsSampler(
        views.find_pictures(files),
        cropping_of(options),
        **_sizes(options, recipe),
        held=views.find_held_out(files),
    )


def _adaptation(options: TrainingOptions, recipe: Recipe) -> Sampler:
    files = open_files(options.data)
    return adaptation.AdaptationSampler(
        labelled.find_labelled(files),
        adaptation.find_target(files),
        cropping_of(options),
        **_sizes(options, recipe),
    )


def _pictures(options: TrainingOptions, recipe: Recipe) -> Sampler:
    files = open_files(options.data)
    return pictures.PicturesSampler(
        pictures.find_pictures(files),
        cropping_of(options),
        **_sizes(options, recipe),
        held=pictures.find_held_out(files),
    )


def _linked(options: TrainingOptions, recipe: Recipe) -> Sampler:
    files = open_files(options.data)
    found = linked.find_linked(files)
    return linked.LinkedSampler(
        found,
        cropping_of(options),
        **_sizes(options, recipe),
        held=linked.find_held_out(files, found.domains),
    )


SAMPLERS: dict[Arrangement, Callable[[TrainingOptions, Recipe], Sampler]] = {
    "unpaired": _unpaired,
    "paired": _paired,
    "single": _single,
    "triplets": _triplets,
    "labelled": _labelled,
    "domains": _domains,
    "views": _views,
    "adaptation": _adaptation,
    "pictures": _pictures,
    "linked": _linked,
}

# what a folder holds, for who makes one
LAYOUTS: dict[Arrangement, str] = {
    "unpaired": "trainA/ and trainB/: pictures of two kinds, unrelated; held out: valA/ valB/ or testA/ testB/",
    "paired": "train/ with pictures A|B side by side, or trainA/ and trainB/ with equal names; held out: val… or test…",
    "single": "trainA/ and trainB/ with one picture each",
    "labelled": "train_label/ (class indices, 255: unknown) and train_img/ with equal names, train_inst/ where there "
    "are instances; held out: val_… or test_…",
    "domains": "train/<domain>/: pictures of each domain; held out: val/<domain>/ or test/<domain>/",
    "adaptation": "train_img/ and train_label/, as labelled data; train_target/: pictures of the other look",
    "triplets": "trainA/ and trainB/ or train/, as pairs; of B, triplets.npz, which 'i2i-rt triplets' makes",
    "views": "train/ with pictures, or with a folder for each domain; held out: val/ or test/ likewise",
    "pictures": "train/ with pictures, in folders or not; held out: val/ or test/",
    "linked": "train/<code>/<class>.png: what a generator draws of each class from one latent code, and train_shape/ "
    "with equal names: where the object is; held out: val/ and val_shape/ or test…",
}
