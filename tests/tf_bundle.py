"""Writes TensorFlow 1 checkpoints (V2 bundles) as `tf.train.Saver` does, for tests of what reads them."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from i2i_rt.tf_checkpoint import CHECKSUM_DELTA, DTYPES, MAGIC, crc32c

BLOCK_BYTES = 1024  # smaller than TensorFlow's, so that small bundles have several blocks
RESTART_EVERY = 16  # keys between those that are written in full


def write_bundle(prefix: Path, variables: Mapping[str, Tensor]) -> Path:
    """Writes `<prefix>.index` and its one shard; gives the prefix."""
    data = bytearray()
    entries = [("", _field(1, 1) + _field(3, _field(1, 1)))]  # one shard, version 1
    for name in sorted(variables, key=str.encode):
        array = variables[name].numpy()
        numbers = np.ascontiguousarray(array).tobytes()
        entries.append((name, _entry(array, len(data), len(numbers))))
        data += numbers
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    prefix.with_name(f"{prefix.name}.index").write_bytes(_table(entries))
    return prefix


def _entry(array: np.ndarray, offset: int, size: int) -> bytes:
    dtype = next(number for number, text in DTYPES.items() if np.dtype(text) == array.dtype)
    shape = b"".join(_field(2, _field(1, length)) for length in array.shape)
    message = _field(1, dtype) + _field(2, shape)
    message += _field(4, offset) if offset else b""  # protocol buffers leave zeros out
    return message + _field(5, size) + _varint(6 << 3 | 5) + bytes(4)


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _table(entries: Sequence[tuple[str, bytes]]) -> bytes:
    content = bytearray()

    def add(block: bytes) -> bytes:
        """Appends a block with its trailer and gives its handle."""
        handle = _varint(len(content)) + _varint(len(block))
        checksum = crc32c(block + b"\0")
        masked = ((checksum >> 15 | checksum << 17) + CHECKSUM_DELTA) & 0xFFFFFFFF
        content.extend(block + b"\0" + struct.pack("<I", masked))
        return handle

    index, pending = [], []
    for position, (name, value) in enumerate(entries):
        pending.append((name.encode(), value))
        if sum(len(key) + len(text) for key, text in pending) > BLOCK_BYTES or position == len(entries) - 1:
            index.append((pending[-1][0], add(_block(pending))))
            pending = []
    footer = add(_block([])) + add(_block(index))
    return bytes(content + footer.ljust(40, b"\0") + MAGIC.to_bytes(8, "little"))


def _block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    body, restarts, last = bytearray(), [0], b""
    for position, (key, value) in enumerate(entries):
        shared = 0
        if position % RESTART_EVERY:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        elif position:
            restarts.append(len(body))
        body += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        last = key
    return bytes(body) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
