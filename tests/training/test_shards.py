"""Shards: a run sees what it would see in folders, each sample once an epoch, and others can read what we write."""

import gzip
import io
import multiprocessing
import tarfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i_rt.errors import I2IError
from i2i_rt.training.crops import Cropping
from i2i_rt.training.domains import DomainSampler, find_domains
from i2i_rt.training.feeder import Feeder
from i2i_rt.training.files import Files
from i2i_rt.training.folders import find_held_out, find_images, open_files
from i2i_rt.training.labelled import LabelledSampler, find_labelled
from i2i_rt.training.processes import Processes
from i2i_rt.training.sampler import EpochSampler, FolderSampler
from i2i_rt.training.shards import expand, pack
from tests.training.conftest import draw_pictures
from tests.training.test_domains import draw_domains
from tests.training.test_labelled import draw_labelled

CROPPING = Cropping("square", 36, 32)


def unpaired(files: Files) -> EpochSampler:
    held = find_held_out(files, "unpaired")
    return FolderSampler(find_images(files, "unpaired"), CROPPING, paired=False, batch=2, seed=0, held=held)


def paired(files: Files) -> EpochSampler:
    return FolderSampler(find_images(files, "paired"), CROPPING, paired=True, batch=2, seed=0)


def labelled(files: Files) -> EpochSampler:
    return LabelledSampler(find_labelled(files), Cropping("short", 40, 32), batch=2, seed=0)


def domains(files: Files) -> EpochSampler:
    return DomainSampler(find_domains(files), CROPPING, batch=2, seed=0)


def draw_unpaired(data: Path) -> None:
    for folder, count in {"trainA": 5, "trainB/one": 2, "trainB/two": 4, "testA": 2, "testB": 3}.items():
        draw_pictures(data / folder, count, seed=len(folder))


def draw_pairs(data: Path) -> None:
    draw_pictures(data / "trainA", 5)
    draw_pictures(data / "trainB", 5, seed=1)


@pytest.mark.parametrize(
    ("draw", "sampler_of"),
    [
        pytest.param(draw_unpaired, unpaired, id="unpaired"),
        pytest.param(draw_pairs, paired, id="pairs"),
        pytest.param(lambda data: draw_pictures(data / "train", 4, size=(96, 40)), paired, id="joined"),
        pytest.param(lambda data: draw_labelled(data, "train", 4, instances=True), labelled, id="labelled"),
        pytest.param(lambda data: draw_domains(data / "train", {"cat": 3, "dog": 2}), domains, id="domains"),
    ],
)
def test_shards_are_what_the_folders_are(
    draw: Callable[[Path], None], sampler_of: Callable[[Files], EpochSampler], tmp_path: Path
) -> None:
    draw(tmp_path / "folders")
    shards = pack(tmp_path / "folders", tmp_path / "shards", shard_bytes=4000)
    folders, packed = (sampler_of(open_files(tmp_path / name)) for name in ("folders", "shards"))

    assert len(shards) > 1
    assert packed.description == folders.description and packed.domains == folders.domains
    for step in range(folders.steps_per_epoch + 1):
        for mine, theirs in zip(packed.batch(step, slice(0, 2)), folders.batch(step, slice(0, 2)), strict=True):
            assert np.array_equal(mine, theirs)  # type: ignore[arg-type]
    held = zip(packed.held_out(), folders.held_out(), strict=True)
    assert all(np.array_equal(one, other) for mine, theirs in held for one, other in zip(mine, theirs, strict=True))


def seen(data: str, rank: int) -> list[list[int]]:
    """Gives the numbers that a process's two workers read in two epochs; a picture is as light as its number says."""
    sampler, processes = unpaired(open_files(data)), Processes(rank, 2, torch.device("cpu"))
    with Feeder(sampler, first=0, part=processes.part(2), workers=2) as feeder:
        epochs = [[feeder.next()[0] for _ in range(sampler.steps_per_epoch)] for _ in range(2)]
    return [[int(image[0, 0, 0, 0]) for image in epoch if image is not None] for epoch in epochs]


