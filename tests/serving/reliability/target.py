"""The service that the cases are run against, how it is asked, and what it must answer."""

import http.client
import io
import shutil
import socket
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
from PIL import Image

from i2i_rt.bundle import Bundle
from i2i_rt.serving.config import Queue, add_dynamic_batching, read_config, served_model, set_parameter, write_config
from i2i_rt.serving.datatypes import DATATYPES, DTYPES
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.repository import Repository, write_repository
from i2i_rt.serving.served import PARAMETER
from i2i_rt.translator import Translator
from tests.serving.conftest import Served

NAMES = ("cut", "starganv2")
LIMITS = Limits(side=1024, pixels=512 * 512, batch=4, file_bytes=2**20)
MAX_IN_FLIGHT = 8
SLOW_S = 0.4  # that `patient-translate` takes for a request
SHORT_QUEUE = Queue(size=3, timeout_s=1.0)
QUEUED_S = 2.0  # that `slow-translate` takes for one: a busy machine may be late, and the queue's time-out still comes
METHODS = "/inference.GRPCInferenceService/"
SLOW_MODEL = """
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "code"))

from i2i_rt.serving.backend.stage import StageModel


class TritonPythonModel(StageModel):
    def answer(self, inputs, request):
        time.sleep({seconds})
        return super().answer(inputs, request)
"""


@dataclass(frozen=True)
class Answer:
    """What came back: a code of gRPC by name or of HTTP by number, the message or body, and after how many seconds."""

    code: str
    content: bytes
    words: str
    seconds: float


@dataclass(frozen=True)
class State:
    """What a service holds just now; the requests, processes of models and regions of shared memory are counted."""

    restarts: int
    in_flight: int
    processes: int
    regions: int


