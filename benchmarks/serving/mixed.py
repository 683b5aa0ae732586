"""Thousands of requests of every kind in one run: right ones, whose answers are known, and 5 % malformed ones.

A request counts as right where its answer is the one of a `Translator` in this process with the same artifact, or
where it is malformed and refused with the code that says so.
"""

import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from i2i_rt.benchmarks.inputs import sample_frames, sample_labels
from i2i_rt.benchmarks.serving.load import OK, Call, closed_loop
from i2i_rt.benchmarks.serving.processes import Processes
from i2i_rt.benchmarks.serving.wire import GrpcWire, HttpWire, SharedMemoryWire, infer_request
from i2i_rt.serving.backend.styles import style_id
from i2i_rt.style import Style
from i2i_rt.translator import Translator
from i2i_rt.video.stills import Still, decode_still, encode_still

MALFORMED = 0.05  # of all requests
SIDES = ((64, 64), (64, 96), (128, 96))
ODD_SIDES = ((61, 83), (100, 64))
FRAMES_OF_A_STREAM = 3
FILE_TOLERANCE = 0.5  # mean difference in levels between two decoded files: codecs round on their own


@dataclass(frozen=True)
class Question:
    """A request, what it is, and the code that it must be answered with; a right answer is checked by the call."""

    kind: str
    call: Call
    wanted: str = OK

    async def __call__(self) -> str:
        code = await self.call()
        return OK if code == self.wanted else f"{self.kind}: {code} instead of {self.wanted}"


@dataclass(frozen=True)
class Outcome:
    """What came out: how many were asked of each kind, what was wrong, and the server's memory on the way.

    Attributes:
        asked: requests by kind.
        wrong: how often something other than the right answer came, by what it was.
        memory_mib: by part, after each stretch of requests.
        settled: which of these readings the growth begins at.
    """

    asked: Mapping[str, int]
    wrong: Mapping[str, int]
    memory_mib: tuple[Mapping[str, float], ...]
    settled: int

    @property
    def growth(self) -> float:
        """The most that the server's memory grew by since it had settled, as a share."""
        totals = [sum(reading.values()) for reading in self.memory_mib]
        return max(totals[self.settled :]) / totals[self.settled] - 1