def test_two_workers_of_two_processes_see_each_sample_once_an_epoch(tmp_path: Path) -> None:
    for side in ("trainA", "trainB"):
        (tmp_path / "folders" / side).mkdir(parents=True)
        for number in range(24):
            Image.new("RGB", (36, 36), (number,) * 3).save(tmp_path / "folders" / side / f"{number}.png")
    shards = pack(tmp_path / "folders", tmp_path / "shards", shard_bytes=10_000)
    pattern = str(tmp_path / "shards" / f"train-{{000000..{len(shards) - 1:06}}}.tar")

    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        first, second = pool.map(seen, [pattern] * 2, range(2))

    assert len(shards) > 2
    for epoch in (0, 1):
        assert sorted(first[epoch] + second[epoch]) == list(range(24))
        assert len(first[epoch]) == len(second[epoch]) == 12
    assert first[0] != first[1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files to be closed later
def test_webdataset_reads_what_is_written(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    draw_labelled(tmp_path / "folders", "train", 3, instances=True)
    (shard,) = pack(tmp_path / "folders", tmp_path / "shards", shard_bytes=10**6)

    samples = list(wds.WebDataset(str(shard), shardshuffle=False).decode("rgb8"))

    assert [sample["__key__"] for sample in samples] == ["0", "1", "2"]
    for sample in samples:
        assert {"img.png", "label.png", "inst.png"} < set(sample)
        with Image.open(tmp_path / "folders" / "train_img" / f"{sample['__key__']}.png") as picture:
            assert np.array_equal(sample["img.png"], np.asarray(picture))


def test_packing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    draw_unpaired(tmp_path / "folders")

    one, two = (pack(tmp_path / "folders", tmp_path / name, shard_bytes=4000) for name in ("one", "two"))

    assert [shard.name for shard in one] == [shard.name for shard in two]
    assert one[-1].name.startswith("test-")
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def names(files: Files, folder: str) -> list[str]:
    return [file.name for file in files.folder(folder)]


def test_samples_with_a_class_are_in_domains(tmp_path: Path) -> None:
    shard = make_tar(tmp_path / "imagenet-0.tar", {"7.jpg": b"", "7.cls": b"12\n", "8.cls": b"3", "8.jpg": b""})

    assert list(find_domains(open_files(shard))) == ["12", "3"]


def test_plain_tar_of_folders_is_understood(tmp_path: Path) -> None:
    shard = make_tar(
        tmp_path / "photos.tar", {"./trainA/one.two.png": b"", "valB/deep/3.JPG": b"", "trainA/notes.txt": b""}
    )

    files = open_files(shard)

    assert names(files, "trainA") == ["one.two.png"] and names(files, "valB") == ["deep/3.JPG"]
    assert "trainB" not in files


def test_tar_beside_its_folders_is_left_alone(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "trainA", 2)
    make_tar(tmp_path / "photos.tar", {"trainA/other.png": b""})

    assert names(open_files(tmp_path), "trainA") == ["0.png", "1.png"]


def test_foreign_parts_are_left_alone(tmp_path: Path) -> None:
    make_tar(tmp_path / "val-7.tar", {"x/1.a.png": b"", "x/1.depth.png": b"", "x/1.json": b"{}", "x/._1.a.png": b""})

    files = open_files(tmp_path)

    assert names(files, "valA") == ["x/1.png"] and "val" not in files


def test_dots_in_names_do_not_part_them(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "folders" / "trainA", 1)
    (tmp_path / "folders" / "trainA" / "0.png").rename(tmp_path / "folders" / "trainA" / "2020.01.02.png")

    (shard,) = pack(tmp_path / "folders", tmp_path / "shards", shard_bytes=10**6)

    assert names(open_files(shard), "trainA") == ["2020_01_02.png"]


def test_names_that_become_equal_are_refused(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "trainA", 2)
    (tmp_path / "trainA" / "0.png").rename(tmp_path / "trainA" / "a.b.png")
    (tmp_path / "trainA" / "1.png").rename(tmp_path / "trainA" / "a_b.png")

    with pytest.raises(I2IError, match=r"a_b.png and .*a.b.png would both be called a_b.a.png; rename one of them"):
        pack(tmp_path, tmp_path / "shards", shard_bytes=1)
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda content: content[: len(content) // 2], "unexpected end of data", id="cut-short"),
        pytest.param(gzip.compress, "", id="compressed"),
        pytest.param(lambda content: b"", "empty file", id="empty"),
    ],
)
def test_broken_shard_is_named(spoil: Callable[[bytes], bytes], reason: str, tmp_path: Path) -> None:
    shard = make_tar(tmp_path / "train-0.tar", {f"{number}.png": bytes(3000) for number in range(9)})
    shard.write_bytes(spoil(shard.read_bytes()))

    with pytest.raises(
        I2IError, match=rf"the shard .*train-0.tar cannot be read \(.*{reason}.*\); shards are complete"
    ):
        open_files(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("one.tar", ["one.tar"]),
        ("t-{08..11}.tar", ["t-08.tar", "t-09.tar", "t-10.tar", "t-11.tar"]),
        ("{train,val}-{0..1}.tar", ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]),
    ],
)
def test_patterns_are_expanded(pattern: str, expected: list[str]) -> None:
    assert expand(pattern) == expected


def test_missing_shard_of_a_pattern_is_named(tmp_path: Path) -> None:
    make_tar(tmp_path / "train-0.tar", {"1.png": b""})

    with pytest.raises(I2IError, match=r"there is no folder or shard .*train-1.tar; --data names"):
        open_files(tmp_path / "train-{0..1}.tar")
