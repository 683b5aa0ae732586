"""One run of the server: it answers, ends in order, and leaves nothing behind however it or its starter ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.serving import installation as installation_module
from i2i_rt.serving.installation import Installation, find_server
from i2i_rt.serving.server import ServerCrashed, TritonServer
from tests.serving.conftest import write_model


def infer(server: TritonServer, frames: np.ndarray) -> np.ndarray:
    import tritonclient.grpc

    client: Any
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        tensor = tritonclient.grpc.InferInput("frames", list(frames.shape), "UINT8")
        tensor.set_data_from_numpy(frames)
        answer: np.ndarray = client.infer("identity", [tensor]).as_numpy("translated")
    return answer


def regions(server: TritonServer) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{server.id}*"))


def ended(pid: int, timeout_s: float = 10.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.serving
def test_server_answers(triton: TritonServer) -> None:
    frames = np.arange(2 * 6 * 4 * 3, dtype=np.uint8).reshape(2, 6, 4, 3)
    np.testing.assert_array_equal(infer(triton, frames), 255 - frames)


@pytest.mark.serving
def test_stop_leaves_nothing(installation: Installation, tmp_path: Path) -> None:
    write_model(tmp_path, "identity")
    server = TritonServer(tmp_path, installation=installation)
    server.wait_ready()
    pid = server.pid
    assert regions(server)
    # release 24.10 aborts now and then while it ends on a busy machine
    assert server.stop() in (0, 128 + signal.SIGABRT)
    assert ended(pid) and not regions(server) and not server.folder.exists()


@pytest.mark.serving
def test_killed_server_leaves_nothing(installation: Installation, tmp_path: Path) -> None:
    write_model(tmp_path, "identity")
    with TritonServer(tmp_path, installation=installation) as server:
        server.wait_ready()
        os.kill(server.pid, signal.SIGKILL)
        assert server.stop() == 128 + signal.SIGKILL
    assert not regions(server) and not server.folder.exists()


@pytest.mark.serving
def test_server_that_is_stopped_at_once_leaves_nothing(installation: Installation, tmp_path: Path) -> None:
    write_model(tmp_path, "identity")
    for wait_s in (0.0, 0.02, 0.05, 0.1, 0.2):
        server = TritonServer(tmp_path, installation=installation)
        time.sleep(wait_s)
        server.stop()
        assert not regions(server) and not server.folder.exists()


@pytest.mark.serving
def test_server_goes_with_its_starter(installation: Installation, tmp_path: Path) -> None:
    write_model(tmp_path, "identity")
    code = (
        "import os, signal, sys; from pathlib import Path; from i2i_rt.serving.server import TritonServer\n"
        "server = TritonServer(Path(sys.argv[1])); server.wait_ready()\n"
        "print(server.pid, server.folder, server.id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    words = subprocess.run([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=False)
    pid, folder, name = words.stdout.split()
    assert words.returncode == -signal.SIGKILL
    assert ended(int(pid), 15)
    end = time.monotonic() + 5
    while Path(folder).exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(folder).exists() and not list(Path("/dev/shm").glob(f"{name}*"))


@pytest.mark.serving
def test_ended_model_is_named(installation: Installation, tmp_path: Path) -> None:
    write_model(tmp_path, "first")
    write_model(tmp_path, "second")
    with TritonServer(tmp_path, installation=installation) as server:
        server.wait_ready()
        assert server.ended_models() == set()
        (pid,) = [pid for pid, model in server._model_processes().items() if model == "second"]
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while not (found := server.ended_models()) and time.monotonic() < end:
            time.sleep(0.05)
        assert found == {"second"}


@pytest.mark.serving
def test_model_that_fails_to_load_is_a_sentence(installation: Installation, tmp_path: Path) -> None:
    write_model(tmp_path, "broken", code="raise ValueError('no such weights')")
    with (
        TritonServer(tmp_path, installation=installation) as server,
        pytest.raises(I2IError, match=r"did not start: model broken: .*no such weights"),
    ):
        server.wait_ready()


def test_crash_at_the_start_is_told_from_a_mistake(tmp_path: Path) -> None:
    program = tmp_path / "tritonserver"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --help ] && exit 1\necho "terminate called after \'lock\'"\nkill -ABRT $$\n'
    )
    program.chmod(0o755)
    with (
        TritonServer(tmp_path, installation=Installation(program, "here")) as server,
        pytest.raises(ServerCrashed, match="did not start: after 'lock'"),
    ):
        server.wait_ready()


@pytest.mark.parametrize("known", [True, False])
def test_newer_servers_are_told_what_older_ones_do_not_know(known: bool, tmp_path: Path) -> None:
    program = tmp_path / "tritonserver"
    program.write_text(
        f"#!/bin/sh\n[ \"$1\" = --help ] && echo '{'--allow-client-shm' if known else ''}' && exit 1\n"
        f'echo "$@" > {tmp_path}/words\n'
    )
    program.chmod(0o755)
    with TritonServer(tmp_path, installation=Installation(program, "here")) as server:
        assert server._guard.wait(10) == 0
    words = (tmp_path / "words").read_text().split()
    assert ("--allow-client-shm=true" in words) == known
    assert "--allow-http=false" in words and f"--model-repository={tmp_path}" in words


def test_missing_server_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(installation_module.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "nowhere"))
    with pytest.raises(UnsupportedError, match="there is no Triton Inference Server here"):
        find_server()


def test_wrong_environment_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(installation_module.VARIABLE, str(tmp_path))
    with pytest.raises(UnsupportedError, match="no environment with a bin/python"):
        find_server()


def test_server_on_path_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(installation_module.VARIABLE, raising=False)
    found = find_server()
    assert (found.program, found.backend, dict(found.environment)) == (program, (), {})
