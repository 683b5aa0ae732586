"""Linked pictures: which belong together, that they are cut alike, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.errors import I2IError
from i2i_rt.training.crops import Cropping
from i2i_rt.training.files import FolderFiles
from i2i_rt.training.linked import LinkedSampler, find_held_out, find_linked


def opened(folder: Path) -> LinkedSampler:
    files = FolderFiles(folder)
    found = find_linked(files)
    held = find_held_out(files, found.domains)
    return LinkedSampler(found, Cropping("square", 40, 32), batch=13, seed=0, held=held)


def test_partners_are_of_the_same_code_and_of_another_class(linked: Path) -> None:
    sampler = opened(linked)
    assert sampler.domains == ("cat", "dog", "owl")
    assert sampler.description == "13 linked pictures of 3 classes"
    found = find_linked(FolderFiles(linked))
    for place, others in enumerate(found.linked):
        code = found.images[place].name.partition("/")[0]
        names = {found.images[other].name for other in others}
        everybody = {f"{code}/{name}.png" for name in ("cat", "dog", "owl")}
        assert names == ({found.images[place].name} if code == "photograph" else everybody - {found.images[place].name})


def test_linked_pictures_and_their_shapes_are_cut_alike(linked: Path) -> None:
    sampler = opened(linked)
    image, shape, domain, other, other_shape, other_domain = (
        field for field in sampler.batch(0, slice(None)) if field is not None
    )
    assert image.shape == (13, 32, 32, 3) and domain.shape == (13,)
    for pictures, shapes, classes in ((image, shape, domain), (other, other_shape, other_domain)):
        # the square's colour says the class, and where it is, the shape
        assert np.array_equal(
            pictures.argmax(3)[shapes[..., 0] > 0], np.repeat(classes, (shapes[..., 0] > 0).sum((1, 2)))
        )
        assert np.array_equal(shapes > 0, (pictures > 40).any(3, keepdims=True).repeat(3, 3))
    assert np.array_equal(shape, other_shape)
    assert (domain == other_domain).sum() == 1  # that of the picture that is linked to none


def test_held_out_pictures_are_always_the_same(linked: Path) -> None:
    first, again = (list(opened(linked).held_out()) for _ in range(2))
    assert sum(len(batch[0]) for batch in first) == 6  # type: ignore[arg-type]
    for a, b in zip(first, again, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))  # type: ignore[arg-type]


def test_what_does_not_belong_together_is_refused(linked: Path) -> None:
    shutil.copy(linked / "val" / "0" / "cat.png", linked / "val" / "0" / "fox.png")
    with pytest.raises(I2IError, match=r"'0/fox' is in only one of val and val_shape"):
        opened(linked)
    shutil.copy(linked / "val_shape" / "0" / "cat.png", linked / "val_shape" / "0" / "fox.png")
    with pytest.raises(I2IError, match=r"has the class 'fox', and train/ has cat, dog, owl"):
        opened(linked)
    for folder in ("train", "train_shape"):
        shutil.copy(linked / folder / "0" / "cat.png", linked / folder / "cat.png")
    with pytest.raises(I2IError, match="is in no latent code's folder"):
        opened(linked)
