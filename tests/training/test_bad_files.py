"""Bad files: named once, counted, replaced by the next ones alike in every process, and too many end the training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.errors import I2IError
from i2i_rt.training.bad_files import BadFileError, BadFiles
from i2i_rt.training.crops import Cropping
from i2i_rt.training.feeder import Feeder
from i2i_rt.training.folders import find_images, open_files
from i2i_rt.training.sampler import FolderSampler

SET = 40


@pytest.fixture
def flats(tmp_path: Path) -> Path:
    """`trainA` and `trainB` of 40 pictures each, which are as light as their number says; two of A are damaged."""
    for side in ("trainA", "trainB"):
        (tmp_path / side).mkdir()
        for number in range(SET):
            Image.fromarray(np.full((36, 36, 3), number, np.uint8)).save(tmp_path / side / f"{number:02}.png")
    for number in (3, 4):
        damaged = tmp_path / "trainA" / f"{number:02}.png"
        damaged.write_bytes(damaged.read_bytes()[:60])
    return tmp_path


def sampler_of(data: Path, batch: int = 4) -> FolderSampler:
    images = find_images(open_files(data), "unpaired")
    return FolderSampler(images, Cropping("square", 32, 32), paired=False, batch=batch, seed=0)


def numbers(batch: tuple[np.ndarray | None, ...]) -> list[int]:
    assert batch[0] is not None
    return batch[0][:, 0, 0, 0].tolist()


def test_bad_files_are_named_once_and_the_next_ones_come_instead(
    flats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampler = sampler_of(flats)

    seen = [number for step in range(10) for number in numbers(sampler.batch(step, slice(0, 4)))]

    expected = [number for number in range(SET) if number not in (3, 4)]
    assert sorted(seen) == sorted([*expected, 5, 5])
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.rpartition("/")[2] for line in lines) == [
        "03.png cannot be read as a picture (OSError)",
        "04.png cannot be read as a picture (OSError)",
    ]
    assert len(sampler.bad) == 2


def test_bad_files_change_nothing_for_workers_processes_and_resumed_runs(flats: Path) -> None:
    whole = [numbers(sampler_of(flats).batch(step, slice(0, 4))) for step in range(10)]

    with Feeder(sampler_of(flats), first=4, part=slice(2, 4), workers=3) as feeder:
        rest = [numbers(feeder.next()) for _ in range(6)]

    assert rest == [batch[2:] for batch in whole[4:]]


def test_more_than_a_twentieth_ends_with_the_list(flats: Path) -> None:
    for number in (10, 11, 12):
        (flats / "trainB" / f"{number}.png").write_text("no picture")
    sampler = sampler_of(flats)

    with pytest.raises(
        I2IError, match=r"5 of 80 files cannot be used, more than 5% of the set: .*/\d\d.png, "
    ) as raised:
        for step in range(30):
            sampler.batch(step, slice(0, 4))

    assert str(raised.value).count(".png") == 5


def test_long_lists_are_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    bad = BadFiles(500)
    with pytest.raises(I2IError, match=r"26 of 500 .*: 0.png, .*, 19.png and 6 more; repair them or take them away"):
        for number in range(30):
            bad.add(BadFileError(f"{number}.png", "is gone"))

    assert len(capsys.readouterr().err.splitlines()) == 26
