"""Requests over HTTP that no client should send, and connections that break."""

import contextlib
import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from i2i_rt.serving.gateway.http import BODY_S, HEADER_LENGTH
from tests.serving.reliability.case import Case, Seen, one
from tests.serving.reliability.target import LIMITS, Target, png

INFER = "/v2/models/cut-translate/infer"
IMAGE = "/v2/models/cut-image/infer"
JSON = {"Content-Type": "application/json"}
HEAD = b"POST " + IMAGE.encode() + b" HTTP/1.1\r\nHost: x\r\n"


def body_of(**changes: Any) -> bytes:
    """Gives the JSON of a request of one 16x16 frame, with changes of its input."""
    tensor = {"name": "frames", "datatype": "UINT8", "shape": [1, 16, 16, 3], "data": [7] * 768} | changes
    return json.dumps({"inputs": [tensor]}).encode()


def posted(
    name: str, body: Any, code: int = 400, *, path: str = INFER, method: str = "POST", headers: dict[str, str] = JSON
) -> Case:
    """A case with one request; the body may be a function, for what is too large to be made when this is imported."""

    def run(target: Target) -> Seen:
        content = body() if callable(body) else body
        return one(target.post(path, content, headers, method).code)

    return Case(name, frozenset({str(code)}), run)


def with_length(name: str, length: str) -> Case:
    """A case whose header says how much of the body is JSON."""
    return posted(name, body_of(), headers={HEADER_LENGTH: length})


