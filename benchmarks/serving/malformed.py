"""Requests that must be refused, and the codes that say so."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from i2i_rt.benchmarks.serving.mixed import Question
from i2i_rt.benchmarks.serving.questions import HEADER_LENGTH, Asker, file_of
from i2i_rt.benchmarks.serving.wire import infer_request

INVALID, UNKNOWN = "INVALID_ARGUMENT", "NOT_FOUND"


def malformed(asker: Asker) -> list[Question]:
    """Gives malformed requests for the models of a bundle."""
    over_grpc = [*_changed(asker), *_of_other_models(asker)]
    if asker.translator.has_style:
        over_grpc += _of_styles(asker)
    questions = [Question(what, asker.grpc.raw(message, _never), code) for what, message, code in over_grpc]
    for what, model, body, headers, code in (
        ("no JSON", f"{asker.name}-translate", b"{", {}, INVALID),
        ("a header longer than the body", f"{asker.name}-translate", b"{}", {HEADER_LENGTH: "99999"}, INVALID),
        ("an unknown model by HTTP", "nobody", b"{}", {}, UNKNOWN),
    ):
        questions.append(Question(what, asker.http.raw(model, body, headers, _never), code))
    return questions


def _changed(asker: Asker) -> Iterator[tuple[str, bytes, str]]:
    """Changes one thing of a request that would be right."""
    inputs = asker.inputs(64, 64, 1, seed=0)
    good = infer_request(f"{asker.name}-translate", inputs)
    content = inputs[asker.source.name].tobytes()
    shape = list(inputs[asker.source.name].shape)
    depth = shape[3:]

    def changed(change: Callable[[Any], object]) -> bytes:
        request = type(good)()
        request.CopyFrom(good)
        change(request)
        return bytes(request.SerializeToString())

    def holding(lengths: list[int], data: bytes) -> bytes:
        def change(request: Any) -> None:
            request.inputs[0].shape[:] = lengths
            request.raw_input_contents[0] = data

        return changed(change)

    yield "a missing axis", holding(shape[1:], content), INVALID
    yield "half of the bytes", holding(shape, content[::2]), INVALID
    yield "dimensions that overflow", holding([1, 2**32, 2**32, *depth], b""), INVALID
    yield "a negative dimension", holding([1, -64, -64, *depth], content), INVALID
    yield "no pixels", holding([1, 0, 0, *depth], b""), INVALID
    yield "another datatype", changed(lambda request: setattr(request.inputs[0], "datatype", "FP32")), INVALID
    yield "an unknown input", changed(lambda request: setattr(request.inputs[0], "name", "nothing")), INVALID
    yield "an unknown model", changed(lambda request: setattr(request, "model_name", "nobody")), UNKNOWN
    yield "half of a message", good.SerializeToString()[: good.ByteSize() // 2], INVALID
    yield "random bytes", np.random.default_rng(0).bytes(1000), INVALID


def _of_other_models(asker: Asker) -> Iterator[tuple[str, bytes, str]]:
    picture = asker.pictures(64, 64, 1)[0]
    file = file_of(picture)

    def sent(content: bytes) -> bytes:
        request = infer_request(f"{asker.name}-image", {"image": np.frombuffer(content, np.uint8)})
        return bytes(request.SerializeToString())

    yield "no file", sent(bytes(range(99))), INVALID
    yield "half of a file", sent(file[: len(file) // 2]), INVALID
    frame = infer_request(f"{asker.name}-stream", {"frame": picture})
    yield "a frame of no sequence", frame.SerializeToString(), INVALID


def _of_styles(asker: Asker) -> Iterator[tuple[str, bytes, str]]:
    frames = asker.inputs(64, 64, 1, seed=0)[asker.source.name]
    name = asker.source.name
    unknown = infer_request(f"{asker.name}-pipeline", {name: frames, "style_id": np.array([1])})
    yield "an unknown style", unknown.SerializeToString(), UNKNOWN
    missing = infer_request(f"{asker.name}-translate", {name: frames})
    yield "a missing style", missing.SerializeToString(), INVALID


def _never(*answer: object) -> bool:
    """Judges the answer to a request that must have none."""
    return False
