"""Reads checkpoints of TensorFlow 1 without TensorFlow: the "V2" bundles that `tf.train.Saver` writes.

A bundle is `<prefix>.index` and `<prefix>.data-00000-of-00001` (or more shards). The index is a sorted table in the
format of LevelDB (its `doc/table_format.md`): blocks of keys that leave out what they share with the key before, and
a footer that leads to the block of blocks. Its values are the protocol buffers of TensorFlow's `tensor_bundle.proto`:
type, shape, and where the numbers lie in the shards. Nothing in them can run.
"""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2i_rt.errors import CheckpointError
from i2i_rt.official import noted

FOOTER_BYTES = 48  # two block handles, padding, the magic number
MAGIC = 0xDB4775248B80FB57
TRAILER_BYTES = 5  # after each block: the kind of compression, and a checksum
CHECKSUM_DELTA = 0xA282EAD8  # LevelDB's masking of checksums that lie beside what they check

# TensorFlow's numbers of types (types.proto) that can be weights or counters; text and the like are left out
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 6: "i1", 9: "<i8", 10: "?", 19: "<f2"}
OPTIMIZER_SLOT = re.compile(r".*/(Adam(_\d+)?|Momentum|RMSProp(_\d+)?)$")


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def find_bundle(path: str | Path) -> Path:
    """Gives a bundle's prefix, `model.ckpt-1234`, from the prefix itself, one of its files, or its folder.

    In a folder the one that its file `checkpoint` names, else the one with the highest number.

    Raises:
        CheckpointError: where there is none.
    """
    path = Path(path)
    if path.is_dir():
        return _newest(path)
    prefix = path.with_name(re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path.name))
    if not _index_of(prefix).is_file():
        raise CheckpointError(
            f"there is no TensorFlow checkpoint at {path}: {_index_of(prefix).name} is missing (TensorFlow writes a "
            ".index and a .data file; give the part of the name that both share, or their folder)"
        )
    return prefix


def _newest(folder: Path) -> Path:
    note = folder / "checkpoint"
    if note.is_file():
        match = re.search(r'^model_checkpoint_path:\s*"(.*)"', note.read_text(errors="replace"), re.MULTILINE)
        # the path may be one of the machine that trained
        if match and _index_of(folder / Path(match[1]).name).is_file():
            return folder / Path(match[1]).name
    found = [file.with_suffix("") for file in folder.glob("*.index")]
    if not found:
        raise CheckpointError(f"there is no TensorFlow checkpoint in {folder}: no file ends in .index")
    return max(found, key=lambda prefix: (int((re.findall(r"\d+", prefix.name) or ["-1"])[-1]), prefix.name))


