"""Regions are written, read, given back and swept; what a server may still write to goes to nobody else."""

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from i2i_rt.serving.client import shared_memory
from i2i_rt.serving.client.shared_memory import FOLDER, PREFIX, Pool, Region

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="there is no /dev/shm")


@pytest.fixture
def pool() -> Iterator[Pool]:
    found = Pool()
    yield found
    found.shut()
    assert not list(FOLDER.glob(f"{PREFIX}-*-{os.getpid()}-*"))


def test_tensors_lie_apart_and_come_back(pool: Pool) -> None:
    frames, style = np.arange(70, dtype=np.uint8).reshape(7, 10), np.array([1.5, -2.5], np.float32)
    lease = pool.lease({"frames": frames.nbytes, "style": style.nbytes}, {"translated": 70})
    assert lease is not None
    lease.write({"frames": frames, "style": style})
    lease.region.write(lease.outputs["translated"][0], 255 - frames)
    assert {place[0] for place in (*lease.inputs.values(), *lease.outputs.values())} == {0, 128, 192}
    result = lease.read("translated", np.dtype(np.uint8), (7, 10))
    np.testing.assert_array_equal(result, 255 - frames)
    np.testing.assert_array_equal(lease.region.read(lease.inputs["style"][0], style.dtype, style.shape), style)
    lease.release()
    np.testing.assert_array_equal(result, 255 - frames)  # a copy
    assert (FOLDER / lease.region.name).stat().st_mode & 0o777 == 0o600


def test_region_is_used_again_and_the_smallest_that_fits(pool: Pool) -> None:
    large, small = (pool.lease({"frames": size}, {}) for size in (2**20, 2**10))
    assert large is not None and small is not None
    large.release()
    small.release()
    for size, expected in ((100, small), (2**19, large)):
        again = pool.lease({"frames": size}, {})
        assert again is not None and again.region is expected.region
        again.release()


def test_retired_region_goes_to_nobody_else_until_it_expires(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pool.lease({"frames": 100}, {})
    assert first is not None
    first.retire()
    second = pool.lease({"frames": 100}, {})
    assert second is not None and second.region is not first.region
    second.release()
    assert pool.expired() == []
    monkeypatch.setattr(shared_memory, "RETIRED_S", 0.0)
    assert pool.expired() == [first.region]
    assert not (FOLDER / first.region.name).exists()


def test_number_of_regions_is_bounded(pool: Pool) -> None:
    leases = [pool.lease({"frames": 100}, {}) for _ in range(shared_memory.MOST_REGIONS)]
    assert all(lease is not None for lease in leases)
    assert pool.lease({"frames": 100}, {}) is None


def test_no_memory_ends_the_use_of_it(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert pool.lease({"frames": 100}, {}) is None and not pool.is_open


def test_only_regions_of_ended_processes_here_are_stale() -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    region = Region(100)
    try:
        of_ended = region.name.replace(f"-{os.getpid()}-", f"-{int(ended.stdout)}-")
        elsewhere = f"{PREFIX}-1-{int(ended.stdout)}-abcd"
        assert shared_memory.stale([region.name, of_ended, elsewhere, "another", f"{PREFIX}-x"]) == [of_ended]
        (FOLDER / of_ended).touch()
        shared_memory.sweep()
        assert not (FOLDER / of_ended).exists() and (FOLDER / region.name).exists()
    finally:
        (FOLDER / region.name).unlink()


def test_regions_go_with_the_process_that_forgot_them() -> None:
    code = (
        "import os\nfrom i2i_rt.serving.client.shared_memory import Pool\n"
        "pool = Pool()\nprint(pool.lease({'frames': 100}, {}).region.name)\n"
        "if os.fork() == 0:\n    raise SystemExit\nos.wait()\n"
        "print(os.path.exists('/dev/shm/' + pool._names[0]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    name, is_there_after_fork = done.stdout.split()
    assert is_there_after_fork == "True"
    assert not (FOLDER / name).exists()
