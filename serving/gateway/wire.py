"""Reads what must be known of an inference request without touching its tensors.

A `ModelInferRequest` in the wire format of protobuf is fields, each with a tag. Tensors are in field 7, which is
skipped; the rest is some hundred bytes, which protobuf reads.
"""

from dataclasses import dataclass
from typing import Any

from i2i_rt.serving.gateway.refused import Refused

RAW_INPUTS = 7  # of ModelInferRequest: raw_input_contents
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
BROKEN = "the request cannot be read as a ModelInferRequest"


@dataclass(frozen=True)
class Infer:
    """An inference request.

    Attributes:
        head: the `ModelInferRequest` without its raw tensors.
        raw_sizes: the bytes of each raw tensor.
    """

    head: Any
    raw_sizes: tuple[int, ...]


def read(data: bytes) -> Infer:
    """Reads a serialised `ModelInferRequest`.

    Raises:
        Refused: where it is none.
    """
    from google.protobuf.message import DecodeError
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    parts: list[bytes] = []
    sizes: list[int] = []
    place = kept = 0
    try:
        while place < len(data):
            start = place
            tag, place = _varint(data, place)
            kind = tag & 7
            if kind == _LENGTH:
                length, place = _varint(data, place)
                if tag >> 3 == RAW_INPUTS:
                    parts.append(data[kept:start])
                    sizes.append(length)
                    kept = place + length
                place += length
            elif kind == _VARINT:
                _, place = _varint(data, place)
            elif kind == _FIXED64:
                place += 8
            elif kind == _FIXED32:
                place += 4
            else:
                raise Refused("INVALID_ARGUMENT", BROKEN)
        if place != len(data):
            raise Refused("INVALID_ARGUMENT", BROKEN)
        parts.append(data[kept:])
        return Infer(ModelInferRequest.FromString(b"".join(parts)), tuple(sizes))
    except (IndexError, DecodeError) as error:
        raise Refused("INVALID_ARGUMENT", BROKEN) from error


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Gives the number at a place, and the place behind it."""
    value = data[place]
    place += 1
    if value < 0x80:
        return value, place
    value &= 0x7F
    for shift in range(7, 64, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise IndexError("a number of more than 64 bits")
