"""`i2i-rt serve` with a real server: its answers, its refusals, and what becomes of it when a part of it ends."""

import json
import os
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from i2i_rt.bundle import Bundle
from i2i_rt.export import golden
from i2i_rt.serving.installation import Installation
from i2i_rt.translator import Translator
from tests.serving.conftest import Served, free_ports

pytestmark = pytest.mark.serving


def client_of(service: Served) -> Any:
    import tritonclient.grpc

    return tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{service.grpc}")


def tensors(**arrays: np.ndarray) -> list[Any]:
    import tritonclient.grpc
    from tritonclient.utils import np_to_triton_dtype

    found = []
    for name, array in arrays.items():
        tensor = tritonclient.grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        found.append(tensor)
    return found


def frames_of(height: int = 64, width: int = 96, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def get(service: Served, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.http}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def model_processes(service: Served, model: str) -> list[psutil.Process]:
    """Gives the processes that run a Python model."""
    below = psutil.Process(service.process.pid).children(recursive=True)
    return [process for process in below if any(f"/{model}/1/model.py" in word for word in process.cmdline())]


def test_grpc_gives_the_in_process_translation(service: Served, exported: dict[str, Bundle]) -> None:
    frames = frames_of()
    with client_of(service) as client:
        answer = client.infer("cut-translate", tensors(frames=frames)).as_numpy("translated")
    with Translator.load(exported["cut"].path, backend="onnxruntime", threads=1) as translator:
        np.testing.assert_array_equal(answer, translator(frames))


def test_http_gives_the_same_as_grpc(service: Served) -> None:
    import tritonclient.http

    frames = frames_of()
    with client_of(service) as client:
        right = client.infer("cut-translate", tensors(frames=frames)).as_numpy("translated")
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{service.http}")
    for binary in (True, False):
        tensor = tritonclient.http.InferInput("frames", list(frames.shape), "UINT8")
        tensor.set_data_from_numpy(frames, binary_data=binary)
        wanted = [tritonclient.http.InferRequestedOutput("translated", binary_data=binary)]
        answer = client.infer("cut-translate", [tensor], outputs=wanted, request_id="seven")
        np.testing.assert_array_equal(answer.as_numpy("translated"), right)
        assert answer.get_response()["id"] == "seven"
    assert client.is_server_ready() and client.is_model_ready("cut-translate")
    assert client.get_model_config("cut-translate")["max_batch_size"] == 8
    assert {model["name"] for model in client.get_model_repository_index()} >= {"cut-translate", "starganv2-style"}
    assert client.get_inference_statistics("cut-translate")["model_stats"][0]["name"] == "cut-translate"
    client.close()


def test_printed_curl_line_works(service: Served, tmp_path: Path) -> None:
    Image.fromarray(golden.gradient(64)).save(tmp_path / "photo.jpg")
    line = next(line for line in service.said().splitlines() if line.startswith("try:"))
    words = shlex.split(line.removeprefix("try:"))
    assert words[0] == "curl"
    subprocess.run(words, check=True, cwd=tmp_path, capture_output=True, timeout=30)
    with Image.open(tmp_path / "translated.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 64))


def test_metrics_are_the_servers_and_our_own(service: Served) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'i2i_rt_model_ready{model="cut-translate"} 1' in text
    assert "nv_inference_request_success" in text


def test_overflowing_dimensions_are_refused_and_the_server_lives(service: Served) -> None:
    import tritonclient.grpc
    from tritonclient.utils import InferenceServerException

    with client_of(service) as client:
        tensor = tritonclient.grpc.InferInput("frames", [1, 2**32, 2**32, 3], "UINT8")
        tensor._raw_content = b""
        with pytest.raises(InferenceServerException, match="the server takes sides of 1 to") as caught:
            client.infer("cut-translate", [tensor])
        assert "INVALID_ARGUMENT" in str(caught.value.status())
        frames = frames_of()
        assert client.infer("cut-translate", tensors(frames=frames)).as_numpy("translated").shape == frames.shape


def test_closed_calls_need_the_key(service: Served) -> None:
    from tritonclient.utils import InferenceServerException

    with client_of(service) as client:
        for call in (
            lambda headers: client.load_model("cut-translate", headers=headers),
            lambda headers: client.get_system_shared_memory_status(headers=headers),
            lambda headers: client.get_trace_settings(headers=headers),
            lambda headers: client.get_log_settings(headers=headers),
        ):
            for headers in (None, {"i2i-rt-key": "wrong"}):
                with pytest.raises(InferenceServerException, match="administrator's key") as caught:
                    call(headers)
                assert "PERMISSION_DENIED" in str(caught.value.status())
        assert service.key_file.stat().st_mode & 0o777 == 0o600
        key = service.key_file.read_text().strip()
        client.get_log_settings(headers={"i2i-rt-key": key})
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.http}/v2/repository/models/cut-translate/load", method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 403
    refused.value.close()


def test_shared_memory_needs_the_key_in_inference_too(service: Served) -> None:
    import tritonclient.grpc
    from tritonclient.utils import InferenceServerException

    tensor = tritonclient.grpc.InferInput("frames", [1, 64, 64, 3], "UINT8")
    tensor.set_shared_memory("somebody's", 64 * 64 * 3)
    with client_of(service) as client, pytest.raises(InferenceServerException, match="shared memory is closed"):
        client.infer("cut-translate", [tensor])


def test_second_service_on_a_port_is_refused(service: Served, exported: dict[str, Bundle]) -> None:
    for place, option in enumerate(("--grpc", "--http", "--metrics")):
        ports = free_ports(3)
        ports[place] = (service.grpc, service.http, service.metrics)[place]
        second = Served.start([exported["cut"].path], service.log.parent, ports=ports)
        assert second.process.wait(60) == 2
        assert f"in use or cannot be opened; choose one with {option}" in second.said()
        assert [file.parent.name for file in service.log.parent.glob("i2i_rt/serving/*/key")] == [str(service.grpc)]
    assert get(service, "/v2/health/ready")[0] == 200


def test_ended_model_is_back_and_nothing_wrong_is_answered(
    installation: Installation, exported: dict[str, Bundle], tmp_path: Path
) -> None:
    from tritonclient.utils import InferenceServerException

    service = Served.start([exported["cut"].path], tmp_path, "--canary-interval", "0.5")
    try:
        service.wait_for("ready in")
        names = [server_id(service)]
        frames = frames_of()
        with client_of(service) as client:
            right = client.infer("cut-translate", tensors(frames=frames)).as_numpy("translated")
            model_processes(service, "cut-translate")[0].kill()
            killed = time.monotonic()
            codes = set()
            while True:
                try:
                    answer = client.infer("cut-translate", tensors(frames=frames), client_timeout=20)
                except InferenceServerException as error:
                    codes.add(str(error.status()))
                    time.sleep(0.1)
                else:
                    np.testing.assert_array_equal(answer.as_numpy("translated"), right)
                    break
            assert time.monotonic() - killed < 30  # 15 s on a quiet machine; this one may be busy
            assert codes == {"StatusCode.UNAVAILABLE"}
        assert "cut-translate: its process has ended; the server restarts" in service.said()
        service.wait_for("all models answer right", 30)
        # the server itself too
        names.append(server_id(service))
        server = model_processes(service, "cut-translate")[0].parent()
        assert server is not None
        server.kill()
        service.wait_for("the server restarts", 30, times=2)  # a model may be found dead first
        service.wait_for("all models answer right", 60, times=2)
        names.append(server_id(service))
    finally:
        service.stop()
    assert len(set(names)) == 3
    assert not [region for region in os.listdir("/dev/shm") if region.startswith(tuple(names))]


def server_id(service: Served) -> str:
    """Gives the name of the server that runs now, which its regions of shared memory begin with."""
    with client_of(service) as client:
        name: str = client.get_server_metadata().name
    return name


def test_sigterm_lets_requests_finish(installation: Installation, exported: dict[str, Bundle], tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    service = Served.start([exported["cut"].path], tmp_path)
    try:
        service.wait_for("ready in")
        name = server_id(service)
        frames = frames_of(512, 512, 4)
        with client_of(service) as client, ThreadPoolExecutor(4) as pool:
            right = client.infer("cut-translate", tensors(frames=frames)).as_numpy("translated")
            work = [pool.submit(client.infer, "cut-translate", tensors(frames=frames)) for _ in range(4)]
            until_in_flight(service, 4)
            service.process.send_signal(signal.SIGTERM)
            for one in work:
                np.testing.assert_array_equal(one.result(60).as_numpy("translated"), right)
        assert service.process.wait(60) == 0
    finally:
        service.stop()
    assert service.said().endswith("ended\n")
    assert not service.key_file.parent.exists() and not list(Path("/dev/shm").glob(f"{name}*"))


def until_in_flight(service: Served, count: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        if any(line.startswith("i2i_rt_in_flight") and int(line.split()[1]) >= count for line in lines):
            return
    raise AssertionError("no requests are in flight")


def test_wrong_pixels_never_get_ready(installation: Installation, exported: dict[str, Bundle], tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "wrong"
    shutil.copytree(exported["cut"].path, folder)
    bundle = Bundle.open(folder)
    case = bundle.golden("translate")
    assert case is not None
    # as a server whose pixels are wrong: what it gives is not what the network gave
    bundle.write_golden("translate", type(case)(case.inputs, {"translated": 255 - case.outputs["translated"]}))
    service = Served.start([folder], tmp_path)
    statuses = set()
    while service.process.poll() is None:
        try:
            statuses.add(get(service, "/v2/health/ready")[0])
        except OSError:
            statuses.add(0)
        time.sleep(0.05)
    assert service.process.wait() == 2
    assert "does not compute what it should: translated is wrong: a pixel is" in service.said()
    assert statuses <= {0, 503} and "ready in" not in service.said()


def test_json_of_http_is_kserves(service: Served) -> None:
    status, text = get(service, "/v2/models/cut-translate")
    assert status == 200
    assert json.loads(text)["inputs"] == [{"name": "frames", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    assert get(service, "/v2/models/other")[0] == 404
