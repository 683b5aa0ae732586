"""What the tests of serving share: real servers, started once, over small models.

Tests with the fixtures `triton` and `service` are skipped where there is no Triton Inference Server, and run in one
worker. `triton` is the server alone; `service` is all that `i2i-rt serve` starts, with gateway and supervisor.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.errors import UnsupportedError
from i2i_rt.serving.installation import Installation, find_server
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.repository import Repository, write_repository
from i2i_rt.serving.server import TritonServer

LIMITS = Limits(side=256, pixels=128 * 192, batch=4, file_bytes=2**20)
IDENTITY = """
name: "identity"
backend: "python"
max_batch_size: 0
input { name: "frames" data_type: TYPE_UINT8 dims: [-1, -1, -1, 3] }
output { name: "translated" data_type: TYPE_UINT8 dims: [-1, -1, -1, 3] }
instance_group { kind: KIND_CPU count: 1 }
"""
INVERT = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        def answer(request):
            frames = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "frames"))
            return pb_utils.InferenceResponse([pb_utils.Tensor("translated", 255 - frames)])
        return [answer(request) for request in requests]
"""


def export_small(folder: Path, names: Sequence[str]) -> dict[str, Bundle]:
    """Writes bundles of small systems with ONNX graphs: frames alone, styles of domains, label maps of a fixed size."""
    from i2i_rt.cli import main
    from i2i_rt.importers.table import write_bundle
    from tests.small import single, spade, stargan

    make = {"cut": single.cut, "starganv2": stargan.small, "spade": lambda: spade.small(vae=True)}
    bundles = {}
    for name in names:
        bundles[name] = write_bundle(make[name](), name, folder / name, Provenance("drawn", sha256=""))
        assert main(["export", str(folder / name), "--format", "onnx", "--no-verify"]) == 0
    return bundles


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The bundles `cut`, `starganv2` and `spade`."""
    return export_small(tmp_path_factory.mktemp("bundles"), ("cut", "starganv2", "spade"))


@pytest.fixture(scope="session")
def repository(exported: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The repository of these bundles, under their systems' names."""
    paths = {name: bundle.path for name, bundle in exported.items()}
    folder = tmp_path_factory.mktemp("served") / "repository"
    return write_repository(paths, folder, limits=LIMITS, threads=1, backend="onnxruntime", cache_size=3)


@pytest.fixture(scope="session")
def installation() -> Installation:
    try:
        return find_server()
    except UnsupportedError as error:
        pytest.skip(str(error))


def write_model(repository: Path, name: str, config: str = IDENTITY, code: str = INVERT) -> Path:
    """Writes a Python model by hand and gives its folder."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config.replace('"identity"', f'"{name}"'))
    (folder / "1" / "model.py").write_text(code)
    return folder


@pytest.fixture(scope="session")
def triton(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server without gateway, with the model `identity` that inverts frames."""
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "identity")
    with TritonServer(repository, installation=installation) as server:
        server.wait_ready()
        yield server


@dataclass
class Served:
    """`i2i-rt serve` in a process of its own.

    Attributes:
        process: the service; the server is a process below it.
        grpc, http, metrics: its ports on this host.
        log: the file of what it says.
    """

    process: subprocess.Popen[bytes]
    grpc: int
    http: int
    metrics: int
    log: Path

    @classmethod
    def start(cls, bundles: Sequence[Path], folder: Path, *options: str, ports: Sequence[int] = ()) -> "Served":
        """Starts it on free ports; it is ready later."""
        grpc, http, metrics = ports or free_ports(3)
        words = [sys.executable, "-m", "i2i_rt", "serve", *map(str, bundles)]
        words += ["--backend", "onnxruntime", "--threads", "1"] if bundles else []
        words += ["--grpc", str(grpc), "--http", str(http), "--metrics", str(metrics), *options]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XDG_RUNTIME_DIR": str(folder)}
        log = folder / f"serve-{grpc}-{http}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        return cls(process, grpc, http, metrics, log)

    @property
    def key_file(self) -> Path:
        """The administrator's key, where it was drawn."""
        return self.log.parent / "i2i_rt" / "serving" / str(self.grpc) / "key"

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str, timeout_s: float = 120.0, *, times: int = 1) -> None:
        """Waits until it has said something, so many times."""
        end = time.monotonic() + timeout_s
        while self.said().count(words) < times:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, f"it did not say {words!r}: {self.said()}"
            time.sleep(0.05)

    def stop(self, timeout_s: float = 60.0) -> int:
        """Ends it as an operator would, and gives the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def free_ports(count: int) -> list[int]:
    """Gives ports that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="session")
def service(
    installation: Installation, exported: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """`i2i-rt serve` over the bundles `cut` and `starganv2`, ready; tests must leave it as it was."""
    paths = [exported[name].path for name in ("cut", "starganv2")]
    found = Served.start(paths, tmp_path_factory.mktemp("service"))
    try:
        found.wait_for("ready in")
        yield found
    finally:
        assert found.stop() == 0, found.said()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, and certificates of it for the server and for a client."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run([str(program), *words], check=True, cwd=folder, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    return folder
