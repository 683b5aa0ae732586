"""One run of Triton Inference Server: started, waited for, stopped, and nothing of it left behind.

The server listens on Unix sockets in a folder that only this user can enter, and on no port: whoever should reach it
goes through the gateway. Its HTTP interface is off.
"""

import contextlib
import math
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

from i2i_rt.errors import I2IError
from i2i_rt.serving import guard
from i2i_rt.serving.installation import Installation, find_server

LISTING_S = 10.0  # between two listings of the server's processes, of which reloaded models have new ones
LONGEST_FOLDER = 80  # bytes: the path of a Unix socket has 107
# of messages between the gateway and the server; what clients may send is bounded by the models' own limits
MESSAGE_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class ServerCrashed(I2IError):
    """The server's process was ended by a signal, its own abort for one, while it started."""


class TritonServer:
    """A running server on a folder of models; stopped by `stop`, and by the end of this process whatever ends it.

    with TritonServer(repository) as server:
        server.wait_ready()
        channel = grpc.insecure_channel(server.address)

    Attributes:
        id: what the server answers when it is asked for its name; drawn at random.
        address: of its gRPC interface, for gRPC clients.
        metrics_socket: the Unix socket of its metrics.
    """

    def __init__(
        self,
        repository: Path,
        *,
        installation: Installation | None = None,
        log: Path | None = None,
        drain_s: int = 20,
        arguments: Sequence[str] = (),
    ) -> None:
        """Starts the server; it is ready later.

        Args:
            repository: the folder of models; all of them are loaded.
            installation: the server; by default the one that is found.
            log: a file to which it writes at the end; by default a temporary one.
            drain_s: how long work may go on after `stop`.
            arguments: more options of the server's command line.

        Raises:
            UnsupportedError: where there is no server on this machine.
        """
        installation = installation or find_server()
        self.id = f"i2i-rt-{secrets.token_hex(8)}"
        self._log: IO[bytes] = log.open("a+b") if log else tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self._last_log = ""
        self._log_start = self._log.seek(0, os.SEEK_END)
        self._drain_s = drain_s
        self._processes: dict[int, str] = {}
        self._listed = -math.inf
        folder = tempfile.mkdtemp(prefix="i2i_rt-")
        if len(folder) > LONGEST_FOLDER:
            os.rmdir(folder)
            folder = tempfile.mkdtemp(prefix="i2i_rt-", dir="/tmp")
        self.folder = Path(folder)
        self.address = f"unix:{self.folder}/grpc:1"
        self.metrics_socket = self.folder / "metrics"
        environment = {**os.environ, **installation.environment, "TMPDIR": str(self.folder)}
        command = [
            *(sys.executable, "-I", guard.__file__, str(self.folder), self.id, str(drain_s + 5)),
            *self._command(installation, repository),
            *arguments,
        ]
        self._guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # its end tells the guard that this process has gone
            stdout=self._log,
            stderr=self._log,
            env=environment,
            start_new_session=True,
        )

    def _command(self, installation: Installation, repository: Path) -> list[str]:
        options = {
            "id": self.id,
            "model-repository": repository,
            "model-control-mode": "explicit",
            "load-model": "*",
            "disable-auto-complete-config": None,
            "exit-on-error": "true",
            "exit-timeout-secs": self._drain_s,
            "allow-http": "false",
            "grpc-address": f"unix:{self.folder}/grpc",
            "grpc-port": 1,  # becomes a part of the socket's name
            "metrics-address": f"unix:{self.metrics_socket}",
            "metrics-config": "summary_latencies=true",
            "backend-config": f"python,shm-region-prefix-name={self.id}",
        }
        if installation.backend:
            backends = self.folder / "backends" / "python"
            backends.mkdir(parents=True)
            for file in installation.backend:
                (backends / file.name).symlink_to(file)
            options["backend-directory"] = backends.parent
        if installation.caches is not None:
            options["cache-directory"] = installation.caches
        if installation.knows("--allow-client-shm"):  # since 26.04 off by default; the gateway asks for the key
            options["allow-client-shm"] = "true"
        words = [f"--{name}" if value is None else f"--{name}={value}" for name, value in options.items()]
        return [str(installation.program), *words]

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._guard.poll()

    @property
    def pid(self) -> int:
        """The process of the server itself, which is the parent of those of its Python models."""
        return int((self.folder / "pid").read_text())

    def ended_models(self) -> set[str]:
        """Names the Python models one of whose processes has ended; the server keeps these, and says nothing."""
        if time.monotonic() > self._listed + LISTING_S:
            self._listed = time.monotonic()
            with contextlib.suppress(FileNotFoundError):  # the server itself has just ended
                self._processes = self._model_processes()
        return {model for pid, model in self._processes.items() if _is_zombie(pid)}

    def _model_processes(self) -> dict[int, str]:
        """Gives the models' names by the numbers of their processes."""
        found = dict(self._processes)  # what has ended no longer says what it was
        for file in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for pid in map(int, file.read_text().split()):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
                    files = [Path(word) for word in words if word.endswith("/model.py")]
                    if files:
                        found[pid] = files[0].parents[1].name
        return {pid: model for pid, model in found.items() if Path(f"/proc/{pid}").exists()}

    def wait_ready(self, timeout_s: float = 120.0) -> None:
        """Waits until the server answers that all models are loaded.

        Raises:
            ServerCrashed: where a signal ended it.
            I2IError: where it ended or is not ready in time; the sentence has the server's own reason.
        """
        end = time.monotonic() + timeout_s
        while not self.is_ready():
            if self.exit_code is not None:
                kind = ServerCrashed if self.exit_code > 128 else I2IError
                raise kind(f"the server did not start: {self.reason()}")
            if time.monotonic() > end:
                raise I2IError(f"the server is not ready after {timeout_s:g} s: {self.reason()}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Says whether the server itself calls itself ready, which says nothing of its answers."""
        import grpc
        from tritonclient.grpc.service_pb2 import ServerReadyRequest
        from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

        with grpc.insecure_channel(self.address, options=[("grpc.enable_retries", 0)]) as channel:
            try:
                answer: Any = GRPCInferenceServiceStub(channel).ServerReady(ServerReadyRequest(), timeout=2)
            except grpc.RpcError:
                return False
        return bool(answer.ready)

    def log(self) -> str:
        """Gives what the server wrote so far, its last megabyte."""
        if self._log.closed:
            return self._last_log
        size = os.fstat(self._log.fileno()).st_size
        start = max(self._log_start, size - 2**20)
        return os.pread(self._log.fileno(), size - start, start).decode(errors="replace")

    def reason(self) -> str:
        """Gives why it did not start, in the server's words."""
        log = self.log()
        failed = re.findall(r"failed to load '([^']+)' version \d+: (?:\w+: )?(.+)", log)
        if failed:
            return f"model {failed[-1][0]}: {failed[-1][1]}"
        # it says in an error that there is no GPU, which is none
        errors = re.findall(r"^(?:E\d{4} .*?\] |error: |terminate called )(?!.*CudaDriver)(.+)", log, re.MULTILINE)
        lines = log.strip().splitlines() or ["it said nothing"]
        return str(errors[-1] if errors else lines[-1]).strip('"')

    def stop(self) -> int:
        """Lets requests that were accepted finish, then ends the server; gives its exit code."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()  # which the guard sees however early it is
        code = self._guard.wait()
        self._last_log = self.log()
        self._log.close()
        return code

    def kill(self) -> None:
        """Ends the server at once; requests that it has accepted get no answer."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _is_zombie(pid: int) -> bool:
    """Says whether a process has ended while its parent did not take notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
