"""What a server answers, over gRPC and HTTP, becomes the error that says what to do."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from i2i_rt.serving.client import Client, Retry
from i2i_rt.serving.client.calls import Infer, Place
from i2i_rt.serving.errors import (
    Busy,
    DeadlineExceeded,
    Denied,
    ModelDied,
    NotFound,
    Refused,
    ServerFault,
    ServingError,
    Unreachable,
    from_grpc,
)

grpc = pytest.importorskip("grpc")
pytest.importorskip("tritonclient.grpc")

FRAME = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
ONCE = Retry(overloaded=0, first_s=0.001, most_s=0.001)


@dataclass
class FakeServer:
    """Gives errors that were laid out for it, then inverts what it gets.

    Attributes:
        errors: what the next calls get: code and text.
        calls: how many were made.
    """

    url: str = ""
    errors: list[tuple[Any, str]] = field(default_factory=list)
    calls: int = 0
    delay_s: float = 0.0


@pytest.fixture
def grpc_server() -> Iterator[FakeServer]:
    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.grpc import service_pb2_grpc

    fake = FakeServer()

    class Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        def ModelInfer(self, request: Any, context: Any) -> Any:
            fake.calls += 1
            time.sleep(fake.delay_s)
            if fake.errors:
                context.abort(*fake.errors.pop(0))
            answer = pb.ModelInferResponse(model_name=request.model_name)
            answer.outputs.add(name="translated", datatype="UINT8", shape=request.inputs[0].shape)
            answer.raw_output_contents.append(bytes(255 - byte for byte in request.raw_input_contents[0]))
            return answer

    server = grpc.server(futures.ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(), server)
    fake.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield fake
    server.stop(0).wait()


@pytest.fixture
def http_server() -> Iterator[FakeServer]:
    fake = FakeServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            fake.calls += 1
            time.sleep(fake.delay_s)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if fake.errors:
                status, text = fake.errors.pop(0)
                self.answer(status, {}, json.dumps({"error": text}).encode())
                return
            length = int(self.headers["Inference-Header-Content-Length"])
            tensor = json.loads(body[:length])["inputs"][0]
            content = bytes(255 - byte for byte in body[length:])
            parameters = {"binary_data_size": len(content)}
            output = {"name": "translated", "datatype": "UINT8", "shape": tensor["shape"], "parameters": parameters}
            header = json.dumps({"outputs": [output]}).encode()
            self.answer(200, {"Inference-Header-Content-Length": str(len(header))}, header + content)

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    yield fake
    server.shutdown()
    server.server_close()


def infer(fake: FakeServer, *, retry: Retry = ONCE, deadline_s: float = 5.0) -> np.ndarray:
    with closing(Client(fake.url, retry=retry, deadline_s=deadline_s)) as client:
        return client.infer("some-translate", {"frames": FRAME})["translated"]


# the codes that a real server gives, with its words
GRPC = [
    ("INVALID_ARGUMENT", "unexpected shape for input 'frames'", Refused),
    ("NOT_FOUND", "Request for unknown model: 'x' is not found", NotFound),
    ("NOT_FOUND", "Request for unknown model: 'x' has no available versions", Busy),
    ("INTERNAL", "Unable to parse request", ServerFault),
    ("UNIMPLEMENTED", "ModelInfer RPC doesn't support models with decoupled transaction policy", Refused),
    ("UNAVAILABLE", "Exceeds maximum queue size", Busy),
    ("UNAVAILABLE", "Request timeout expired", Busy),
    ("UNAVAILABLE", "Server is stopping, scheduler for model has stopped accepting new inference requests", Busy),
    ("INTERNAL", "x failed: ValueError: something", ServerFault),
    ("INTERNAL", "Failed to process the request(s), message: Stub process 'x_0' is not healthy.", ModelDied),
    ("UNAVAILABLE", "This protocol is restricted, expecting header 'triton-grpc-protocol-admin-key'", Denied),
    ("PERMISSION_DENIED", "the call needs a key", Denied),
    ("RESOURCE_EXHAUSTED", "Received message larger than max", Refused),
]
HTTP = [
    (400, "unexpected shape for input 'frames'", Refused),
    (404, "Request for unknown model: 'x' is not found", NotFound),
    (404, "Request for unknown model: 'x' has no available versions", Busy),
    (413, "the body is too large", Refused),
    (500, "failed to parse the request JSON buffer", ServerFault),
    (500, "Failed to process the request(s), message: Stub process 'x_0' is not healthy.", ModelDied),
    (503, "Exceeds maximum queue size", Busy),
    (403, "This protocol is restricted, expecting header 'admin-key'", Denied),
    (504, "no answer", DeadlineExceeded),
]


@pytest.mark.parametrize(("code", "text", "error"), GRPC)
def test_code_of_grpc(grpc_server: FakeServer, code: str, text: str, error: type[ServingError]) -> None:
    grpc_server.errors = [(grpc.StatusCode[code], text)] * 5000
    with pytest.raises(ServingError) as caught:
        infer(grpc_server, deadline_s=0.3)
    assert type(caught.value) is error
    assert text in str(caught.value) and "some-translate at grpc://127.0.0.1" in str(caught.value)


@pytest.mark.parametrize(("status", "text", "error"), HTTP)
def test_status_of_http(http_server: FakeServer, status: int, text: str, error: type[ServingError]) -> None:
    http_server.errors = [(status, text)] * 5000
    with pytest.raises(ServingError) as caught:
        infer(http_server, deadline_s=0.3)
    assert type(caught.value) is error
    assert text in str(caught.value) and "some-translate at http://127.0.0.1" in str(caught.value)


@pytest.fixture(params=["grpc", "http"])
def server(request: pytest.FixtureRequest) -> tuple[FakeServer, Callable[[str], Any]]:
    """A fake server of either protocol, and what makes an error of it from the name of a gRPC code."""
    fake: FakeServer = request.getfixturevalue(f"{request.param}_server")
    statuses = {"UNAVAILABLE": 503, "INTERNAL": 500, "PERMISSION_DENIED": 403, "INVALID_ARGUMENT": 400}
    return fake, (lambda name: grpc.StatusCode[name] if request.param == "grpc" else statuses[name])


def test_arrays_survive_the_way(server: tuple[FakeServer, Callable[[str], Any]]) -> None:
    result = infer(server[0])
    assert np.array_equal(result, 255 - FRAME)
    result[:] = 0  # it belongs to the caller


def test_restarting_server_is_asked_until_it_is_back(server: tuple[FakeServer, Callable[[str], Any]]) -> None:
    fake, code = server
    fake.errors = [(code("UNAVAILABLE"), "the server restarts")] * 8 + [(code("INTERNAL"), "Stub process not healthy")]
    assert np.array_equal(infer(fake), 255 - FRAME)
    assert fake.calls == 10


def test_overloaded_server_is_asked_a_few_times_only(server: tuple[FakeServer, Callable[[str], Any]]) -> None:
    fake, code = server
    fake.errors = [(code("UNAVAILABLE"), "Exceeds maximum queue size")] * 50
    with pytest.raises(Busy):
        infer(fake, retry=Retry(overloaded=2, first_s=0.001))
    assert fake.calls == 3


@pytest.mark.parametrize("name", ["PERMISSION_DENIED", "INVALID_ARGUMENT"])
def test_what_is_refused_for_good_is_asked_once(server: tuple[FakeServer, Callable[[str], Any]], name: str) -> None:
    fake, code = server
    fake.errors = [(code(name), "no")] * 50
    with pytest.raises((Denied, Refused)):
        infer(fake, retry=Retry())
    assert fake.calls == 1


def test_deadline_holds_for_all_attempts(server: tuple[FakeServer, Callable[[str], Any]]) -> None:
    fake, _ = server
    fake.delay_s = 3.0
    begin = time.perf_counter()
    with pytest.raises(DeadlineExceeded):
        infer(fake, deadline_s=0.3)
    assert time.perf_counter() - begin < 2


def test_wrong_address_is_told_at_once() -> None:
    for url in ("grpc://127.0.0.1:9", "http://127.0.0.1:9"):
        begin = time.perf_counter()
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
            infer(FakeServer(url))
        assert time.perf_counter() - begin < 2


def infer_in_stream(fake: FakeServer) -> np.ndarray:
    with closing(Client(fake.url, retry=Retry(first_s=0.001), deadline_s=5.0)) as client:
        call = Infer("some-stream", {"frames": FRAME}, Place(7))
        return client._run(client._requests._infer(call, time.monotonic() + 5))["translated"]


def test_frame_of_a_stream_is_sent_again_only_if_it_was_not_taken(
    server: tuple[FakeServer, Callable[[str], Any]],
) -> None:
    fake, code = server
    fake.errors = [(code("UNAVAILABLE"), "Exceeds maximum queue size"), (code("UNAVAILABLE"), "the server restarts")]
    assert np.array_equal(infer_in_stream(fake), 255 - FRAME)
    assert fake.calls == 3
    fake.errors = [(code("INTERNAL"), "Stub process 'x_0' is not healthy.")]
    with pytest.raises(ModelDied):
        infer_in_stream(fake)
    assert fake.calls == 4


def test_server_says_when_to_ask_again() -> None:
    retry = Retry(first_s=0.01, most_s=0.02)
    busy = from_grpc("UNAVAILABLE", "the server restarts; try again", "x", retry_after_s=2.0)
    pauses = [retry.pause_s(busy, attempt, repeatable=True, known=True) for attempt in (0, 5, 5000)]
    assert all(pause is not None and 2.0 <= pause <= 2.5 for pause in pauses)
    soon = from_grpc("UNAVAILABLE", "the server restarts", "x")
    pause = retry.pause_s(soon, 9, repeatable=False, known=False)
    assert pause is not None and 0.01 <= pause <= 0.02
    fault = from_grpc("INTERNAL", "x failed", "x")
    assert retry.pause_s(fault, 0, repeatable=True, known=True) is None