def _index_of(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.index")


def bundle_files(prefix: Path) -> tuple[Path, ...]:
    """Gives the files of a bundle that hold its variables: index and shards."""
    shards = prefix.parent.glob(f"{_escaped(prefix.name)}.data-*-of-*")
    return (_index_of(prefix), *sorted(shards))


def _escaped(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def read_bundle(path: str | Path) -> dict[str, Tensor]:
    """Reads every variable of a bundle by its name, in TensorFlow's layout; optimizers' slots are left out.

    Args:
        path: what `find_bundle` takes.

    Raises:
        CheckpointError: where a file is missing, cut short or damaged, or no bundle.
    """
    prefix = find_bundle(path)
    index = _index_of(prefix)
    try:
        shard_count, entries = _read_index(index.read_bytes(), str(index))
    except (IndexError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise CheckpointError(f"{index} is damaged or no index of a TensorFlow checkpoint") from error
    shards: dict[int, np.ndarray] = {}
    tensors = {}
    for name, entry in entries.items():
        if entry.dtype not in DTYPES or OPTIMIZER_SLOT.match(name):
            continue
        if entry.shard not in shards:
            shards[entry.shard] = _open_shard(prefix, entry.shard, shard_count)
        raw = shards[entry.shard][entry.offset : entry.offset + entry.size]
        dtype = np.dtype(DTYPES[entry.dtype])
        if len(raw) != entry.size or entry.size != dtype.itemsize * math.prod(entry.shape):
            raise CheckpointError(f"the data of {prefix} are cut short or damaged: {name!r} is not complete")
        # a copy: it is aligned, and outlives the file
        tensors[name] = noted(torch.from_numpy(raw.copy().view(dtype).reshape(entry.shape)), name)
    if not tensors:
        raise CheckpointError(f"{prefix} holds no variables")
    return tensors


def _open_shard(prefix: Path, shard: int, count: int) -> np.ndarray:
    file = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{count:05d}")
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: the index {prefix.name}.index alone holds no numbers")
    if file.stat().st_size == 0:
        return np.zeros(0, np.uint8)
    return np.memmap(file, np.uint8, mode="r")


def _read_index(content: bytes, source: str) -> tuple[int, dict[str, _Entry]]:
    """Gives the number of shards and every variable's entry.

    Raises:
        CheckpointError: where this is no table, or a block's checksum is wrong.
        IndexError, ValueError, struct.error: where it is damaged in another way.
    """
    if len(content) < FOOTER_BYTES or int.from_bytes(content[-8:], "little") != MAGIC:
        raise CheckpointError(f"{source} is cut short or no index of a TensorFlow checkpoint")
    footer = content[-FOOTER_BYTES:]
    _, position = _handle(footer, 0)  # of the block of filters, which such tables do not use
    (start, size), _ = _handle(footer, position)
    shard_count, entries = 1, {}
    for _, handle in _block(content, start, size, source):
        (start, size), _ = _handle(handle, 0)
        for key, value in _block(content, start, size, source):
            if key:
                entries[key.decode()] = _entry(value)
                continue
            header = dict(_fields(value))  # the empty key's value describes the bundle
            shard_count = int(header.get(1, 1))
            if header.get(2, 0) != 0:
                raise CheckpointError(f"{source} was written on a big-endian machine, which is not supported")
    return shard_count, entries


def _block(content: bytes, start: int, size: int, source: str) -> Iterator[tuple[bytes, bytes]]:
    """Gives the keys and values of one block of a table."""
    body = content[start : start + size + 1]
    (stored,) = struct.unpack_from("<I", content, start + size + 1)
    if _masked(crc32c(body)) != stored:
        raise CheckpointError(f"{source} is damaged: a checksum is wrong")
    if body[-1] != 0:
        raise CheckpointError(f"{source} is a compressed index, which TensorFlow does not write; save it again")
    (restarts,) = struct.unpack_from("<I", body, size - 4)
    end, position, key = size - 4 - 4 * restarts, 0, b""
    while position < end:
        shared, position = _varint(body, position)
        own, position = _varint(body, position)
        length, position = _varint(body, position)
        key = key[:shared] + body[position : position + own]
        yield key, body[position + own : position + own + length]
        position += own + length


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Reads where a block starts and how long it is; also gives the position after that."""
    start, position = _varint(data, position)
    size, position = _varint(data, position)
    return (start, size), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads a number of seven bits a byte, the lowest first; also gives the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _entry(message: bytes) -> _Entry:
    """Reads a BundleEntryProto: 1 dtype, 2 shape, 3 shard, 4 offset, 5 size."""
    fields = dict(_fields(message))
    shape = fields.get(2, b"")
    if not isinstance(shape, bytes):
        raise ValueError("a shape is stored as a number")
    # TensorShapeProto: 2 dim, again and again; its 1 is the length, which is left out where it is 0
    lengths = [dict(_fields(dim)).get(1, 0) for number, dim in _fields(shape) if number == 2 and isinstance(dim, bytes)]
    return _Entry(
        *(_integer(fields.get(1, 0)), tuple(_integer(length) for length in lengths)),
        *(_integer(fields.get(number, 0)) for number in (3, 4, 5)),
    )


def _integer(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a number is stored as text")
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Gives a protocol buffer's fields by number: numbers as int, everything with a length as bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, position = _varint(message, position)
        elif kind == 2:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            value, position = int.from_bytes(message[position : position + width], "little"), position + width
        else:
            raise ValueError(f"field of kind {kind}")
        yield tag >> 3, value


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """Gives the Castagnoli checksum (RFC 3720, appendix B.4); in plain Python, so for small blocks only."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC_TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _masked(checksum: int) -> int:
    return ((checksum >> 15 | checksum << 17) + CHECKSUM_DELTA) & 0xFFFFFFFF
