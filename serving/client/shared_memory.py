"""System shared memory between a client and a server on one host: tensors are written once, and read where they lie.

A region is a file in /dev/shm that both map. Its name holds the process that made it, so that what a killed client
left behind can be found and removed by the next one.
"""

import mmap
import os
import secrets
import time
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock

import numpy as np

FOLDER = Path("/dev/shm")
PREFIX = "i2i-rt-client"
ALIGNMENT = 64  # of tensors in a region, in bytes
LEAST_REGION = 2**18  # bytes
MOST_REGIONS = 16  # that one client holds; requests beyond them carry their tensors themselves
RETIRED_S = 60.0  # after which a server that was asked in vain no longer writes its answer


class Region:
    """A piece of shared memory.

    Attributes:
        name: of its file, and under which the server knows it.
        mapped: whether the server has it.
    """

    def __init__(self, size: int) -> None:
        """Makes a region of `size` bytes.

        Raises:
            OSError: where there is no such memory, or not enough.
        """
        self.name = f"{PREFIX}-{_namespace()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.size = size
        self.mapped = False
        file = os.open(FOLDER / self.name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            # a file that only claims its length would end the process by a signal where the memory runs out
            os.posix_fallocate(file, 0, size)
            self._map = mmap.mmap(file, size)
        except OSError:
            _unlink([self.name])
            raise
        finally:
            os.close(file)

    def write(self, offset: int, array: np.ndarray) -> None:
        np.ndarray(array.shape, array.dtype, self._map, offset)[...] = array

    def read(self, offset: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """Gives a copy: the region is for another request afterwards."""
        return np.ndarray(shape, dtype, self._map, offset).copy()


class Lease:
    """A region in the hands of one request, with the places of its inputs and outputs.

    Attributes:
        inputs, outputs: offset and size in bytes, by the tensor's name.
    """

    def __init__(self, pool: "Pool", region: Region, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        self.region = region
        self._pool = pool
        self.inputs, after = _laid_out(inputs, 0)
        self.outputs, _ = _laid_out(outputs, after)

    def write(self, inputs: Mapping[str, np.ndarray]) -> None:
        for name, array in inputs.items():
            self.region.write(self.inputs[name][0], array)

    def read(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        return self.region.read(self.outputs[name][0], dtype, shape)

    def release(self) -> None:
        """Gives the region back for another request."""
        self._pool.give(self.region)

    def retire(self) -> None:
        """Keeps the region from every other request: the server may still write to it."""
        self._pool.retire(self.region)


class Pool:
    """The regions of one client. Safe for use by several threads.

    Attributes:
        is_open: whether requests may go through shared memory; once the server refuses a region, none does.
    """

    def __init__(self) -> None:
        self.is_open = True
        self._lock = Lock()
        self._free: list[Region] = []
        self._all: dict[str, Region] = {}
        self._retired: list[tuple[float, Region]] = []
        self._names: list[str] = []  # what is left to unlink; shared with the finalizer, which must not hold the pool
        self._finalizer = weakref.finalize(self, _unlink_of, os.getpid(), self._names)

    def lease(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Lease | None:
        """Gives a region for tensors of these sizes in bytes; None where there is no memory, or too many are in use."""
        wanted = sum(-(-size // ALIGNMENT) * ALIGNMENT for sizes in (inputs, outputs) for size in sizes.values())
        with self._lock:
            if not self.is_open:
                return None
            fitting = [region for region in self._free if region.size >= wanted]
            region = min(fitting, key=lambda one: one.size) if fitting else self._new(wanted)
            if region is None:
                return None
            if fitting:
                self._free.remove(region)
        return Lease(self, region, inputs, outputs)

    def _new(self, wanted: int) -> Region | None:
        if len(self._all) >= MOST_REGIONS:
            return None
        try:
            region = Region(max(LEAST_REGION, 1 << (wanted - 1).bit_length()))
        except OSError:
            self.is_open = False
            return None
        self._all[region.name] = region
        self._names.append(region.name)
        return region

    def give(self, region: Region) -> None:
        with self._lock:
            self._free.append(region)

    def retire(self, region: Region) -> None:
        with self._lock:
            self._retired.append((time.monotonic(), region))

    def expired(self) -> list[Region]:
        """Gives the regions that were retired long ago, for the server to let go; they are no longer of this pool."""
        with self._lock:
            latest = time.monotonic() - RETIRED_S
            gone = [region for since, region in self._retired if since <= latest]
            self._retired = [(since, region) for since, region in self._retired if since > latest]
            for region in gone:
                del self._all[region.name]
                self._names.remove(region.name)
        _unlink(region.name for region in gone)
        return gone

    def forget(self) -> None:
        """Is told that the server lost all regions, as by a restart."""
        with self._lock:
            for region in self._all.values():
                region.mapped = False

    def shut(self) -> list[str]:
        """Ends the use of shared memory; gives the names of the regions that the server is to let go."""
        with self._lock:
            self.is_open = False
            self._free.clear()
            mapped = [region.name for region in self._all.values() if region.mapped]
            self._all.clear()
        self._finalizer()
        return mapped


def stale(names: Iterable[str]) -> list[str]:
    """Gives those of `names` that are regions of processes that have ended.

    A process of another namespace of processes, as in another container, cannot be seen; its regions are not stale.
    """
    found = []
    for name in names:
        words = name.removeprefix(f"{PREFIX}-{_namespace()}-").split("-")
        if name.startswith(f"{PREFIX}-{_namespace()}-") and words[0].isdecimal() and not _is_alive(int(words[0])):
            found.append(name)
    return found


def sweep() -> None:
    """Removes what clients that were killed have left in /dev/shm."""
    _unlink(stale(path.name for path in FOLDER.glob(f"{PREFIX}-*")))


def _laid_out(sizes: Mapping[str, int], begin: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Gives the offset and size of tensors one after another, and where the last one ends."""
    places = {}
    for name, size in sizes.items():
        places[name] = (begin, size)
        begin += -(-size // ALIGNMENT) * ALIGNMENT
    return places, begin


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _unlink(names: Iterable[str]) -> None:
    for name in names:
        (FOLDER / name).unlink(missing_ok=True)


def _unlink_of(process: int, names: list[str]) -> None:
    if os.getpid() == process:  # a fork has the finalizer too, but not the regions
        _unlink(names)