class Target:
    """`i2i-rt serve` over bundles of two systems, with two models more that are slow.

    `slow-translate` has a short queue of the server's and the two instances that such a queue needs (see
    `add_dynamic_batching`), `patient-translate` is bounded by the gateway alone. Cases may do to the service what they
    want; it must be as before when they have ended.

    Attributes:
        folder, bundles: as given.
        served: the running service.
        repository: what it serves.
        frames, styled: requests of `cut-translate` and `starganv2-pipeline`, whose answers are known.
    """

    def __init__(self, bundles: Mapping[str, Bundle], folder: Path, served: Sequence[str] = NAMES) -> None:
        """Starts it and waits until it is ready.

        Args:
            bundles: by the names of their systems; those of `NAMES` at least.
            folder: gets its files.
            served: which of them are served.
        """
        self.folder, self.bundles = folder, {name: bundles[name] for name in NAMES}
        self.repository = write_slow_repository({name: bundles[name] for name in served}, folder / "repository")
        random = np.random.default_rng(5)
        self.frames = random.integers(0, 256, (2, 64, 96, 3), np.uint8)
        self.styled = {"frames": self.frames[:1], "seed": np.array([3], np.int64), "domain": np.array([1], np.int64)}
        self.translators = {
            name: Translator.load(bundle.path, backend="onnxruntime", threads=1)
            for name, bundle in self.bundles.items()
        }
        style = self.translators["starganv2"].style(seed=3, domain="dog")
        self._right = {
            "cut-translate": self.translators["cut"](self.frames),
            "starganv2-pipeline": self.translators["starganv2"](self.frames[:1], style),
        }
        self.served = start_service(self.repository, folder)
        self._channel: Any = None
        try:
            self.served.wait_for("ready in")
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        import grpc

        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.served.grpc}", [*options, ("grpc.enable_retries", 0)])

    @property
    def key(self) -> str:
        """The administrator's."""
        return self.served.key_file.read_text().strip()

    def ask(
        self, data: bytes, method: str = "ModelInfer", *, timeout: float = 30.0, key: str = "", **options: Any
    ) -> Answer:
        """Sends bytes as the message of a gRPC call."""
        import grpc

        started = time.monotonic()
        metadata = (("i2i-rt-key", key),) if key else ()
        try:
            found = self._channel.unary_unary(METHODS + method)(data, timeout=timeout, metadata=metadata, **options)
        except grpc.RpcError as error:
            return Answer(error.code().name, b"", error.details() or "", time.monotonic() - started)
        return Answer("OK", found, "", time.monotonic() - started)

    def begin(self, data: bytes, *, timeout: float = 30.0) -> Any:
        """Begins a gRPC call, which can be cancelled."""
        return self._channel.unary_unary(METHODS + "ModelInfer").future(data, timeout=timeout)

    def open_stream(self, messages: Iterator[bytes]) -> Any:
        """Opens a stream of inference requests, and gives the answers as they come."""
        return self._channel.stream_stream(METHODS + "ModelStreamInfer")(messages, timeout=30)

    def asked(self, model: str, inputs: Mapping[str, np.ndarray], **parameters: Any) -> tuple[str, np.ndarray]:
        """Gives the code, and the output `translated` (empty where there is none) of a proper request."""
        answer = self.ask(request(model, inputs, **parameters).SerializeToString())
        return answer.code, translated(answer)

    def post(
        self, path: str, body: Any = b"", headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer:
        """Sends a request to the HTTP port; an iterator as body is sent in chunks."""
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.served.http, timeout=30)
        try:
            chunked = not isinstance(body, bytes)
            connection.request(method, path, body, dict(headers or {}), encode_chunked=chunked)
            found = connection.getresponse()
            content = found.read()
        finally:
            connection.close()
        return Answer(str(found.status), content, content[:200].decode(errors="replace"), time.monotonic() - started)

    def send(self, data: bytes, *, port: int | None = None, ends: bool = True, wait_s: float = 2.0) -> bytes:
        """Sends bytes through a bare connection and gives what comes back in a time; `ends`: nothing follows them."""
        with socket.create_connection(("127.0.0.1", port or self.served.http), timeout=wait_s) as connection:
            found = b""
            try:
                connection.sendall(data)
                if ends:
                    connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    found += piece
            except OSError:
                pass  # it was closed on us, or nothing came
        return found

    def problem(self) -> str:
        """Asks every kind of model, and gives the code of one that does not answer; nothing where all do.

        Raises:
            AssertionError: where an answer is wrong.
        """
        for model, inputs in (("cut-translate", {"frames": self.frames}), ("starganv2-pipeline", self.styled)):
            code, found = self.asked(model, inputs)
            if code != "OK":
                return f"{model}: {code}"
            np.testing.assert_array_equal(found, self._right[model], err_msg=model)
        number = time.monotonic_ns()
        code, found = self.asked(
            "cut-stream", {"frame": self.frames[0]}, sequence_id=number, sequence_start=True, sequence_end=True
        )
        if code != "OK":
            return f"cut-stream: {code}"
        np.testing.assert_array_equal(found, self._right["cut-translate"][0], err_msg="cut-stream")
        answer = self.post("/v2/models/cut-image/infer", png(self.frames[0]))
        if answer.code != "200":
            return f"cut-image: {answer.code}"
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), self.right[0])
        ready = self.post("/v2/health/ready", method="GET").code
        return "" if ready == "200" else f"ready: {ready}"

    @property
    def right(self) -> np.ndarray:
        """The translation of `frames` by `cut-translate`, as this process makes it."""
        return self._right["cut-translate"]

    def wait_right(self, timeout_s: float) -> None:
        """Waits until every kind of model answers, and right.

        Raises:
            AssertionError: where one gives a wrong answer, or none in time.
        """
        end = time.monotonic() + timeout_s
        while problem := self.problem():
            assert time.monotonic() < end, f"not right again after {timeout_s:g} s: {problem}\n{self.served.said()}"
            time.sleep(0.02)

    def metric(self, name: str) -> float:
        """Gives one of the gateway's figures."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.served.metrics}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))

    def state(self) -> State:
        return State(
            int(self.metric("i2i_rt_restarts_total")),
            int(self.metric("i2i_rt_in_flight")),
            len(model_processes(self.served)),
            len(regions(self.served)),
        )

    def wait_in_flight(self, count: int, timeout_s: float = 10.0) -> None:
        """Waits until so many requests are with the server."""
        end = time.monotonic() + timeout_s
        while self.metric("i2i_rt_in_flight") != count:
            assert time.monotonic() < end, f"{self.metric('i2i_rt_in_flight')} requests are in flight, not {count}"
            time.sleep(0.01)

    def close(self) -> int:
        """Ends the service and gives its exit code."""
        if self._channel is not None:
            self._channel.close()
        for translator in self.translators.values():
            translator.close()
        return self.served.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start_service(repository: Repository, folder: Path, *options: str, ports: Sequence[int] = ()) -> Served:
    """Starts `i2i-rt serve` on a repository; it is ready later."""
    words = ("--repository", str(repository.folder), "--max-in-flight", str(MAX_IN_FLIGHT), *options)
    return Served.start([], folder, *words, ports=ports)


def write_slow_repository(bundles: Mapping[str, Bundle], folder: Path) -> Repository:
    """Writes the repository of bundles, `cut` among them, and two copies of `cut-translate` that are slow."""
    paths = {name: bundle.path for name, bundle in bundles.items()}
    write_repository(paths, folder, limits=LIMITS, threads=1, backend="onnxruntime", cache_size=3)
    for name, queue, seconds in (("slow", SHORT_QUEUE, QUEUED_S), ("patient", None, SLOW_S)):
        copy = folder / "models" / f"{name}-translate"
        shutil.copytree(folder / "models" / "cut-translate", copy)
        config = read_config(copy)
        served = served_model(config)
        assert served is not None
        config.name = copy.name
        set_parameter(config, PARAMETER, replace(served, name=copy.name, bundle=name).to_text())
        if queue is not None:
            config.ClearField("dynamic_batching")
            add_dynamic_batching(config, queue)
            config.instance_group[0].count = 2
        write_config(copy, config)
        (copy / "1" / "model.py").write_text(SLOW_MODEL.format(seconds=seconds))
    return Repository.open(folder)


def request(model: str, inputs: Mapping[str, np.ndarray], **parameters: Any) -> Any:
    """Gives a `ModelInferRequest`."""
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    made = ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        made.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
        made.raw_input_contents.append(array.tobytes())
    for name, value in parameters.items():
        if isinstance(value, bool):
            made.parameters[name].bool_param = value
        else:
            made.parameters[name].int64_param = value
    return made


def translated(answer: Answer) -> np.ndarray:
    """Gives the output `translated` of an answer; empty where there is none."""
    from tritonclient.grpc.service_pb2 import ModelInferResponse

    message = ModelInferResponse.FromString(answer.content)
    for output, raw in zip(message.outputs, message.raw_output_contents, strict=False):
        if output.name == "translated":
            return np.frombuffer(raw, DTYPES[output.datatype]).reshape(output.shape)
    return np.zeros(0, np.uint8)


def png(picture: np.ndarray) -> bytes:
    """Gives a picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def model_processes(served: Served, model: str = "") -> list[psutil.Process]:
    """Gives the processes that run Python models of a service, or one of them."""
    found = []
    for process in psutil.Process(served.process.pid).children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        if any(f"/{model}" in word and word.endswith("/model.py") for word in words[1:2]) and "stub" in words[0]:
            found.append(process)
    return found


def server_process(served: Served) -> psutil.Process:
    """Gives the process of the server itself."""
    below = psutil.Process(served.process.pid).children(recursive=True)
    return next(process for process in below if process.name() == "tritonserver")


def regions(served: Served) -> tuple[str, ...]:
    """Gives the names of the server's regions of shared memory, those of servers that it had before among them."""
    log = (served.key_file.parent / "server.log").read_text(errors="replace")
    ids = {line.split("|")[2].strip() for line in log.splitlines() if line.startswith("| server_id ")}
    return tuple(sorted(file.name for file in Path("/dev/shm").iterdir() if file.name.startswith(tuple(ids))))
