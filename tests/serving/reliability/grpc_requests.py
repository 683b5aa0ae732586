"""Requests over gRPC that no client should send: each is refused with its code, and the server computes on."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.serving.reliability.case import Case, Seen, one
from tests.serving.reliability.target import LIMITS, Target, regions, request

BAD = frozenset({"INVALID_ARGUMENT"})
LARGEST = 2**63 - 1
Edit = Callable[[Any], object]


def edited(
    name: str, edit: Edit, code: str = "INVALID_ARGUMENT", *, model: str = "cut-translate", **parameters: Any
) -> Case:
    """A case with a request that was proper before it was edited."""

    def run(target: Target) -> Seen:
        inputs = target.styled if model == "starganv2-pipeline" else {"frames": target.frames}
        made = request(model, inputs, **parameters)
        edit(made)
        return one(target.ask(made.SerializeToString()).code)

    return Case(name, frozenset({code}), run)


def shaped(name: str, *shape: int, content: bytes | None = b"") -> Case:
    """A case whose frames claim a shape; without content the bytes are left as they are."""

    def edit(made: Any) -> None:
        made.inputs[0].shape[:] = shape
        if content is not None:
            made.raw_input_contents[0] = content

    return edited(name, edit)


def values(name: str, tensor: str, *given: float, first: bool = True) -> Case:
    """A case of a stream whose first frame brings numbers that are none."""

    def run(target: Target) -> Seen:
        model = "starganv2-stream" if tensor == "style" else "cut-stream"
        given_ = np.array(given, np.float32)
        if tensor == "style":
            given_ = np.full(target.translators["starganv2"].style(seed=1, domain="cat").code.shape[-1], *given_)
        inputs = {"frame": target.frames[0], tensor: given_.astype(np.float32)}
        code, _ = target.asked(model, inputs, sequence_id=77, sequence_start=True, sequence_end=True)
        return one(code)

    return Case(name, BAD, run)


def sent(name: str, make: Callable[[bytes], Iterator[bytes]], codes: frozenset[str] = BAD) -> Case:
    """A case of many messages, each made from the bytes of a proper one."""

    def run(target: Target) -> Seen:
        whole = request("cut-translate", {"frames": target.frames}).SerializeToString()
        found, count = set(), 0
        for data in make(whole):
            found.add(target.ask(data).code)
            count += 1
        return Seen(frozenset(found), note=f"{count} messages")

    return Case(name, codes, run)


def truncated(whole: bytes) -> Iterator[bytes]:
    for end in (1, 2, 5, 14, 15, 16, 30, 40, 60, len(whole) // 2, len(whole) - 1):
        yield whole[:end]


def drawn(whole: bytes) -> Iterator[bytes]:
    """Bytes at random; as the tag of the first field is never drawn right, none of them is a request."""
    random = np.random.default_rng(11)
    for _ in range(60):
        yield b"\x0f" + random.bytes(int(random.integers(1, 300)))


def flipped(whole: bytes) -> Iterator[bytes]:
    """A proper request with wrong bytes in its head, which is in front of the tensors."""
    random = np.random.default_rng(12)
    for _ in range(60):
        data = bytearray(whole[:60])
        for place in random.integers(0, 60, 6):
            data[place] = random.integers(256)
        yield bytes(data) + whole[60:]


def nested(whole: bytes) -> Iterator[bytes]:
    """Groups in groups, as no message of ours has them, and lengths that are none."""
    yield b"\x0b" * 100_000
    yield b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    yield b"\x0a\xff\xff\xff\xff\x07"
    yield b"\x80" * 1000


def add(made: Any, **fields: Any) -> None:
    """Adds an input with no content of its own."""
    made.inputs.add(**fields)
    made.raw_input_contents.append(b"")


def _duplicate(made: Any) -> None:
    made.inputs.append(made.inputs[0])
    made.raw_input_contents.append(made.raw_input_contents[0])


def _typed(made: Any) -> None:
    """Gives the numbers in a list in place of bytes, too few of them."""
    del made.raw_input_contents[:]
    made.inputs[0].contents.uint_contents.extend([1, 2, 3])


def _parameters(made: Any) -> None:
    for number in range(20_000):
        made.parameters[f"p{number}"].string_param = "x" * 20


def _negative_seed(made: Any) -> None:
    made.raw_input_contents[1] = np.array([-3], np.int64).tobytes()


def _both_styles(made: Any) -> None:
    made.inputs.add(name="style_id", datatype="INT64", shape=[1])
    made.raw_input_contents.append(np.array([4], np.int64).tobytes())


def _only_id(made: Any) -> None:
    del made.inputs[1:]
    del made.raw_input_contents[1:]
    _both_styles(made)


def _float(made: Any) -> None:
    made.inputs[0].datatype = "FP32"
    made.raw_input_contents[0] = made.raw_input_contents[0] * 4


def _too_large(target: Target) -> Seen:
    frames = np.zeros((64, 512, 512, 3), np.uint8)
    return one(target.ask(request("cut-translate", {"frames": frames}).SerializeToString()).code)


def _compressed(target: Target) -> Seen:
    import grpc

    data = request("cut-translate", {"frames": np.zeros((4, 512, 512, 3), np.uint8)}).SerializeToString()
    return one(target.ask(data, compression=grpc.Compression.Gzip).code)


def _unknown_method(target: Target) -> Seen:
    codes = {target.ask(b"", method).code for method in ("ModelDream", "../ModelInfer", "")}
    return Seen(frozenset(codes))


def _closed(target: Target) -> Seen:
    """What loads code, maps memory or writes files."""
    from i2i_rt.serving.gateway.rpc import CLOSED

    codes = {target.ask(b"", method, key=key).code for method in CLOSED for key in ("", "wrong", "x" * 5000)}
    return Seen(frozenset(codes), note=f"{3 * len(CLOSED)} calls")


def _own_region(target: Target) -> Seen:
    """Reads the server's own memory through the tensor of a request, which needs no key of Triton's."""
    made = request("cut-translate", {"frames": target.frames})
    made.inputs[0].parameters["shared_memory_region"].string_param = regions(target.served)[0]
    made.inputs[0].parameters["shared_memory_byte_size"].int64_param = target.frames.nbytes
    del made.raw_input_contents[:]
    return one(target.ask(made.SerializeToString()).code)


def _not_grpc(target: Target) -> Seen:
    """Bytes that are no HTTP/2, on the port of gRPC."""
    random = np.random.default_rng(13)
    for data in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + bytes(512),
        random.bytes(4096),
        b"\x00",
    ):
        target.send(data, port=target.served.grpc)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    frames = (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", random.bytes(300))
    for frame in frames:
        target.send(preface + frame, port=target.served.grpc)
    return Seen(frozenset())


def _stream(target: Target) -> Seen:
    """Broken messages in a stream of requests; the proper one behind them is answered."""
    import grpc
    from tritonclient.grpc.service_pb2 import ModelStreamInferResponse

    whole = request("cut-translate", {"frames": target.frames}).SerializeToString()
    call = target.open_stream(iter([whole[:40], b"\xff" * 50, whole]))
    found = set()
    try:
        for data in call:
            found.add("OK" if not ModelStreamInferResponse.FromString(data).error_message else "error")
    except grpc.RpcError as error:
        found.add(error.code().name)
    return Seen(frozenset(found))


CASES = (
    shaped("rank 3", 64, 96, 3, content=None),
    shaped("rank 5", 1, 2, 64, 96, 3, content=None),
    shaped("no dimensions", content=None),
    shaped("a dimension of zero", 0, 64, 96, 3),
    shaped("a negative dimension", -1, 64, 96, 3),
    shaped("sides of 100,000", 1, 100_000, 100_000, 3),
    shaped("more pixels than the limit, all bytes sent", 1, 576, 512, 3, content=bytes(576 * 512 * 3)),
    shaped("a batch over the limit", LIMITS.batch + 1, 16, 16, 3, content=bytes((LIMITS.batch + 1) * 16 * 16 * 3)),
    shaped("dimensions whose product overflows to 0", 1, 2**32, 2**32, 3),
    shaped("dimensions whose product overflows to a small number", 3, 2**62 + 1, 4, 3, content=bytes(36)),
    shaped("the largest dimensions there are", LARGEST, LARGEST, LARGEST, LARGEST),
    shaped("sides that the network does not take", 2, 62, 96, 3, content=bytes(2 * 62 * 96 * 3)),
    shaped("four channels", 2, 64, 96, 4, content=bytes(2 * 64 * 96 * 4)),
    edited("float32 in place of uint8", _float),
    edited("bytes of another datatype", lambda made: setattr(made.inputs[0], "datatype", "FP32")),
    edited("a datatype that does not exist", lambda made: setattr(made.inputs[0], "datatype", "FLOAT9")),
    edited("strings", lambda made: setattr(made.inputs[0], "datatype", "BYTES")),
    edited("a byte too few", lambda made: made.raw_input_contents.__setitem__(0, made.raw_input_contents[0][:-1])),
    edited("a byte too many", lambda made: made.raw_input_contents.__setitem__(0, made.raw_input_contents[0] + b"x")),
    edited("no bytes at all", lambda made: made.ClearField("raw_input_contents")),
    edited("numbers in a list, too few", _typed),
    edited("the tensor's bytes twice", lambda made: made.raw_input_contents.append(made.raw_input_contents[0])),
    edited("no input", lambda made: (made.ClearField("inputs"), made.ClearField("raw_input_contents"))),
    edited("an input too many", lambda made: add(made, name="extra", datatype="UINT8", shape=[0])),
    edited("an input twice", _duplicate),
    edited("an unknown input", lambda made: setattr(made.inputs[0], "name", "picture")),
    edited("an unknown output", lambda made: made.outputs.add(name="picture")),
    edited("an input's name of a megabyte", lambda made: setattr(made.inputs[0], "name", "x" * 2**20)),
    edited("20,000 parameters", _parameters, "OK"),
    edited("an unknown model", lambda made: setattr(made, "model_name", "cut-dream"), "NOT_FOUND"),
    edited("a model's name of a megabyte", lambda made: setattr(made, "model_name", "x" * 2**20), "NOT_FOUND"),
    edited("an unknown version", lambda made: setattr(made, "model_version", "7"), "NOT_FOUND"),
    edited("a version that is no number", lambda made: setattr(made, "model_version", "../1")),
    edited("a negative seed", _negative_seed, model="starganv2-pipeline"),
    edited("two styles at once", _both_styles, model="starganv2-pipeline"),
    edited("a style that is not known", _only_id, "NOT_FOUND", model="starganv2-pipeline"),
    values("a momentum that is NaN", "momentum", np.nan),
    values("a momentum of 1", "momentum", 1.0),
    values("a style of NaN", "style", np.nan),
    values("a style of infinities", "style", np.inf),
    sent("truncated protobufs", truncated),
    sent("random bytes as protobufs", drawn),
    sent("nested groups and endless numbers as protobufs", nested),
    Case("broken messages in a stream of requests", frozenset({"OK", "error"}), _stream),
    Case("a message larger than any model takes", frozenset({"RESOURCE_EXHAUSTED"}), _too_large),
    Case("a compressed message", frozenset({"UNIMPLEMENTED"}), _compressed),
    Case("unknown methods", frozenset({"UNIMPLEMENTED"}), _unknown_method),
    Case(
        "model control, shared memory, tracing and logging without the key", frozenset({"PERMISSION_DENIED"}), _closed
    ),
    Case("the server's own shared memory as a tensor", frozenset({"PERMISSION_DENIED"}), _own_region),
    Case("bytes that are no HTTP/2 on the gRPC port", frozenset(), _not_grpc),
)