def binary(name: str, size: Any) -> Case:
    """A case whose JSON says how many bytes behind it are a tensor's."""
    tensor = {"name": "frames", "datatype": "UINT8", "shape": [1, 16, 16, 3], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    return posted(name, head + bytes(768), headers={HEADER_LENGTH: str(len(head))})


def connected(name: str, data: bytes | Callable[[Target], bytes], *statuses: str) -> Case:
    """A case of bytes on a bare connection; where no answer is expected, the end of the connection follows them."""

    def run(target: Target) -> Seen:
        found = target.send(data(target) if callable(data) else data, ends=not statuses)
        return Seen(frozenset({found.split(b" ", 2)[1].decode()} if found.startswith(b"HTTP/1.") else set()))

    return Case(name, frozenset(statuses), run)


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def _chunks(piece: int, whole: bytes) -> Iterator[bytes]:
    for start in range(0, len(whole), piece):
        yield whole[start : start + piece]


def _in_chunks(target: Target) -> Seen:
    """A proper picture, in pieces of 64 bytes."""
    return one(target.post(IMAGE, _chunks(64, png(target.frames[0]))).code)


def _endless(target: Target) -> Seen:
    """Far more chunks than the largest request has."""
    with socket.create_connection(("127.0.0.1", target.served.http), timeout=20) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + bytes(2**16) + b"\r\n"
        with contextlib.suppress(OSError):  # it is closed on us
            for _ in range(2 * LIMITS.tensor_bytes // 2**16):
                connection.sendall(piece)
        return one(connection.recv(4096).split(b" ", 2)[1].decode())


def _idle_connections(target: Target) -> Seen:
    """Connections that send nothing, or half a request, hold nobody up."""
    connections = [socket.create_connection(("127.0.0.1", target.served.http)) for _ in range(200)]
    try:
        for connection in connections[::2]:
            connection.sendall(b"POST " + IMAGE.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nabc")
        started = time.monotonic()
        assert not target.problem()
        seconds = time.monotonic() - started
    finally:
        for connection in connections:
            connection.close()
    assert seconds < 5, f"answers took {seconds:.1f} s"
    return Seen(frozenset(), note="200 connections")


def _stalled(target: Target) -> Seen:
    """A body that does not arrive ends in a time-out."""
    with socket.create_connection(("127.0.0.1", target.served.http), timeout=BODY_S + 10) as connection:
        connection.sendall(b"POST " + IMAGE.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nabc")
        started = time.monotonic()
        status = connection.recv(4096).split(b" ", 2)[1].decode()
    return one(status, note=f"after {time.monotonic() - started:.0f} s")


def _half_body(target: Target) -> bytes:
    file = png(target.frames[0])
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (IMAGE.encode(), 2 * len(file)) + file


CASES = (
    posted("no JSON", b"frames"),
    posted("an empty body", b""),
    posted("a JSON list", b"[]"),
    posted("JSON that is not UTF-8", b'{"inputs": "\xff\xfe"}'),
    posted("JSON 100,000 levels deep", deep(100_000)),
    posted("data 900 levels deep", lambda: body_of(data=json.loads(deep(900)))),
    posted("no inputs in JSON", b"{}"),
    posted("inputs that are no list", b'{"inputs": {"name": "frames"}}'),
    posted("too few numbers in JSON", body_of(data=[7] * 767)),
    posted("a number that no byte holds", body_of(data=[256] * 768)),
    posted("a negative number for a byte", body_of(data=[-1] * 768)),
    posted("fractions for bytes", body_of(data=[0.5] * 768)),
    posted("NaN for bytes", body_of(data=[float("nan")] * 768)),
    posted("1e999 for bytes", body_of().replace(b"[7, 7,", b"[1e999, 7,")),
    posted("text for bytes", body_of(data=["seven"] * 768)),
    posted("lists of unequal lengths", body_of(data=[[7] * 767, [7]])),
    posted("a shape of text", body_of(shape=["1", "16", "16", "3"])),
    posted("a shape whose product overflows", body_of(shape=[1, 2**32, 2**32, 3], data=[])),
    posted("a shape beyond 64 bits", body_of(shape=[1, 2**64, 16, 3])),
    posted("a datatype that is a list", body_of(datatype=["UINT8"])),
    posted("half of a surrogate pair as a name", body_of(name="\ud800")),
    posted("a number as parameters", body_of(parameters=5)),
    with_length("a negative length of the JSON", "-1"),
    with_length("a length of the JSON beyond the body", "99999999"),
    with_length("1e30 as the length of the JSON", "1e30"),
    binary("a negative size of a tensor", -1),
    binary("a tensor larger than the body", 10**12),
    binary("true as a tensor's size", True),
    binary("bytes that belong to no tensor", 767),
    posted("64 MB of zeros in gzip", lambda: gzip.compress(bytes(2**26)), 501, headers={"Content-Encoding": "gzip"}),
    posted("a body over the limit", lambda: bytes(LIMITS.tensor_bytes * 2 + 2**24), 413, path=IMAGE, headers={}),
    posted("JSON over the limit", lambda: b" " * (2**24 + 1), 413),
    posted("an unknown model over HTTP", body_of(), 404, path="/v2/models/cut-dream/infer"),
    posted("a path out of the repository", body_of(), 404, path="/v2/models/..%2F..%2Fetc/infer"),
    posted("an unknown path", b"", 404, path="/v3"),
    posted("GET of an inference", b"", 405, method="GET"),
    posted("loading a model over HTTP without the key", b"", 403, path="/v2/repository/models/cut-translate/load"),
    posted("a header of 100 KB", body_of(), 400, headers={"X-Long": "x" * 100_000}),
    Case("a picture in chunks of 64 bytes", frozenset({"200"}), _in_chunks),
    Case("chunks without end", frozenset({"413"}), _endless),
    connected("bytes that are no HTTP", np.random.default_rng(3).bytes(2000), "400"),
    connected("half a request line", b"POST /v2/mod"),
    connected("a negative content length", HEAD + b"Content-Length: -5\r\n\r\nabc", "400"),
    connected("two content lengths", HEAD + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabc", "400"),
    connected("a broken chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", "400"),
    connected("half a body, then the end", _half_body),
    Case("200 connections that stall", frozenset(), _idle_connections),
    Case("a body that never arrives", frozenset({"504"}), _stalled, is_long=True),
)
