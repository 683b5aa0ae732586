"""Requests with their right answers, of every kind that the models of a bundle take."""

import io
import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from i2i_rt.benchmarks.inputs import sample_frames, sample_labels
from i2i_rt.benchmarks.serving.load import OK, Call
from i2i_rt.benchmarks.serving.mixed import Question
from i2i_rt.benchmarks.serving.wire import (
    GrpcWire,
    HttpWire,
    SharedMemoryWire,
    grpc_tensors,
    holds,
    infer_request,
)
from i2i_rt.serving.backend.styles import style_id
from i2i_rt.style import Style
from i2i_rt.translator import Translator
from i2i_rt.video.stills import Still, decode_still, encode_still

SIDES = ((64, 64), (64, 96), (128, 96))
ODD_SIDES = ((61, 83), (100, 64))
FRAMES_OF_A_STREAM = 3
FILE_TOLERANCE = 0.5  # mean difference in levels between two decoded files: codecs round on their own
HEADER_LENGTH = "Inference-Header-Content-Length"  # of the JSON in front of the binary data


class Asker:
    """Makes questions for the models of one bundle.

    Attributes:
        name: of the bundle on the server.
        translator: what the server runs, in this process.
        grpc, http, shared: the ways to the server.
    """

    def __init__(
        self, name: str, translator: Translator, grpc: GrpcWire, http: HttpWire, shared: SharedMemoryWire
    ) -> None:
        assert translator.bundle is not None
        self.name, self.translator, self.bundle = name, translator, translator.bundle
        self.grpc, self.http, self._shared = grpc, http, shared
        self.source, *others = self.bundle.stages["translate"].inputs
        self._has_edges = any(tensor.name == "edges" for tensor in others)
        style = self.bundle.style
        self._domains = style.domains if style is not None else ()
        self._sequences = itertools.count(1_000_000 * (1 + sum(name.encode())))

    async def questions(self) -> list[Question]:
        """Gives requests of every kind, with their answers."""
        found = [*(await self._translations()), *self._files(), self._stream()]
        return [*found, *self._styles(), *self._pipelines()] if self.translator.has_style else found

    def pictures(self, height: int, width: int, count: int) -> np.ndarray:
        """Gives frames `[N, H, W, 3]` or label maps `[N, H, W]`."""
        if self.bundle.labels is not None:
            return sample_labels(self.bundle.labels, height, width, count)
        return sample_frames(height, width, count)

    def inputs(self, height: int, width: int, count: int, seed: int) -> dict[str, np.ndarray]:
        """Gives inputs of the graph itself, of a size that it takes."""
        axes = {axis.name: axis for axis in self.source.axes}
        inputs = {self.source.name: self.pictures(axes["H"].fit(height), axes["W"].fit(width), count)}
        if self._has_edges:
            inputs["edges"] = np.zeros_like(inputs[self.source.name])
        if (style := self._style(seed)) is not None:
            inputs["style"] = np.repeat(style.code[None], count, axis=0)
        return inputs

    def _style(self, seed: int) -> Style | None:
        """Draws a style of the last domain; None where the system has none."""
        if not self.translator.has_style:
            return None
        return self.translator.style(seed=seed, domain=self._domains[-1] if self._domains else None)

    def _makers(self, seed: int) -> dict[str, np.ndarray]:
        """Gives the inputs that ask for the same style."""
        domain = {"domain": np.array([len(self._domains) - 1])} if self._domains else {}
        return {"seed": np.array([seed]), **domain}

    def _id(self, makers: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.array([style_id(self.bundle.weights_sha256(), makers)])

    def _ask(self, model: str, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> Call:
        return self.grpc.raw(infer_request(model, inputs).SerializeToString(), partial(_answers, expected))

    async def _translations(self) -> list[Question]:
        """Asks the graph itself: batches, sizes, every way to the server."""
        found, model = [], f"{self.name}-translate"
        for number, (height, width) in enumerate(SIDES):
            inputs = self.inputs(height, width, number + 1, seed=number)
            pictures = inputs[self.source.name]
            expected = {"translated": self.translator(pictures, self._style(number))}
            what = f"{model}, {len(pictures)} of {pictures.shape[1]}x{pictures.shape[2]}"
            for name, wire in (("gRPC", self.grpc), ("HTTP", self.http), ("shared memory", self._shared)):
                call = await wire.call(model, inputs, expected, in_flight=2)
                found.append(Question(f"{what} over {name}", call))
        return found

    def _files(self) -> list[Question]:
        """Sends pictures as files: in a tensor, and as curl does."""
        found, model = [], f"{self.name}-image"
        style = self._default_style()
        for kind in ("PNG",) if self.bundle.labels is not None else ("JPEG", "PNG", "WEBP"):
            picture = self.pictures(*ODD_SIDES[0], 1)[0]
            content = file_of(picture, kind)
            # a lossy file does not hold the picture that it was made of
            read = picture if self.bundle.labels is not None else decode_still(content, kind).image
            wanted = encode_still(Still(self.translator(read, style), None, None, ()), kind)
            message = infer_request(model, {"image": np.frombuffer(content, np.uint8)}).SerializeToString()
            over_grpc = self.grpc.raw(message, partial(_is_file, wanted))
            over_http = self.http.raw(model, content, {HEADER_LENGTH: "0"}, partial(_is_body, wanted))
            found += [Question(f"{model}, {kind} in a tensor", over_grpc), Question(f"{model}, {kind}", over_http)]
        return found

    def _default_style(self) -> Style | None:
        """Gives the style of files, which name none."""
        if not self.translator.has_style:
            return None
        return self.translator.style(domain=self._domains[0] if self._domains else None)

    def _stream(self) -> Question:
        """Sends the frames of a short video, in order."""
        frames = self.pictures(*ODD_SIDES[1], FRAMES_OF_A_STREAM)
        start = self._makers(3) if self.translator.has_style else {}
        expected = self.translator(frames, self._style(3))
        model, last = f"{self.name}-stream", len(frames) - 1

        async def ask() -> str:
            sequence = next(self._sequences)
            for number, frame in enumerate(frames):
                request = infer_request(model, {"frame": frame, **(start if number == 0 else {})})
                request.parameters["sequence_id"].int64_param = sequence
                request.parameters["sequence_start"].bool_param = number == 0
                request.parameters["sequence_end"].bool_param = number == last
                wanted = {"translated": expected[number]}
                code = await self.grpc.raw(request.SerializeToString(), partial(_answers, wanted))()
                if code != OK:
                    return f"{code} at frame {number}"
            return OK

        return Question(f"{model}, {len(frames)} frames", ask)

    def _styles(self) -> list[Question]:
        """Asks for style codes."""
        found, model = [], f"{self.name}-style"
        for seed in range(2):
            makers, style = self._makers(seed), self._style(seed)
            assert style is not None
            expected = {"style": style.code, "style_id": self._id(makers)}
            found.append(Question(f"{model}, seed {seed}", self._ask(model, makers, expected)))
        return found

    def _pipelines(self) -> list[Question]:
        """Asks for frames of odd sizes in styles of the same request."""
        found, model = [], f"{self.name}-pipeline"
        for seed, size in enumerate(ODD_SIDES):
            frames, makers = self.pictures(*size, seed + 1), self._makers(seed)
            expected = {"translated": self.translator(frames, self._style(seed)), "style_id": self._id(makers)}
            call = self._ask(model, {self.source.name: frames, **makers}, expected)
            found.append(Question(f"{model}, {len(frames)} of {size[0]}x{size[1]}", call))
        return found


def file_of(picture: np.ndarray, kind: str = "PNG") -> bytes:
    """Gives a picture `[H, W, 3]`, or a label map `[H, W]` as PNG, as the bytes of a file."""
    if picture.ndim == 3:
        return encode_still(Still(picture, None, None, ()), kind)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


def same_file(content: bytes, wanted: bytes) -> bool:
    """Says whether two files hold the same picture, but for what their codec rounds."""
    if content == wanted:
        return True
    first, second = (Image.open(io.BytesIO(file)) for file in (content, wanted))
    if (first.format, first.size) != (second.format, second.size):
        return False
    difference = np.asarray(first.convert("RGB"), np.float64) - np.asarray(second.convert("RGB"), np.float64)
    return bool(np.abs(difference).mean() <= FILE_TOLERANCE)


def _answers(expected: Mapping[str, np.ndarray], answer: Any) -> bool:
    return holds(grpc_tensors(answer), expected)


def _is_file(wanted: bytes, answer: Any) -> bool:
    return same_file(answer.raw_output_contents[0], wanted)


def _is_body(wanted: bytes, headers: Mapping[str, str], body: bytes) -> bool:
    return same_file(body[int(headers.get(HEADER_LENGTH, 0)) :], wanted)