async def ask_all(
    questions: Iterator[Question], processes: Processes, *, count: int, settled: int, stretch: int, concurrency: int
) -> Outcome:
    """Asks `count` questions, so many at a time, and reads the server's memory after every `stretch`."""
    asked: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    memory = []
    for _ in range(count // stretch):
        part = list(itertools.islice(questions, stretch))
        asked.update(question.kind for question in part)
        samples = await closed_loop(iter(part), concurrency=concurrency)
        wrong.update(sample.code for sample in samples if sample.code != OK)
        memory.append(processes.memory_mib())
    return Outcome(dict(asked), dict(wrong), tuple(memory), settled // stretch - 1)


def mixed(right: Sequence[Question], malformed: Sequence[Question], *, seed: int = 0) -> Iterator[Question]:
    """Draws questions without end, 5 % of them malformed."""
    random = np.random.default_rng(seed)
    while True:
        pool = malformed if random.random() < MALFORMED else right
        yield pool[random.integers(len(pool))]


class Asker:
    """Makes questions for the models of one bundle.

    Attributes:
        name: of the bundle on the server.
    """

    def __init__(
        self, name: str, translator: Translator, grpc: GrpcWire, http: HttpWire, shared: SharedMemoryWire
    ) -> None:
        assert translator.bundle is not None
        self.name, self._translator, self._bundle = name, translator, translator.bundle
        self._grpc, self._http, self._shared = grpc, http, shared
        self._source = self._bundle.stages["translate"].inputs[0]
        self._sequences = itertools.count(1_000_000 * (1 + sum(name.encode())))

    async def right(self) -> list[Question]:
        """Gives requests of every kind that the bundle has, with their answers."""
        found = [*(await self._translations()), *self._files(), self._stream()]
        return [*found, *self._styles(), *self._pipelines()] if self._translator.has_style else found

    def _pictures(self, height: int, width: int, count: int) -> np.ndarray:
        """Gives frames `[N, H, W, 3]` or label maps `[N, H, W]`."""
        if self._bundle.labels is not None:
            return sample_labels(self._bundle.labels, height, width, count)
        return sample_frames(height, width, count)

    def _style(self, seed: int) -> Style | None:
        return self._translator.style(seed=seed, domain=self._domain) if self._translator.has_style else None

    @property
    def _domain(self) -> str | None:
        style = self._bundle.style
        return style.domains[-1] if style is not None and style.domains else None

    def _makers(self, seed: int) -> dict[str, np.ndarray]:
        """Gives the inputs that ask for the style of a seed."""
        style = self._bundle.style
        domain = {"domain": np.array([len(style.domains) - 1])} if style is not None and style.domains else {}
        return {"seed": np.array([seed]), **domain}

    async def _translations(self) -> list[Question]:
        """Asks the graph itself: batches, sizes that it takes, every way to the server."""
        found, axes = [], {axis.name: axis for axis in self._source.axes}
        model = f"{self.name}-translate"
        for number, (height, width) in enumerate(SIDES):
            size, count = (axes["H"].fit(height), axes["W"].fit(width)), number + 1
            pictures, style = self._pictures(*size, count), self._style(number)
            inputs = {self._source.name: pictures}
            if style is not None:
                inputs["style"] = np.repeat(style.code[None], count, axis=0)
            if any(tensor.name == "edges" for tensor in self._bundle.stages["translate"].inputs):
                inputs["edges"] = np.zeros_like(pictures)
            expected = {"translated": self._translator(pictures, style)}
            for name, wire in (("gRPC", self._grpc), ("HTTP", self._http), ("shared memory", self._shared)):
                call = await wire.call(model, inputs, expected, in_flight=2)
                found.append(Question(f"{model}, {count} of {size[0]}x{size[1]} over {name}", call))
        return found

    def _files(self) -> list[Question]:
        """Sends pictures as files: over gRPC, and as curl does."""
        found = []
        picture = self._pictures(*ODD_SIDES[0], 1)[0]
        for kind in ("PNG",) if self._bundle.labels is not None else ("JPEG", "PNG", "WEBP"):
            still = Still(picture, None, None, ())
            content = _file_of(picture) if self._bundle.labels is not None else encode_still(still, kind)
            read = picture if self._bundle.labels is not None else decode_still(content, "the picture").image
            style = self._translator.style(domain=self._first_domain) if self._translator.has_style else None
            wanted = encode_still(Still(self._translator(read, style), None, None, ()), kind)
            model, tensor = f"{self.name}-image", np.frombuffer(content, np.uint8)
            message = infer_request(model, {"image": tensor}).SerializeToString()
            over_grpc = self._grpc.raw(
                message, lambda answer, wanted=wanted: same_file(answer.raw_output_contents[0], wanted)
            )
            over_http = self._http.raw(
                model,
                content,
                {"Inference-Header-Content-Length": "0"},
                lambda headers, body, wanted=wanted: same_file(
                    body[int(headers.get("Inference-Header-Content-Length", 0)) :], wanted
                ),
            )
            found += [Question(f"{model}, {kind} over gRPC", over_grpc), Question(f"{model}, {kind} by HTTP", over_http)]
        return found

    @property
    def _first_domain(self) -> str | None:
        style = self._bundle.style
        return style.domains[0] if style is not None and style.domains else None

    def _stream(self) -> Question:
        """Sends the frames of a short video, in order."""
        frames, start = self._pictures(*ODD_SIDES[1], FRAMES_OF_A_STREAM), {}
        if self._translator.has_style:
            start = self._makers(3)
        expected = self._translator(frames, self._style(3))
        model = f"{self.name}-stream"

        async def ask() -> str:
            sequence = next(self._sequences)
            for number, frame in enumerate(frames):
                request = infer_request(model, {"frame": frame, **(start if number == 0 else {})})
                request.parameters["sequence_id"].int64_param = sequence
                request.parameters["sequence_start"].bool_param = number == 0
                request.parameters["sequence_end"].bool_param = number == len(frames) - 1
                call = self._grpc.raw(request.SerializeToString(), _holder({"translated": expected[number]}))
                code = await call()
                if code != OK:
                    return f"{code} at frame {number}"
            return OK

        return Question(f"{model}, {len(frames)} frames", ask)

    def _styles(self) -> list[Question]:
        """Asks for style codes."""
        found, model = [], f"{self.name}-style"
        for seed in range(2):
            inputs, style = self._makers(seed), self._style(seed)
            assert style is not None
            expected = {"style": style.code, "style_id": self._id(inputs)}
            found.append(Question(f"{model}, a seed", self._ask(model, inputs, expected)))
        return found

    def _pipelines(self) -> list[Question]:
        """Asks for frames of odd sizes in styles of the same request."""
        found, model = [], f"{self.name}-pipeline"
        for seed, size in enumerate(ODD_SIDES):
            frames, inputs = self._pictures(*size, seed + 1), self._makers(seed)
            expected = {"translated": self._translator(frames, self._style(seed)), "style_id": self._id(inputs)}
            call = self._ask(model, {self._source.name: frames, **inputs}, expected)
            found.append(Question(f"{model}, {len(frames)} of {size[0]}x{size[1]}", call))
        return found

    def _id(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.array([style_id(self._bundle.weights_sha256(), inputs)])

    def _ask(self, model: str, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> Call:
        return self._grpc.raw(infer_request(model, inputs).SerializeToString(), _holder(expected))

    def malformed(self) -> list[Question]:
        """Gives requests that must be refused, with the codes that say so."""
        model = f"{self.name}-translate"
        axes = {axis.name: axis for axis in self._source.axes}
        pictures = self._pictures(axes["H"].fit(64), axes["W"].fit(64), 1)
        style = self._style(0)
        others = {} if style is None else {"style": style.code[None]}
        if any(tensor.name == "edges" for tensor in self._bundle.stages["translate"].inputs):
            others["edges"] = np.zeros_like(pictures)
        name = self._source.name
        good = infer_request(model, {name: pictures, **others})

        def changed(change: Callable[[object], None]) -> bytes:
            request = type(good)()
            request.CopyFrom(good)
            change(request)
            return bytes(request.SerializeToString())

        shape = list(pictures.shape)

        def reshaped(*lengths: int, content: bytes = b"") -> bytes:
            def change(request: object) -> None:
                request.inputs[0].shape[:] = lengths  # type: ignore[attr-defined]
                request.raw_input_contents[0] = content  # type: ignore[attr-defined]

            return changed(change)

        messages = {
            "a missing axis": (reshaped(*shape[1:], content=pictures.tobytes()), "INVALID_ARGUMENT"),
            "half of the bytes": (reshaped(*shape, content=pictures.tobytes()[::2]), "INVALID_ARGUMENT"),
            "dimensions that overflow": (reshaped(1, 2**32, 2**32, *shape[3:]), "INVALID_ARGUMENT"),
            "a negative dimension": (reshaped(1, -64, -64, *shape[3:]), "INVALID_ARGUMENT"),
            "no pixels": (reshaped(1, 0, 0, *shape[3:]), "INVALID_ARGUMENT"),
            "another datatype": (changed(lambda r: setattr(r.inputs[0], "datatype", "FP32")), "INVALID_ARGUMENT"),  # type: ignore[attr-defined]
            "an unknown input": (changed(lambda r: setattr(r.inputs[0], "name", "nothing")), "INVALID_ARGUMENT"),  # type: ignore[attr-defined]
            "an unknown model": (changed(lambda r: setattr(r, "model_name", "nobody")), "NOT_FOUND"),
            "half of a message": (good.SerializeToString()[: good.ByteSize() // 2], "INVALID_ARGUMENT"),
            "random bytes": (np.random.default_rng(0).bytes(1000), "INVALID_ARGUMENT"),
            "no file": (
                infer_request(f"{self.name}-image", {"image": np.arange(99, dtype=np.uint8)}).SerializeToString(),
                "INVALID_ARGUMENT",
            ),
            "half of a file": (
                infer_request(
                    f"{self.name}-image", {"image": np.frombuffer(_file_of(pictures[0])[:900], np.uint8)}
                ).SerializeToString(),
                "INVALID_ARGUMENT",
            ),
            "a frame of no sequence": (
                infer_request(f"{self.name}-stream", {"frame": pictures[0]}).SerializeToString(),
                "INVALID_ARGUMENT",
            ),
        }
        if self._translator.has_style:
            pipeline = {name: pictures, "style_id": np.array([1])}
            messages["an unknown style"] = (
                infer_request(f"{self.name}-pipeline", pipeline).SerializeToString(),
                "NOT_FOUND",
            )
            messages["a missing style"] = (infer_request(model, {name: pictures}).SerializeToString(), "INVALID_ARGUMENT")
        bodies = {
            "no JSON": (model, b"{", {}, "INVALID_ARGUMENT"),
            "a header longer than the body": (
                model, b"{}", {"Inference-Header-Content-Length": "99999"}, "INVALID_ARGUMENT",
            ),
            "an unknown model by HTTP": ("nobody", b"{}", {}, "NOT_FOUND"),
        }  # fmt: skip
        over_grpc = (Question(kind, self._grpc.raw(data, _never), code) for kind, (data, code) in messages.items())
        over_http = (
            Question(kind, self._http.raw(model, body, headers, _never), code)
            for kind, (model, body, headers, code) in bodies.items()
        )
        return [*over_grpc, *over_http]


def same_file(content: bytes, wanted: bytes) -> bool:
    """Says whether two files hold the same picture, but for what their codec rounds."""
    if content == wanted:
        return True
    first, second = (Image.open(io.BytesIO(file)) for file in (content, wanted))
    if (first.format, first.size) != (second.format, second.size):
        return False
    difference = np.asarray(first.convert("RGB"), np.float64) - np.asarray(second.convert("RGB"), np.float64)
    return bool(np.abs(difference).mean() <= FILE_TOLERANCE)


def _file_of(picture: np.ndarray) -> bytes:
    """Gives a picture or a label map as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _holder(expected: Mapping[str, np.ndarray]) -> Callable[[object], bool]:
    from i2i_rt.benchmarks.serving.wire import grpc_tensors, holds

    return lambda answer: holds(grpc_tensors(answer), expected)


def _never(*answer: object) -> bool:
    """Judges the answer to a request that should have none."""
    return False
