"""A server of our own to measure: `i2i-rt serve` in a process of its own, with the code that measures it."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import i2i_rt
from i2i_rt.benchmarks.serving.echo import write_echoes
from i2i_rt.errors import I2IError
from i2i_rt.serving.guard import PR_SET_PDEATHSIG
from i2i_rt.serving.keys import find_key
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.repository import write_repository

END_S = 60.0  # in which it must have ended


@dataclass(frozen=True)
class Target:
    """A server that is ready.

    Attributes:
        grpc, http: host and port.
        pid: of the process under which all others are.
        key: what opens its restricted calls.
    """

    grpc: str
    http: str
    pid: int
    key: str | None


@contextlib.contextmanager
def served(
    bundles: Mapping[str, Path],
    *,
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    options: Mapping[str, object] = MappingProxyType({}),
    first_port: int = 0,
) -> Iterator[Target]:
    """Serves bundles by their names, and echoes.

    Args:
        bundles: their folders.
        backend: of the sessions on the server, as in `i2i-rt serve`.
        precision: what they compute in.
        threads: that each of them computes with.
        options: more of `i2i-rt serve`, without their dashes, such as `{"max-in-flight": 8}`.
        first_port: of three in a row; 0: free ones.

    Raises:
        I2IError: where it does not start; the sentence is its own.
    """
    http, grpc, metrics = (first_port + number for number in range(3)) if first_port else free_ports(3)
    limits = Limits()
    with tempfile.TemporaryDirectory(prefix="i2i_rt-bench-") as folder:
        repository = write_repository(
            bundles, Path(folder) / "repository", limits=limits, threads=threads, backend=backend, precision=precision
        )
        write_echoes(repository.models_folder, limits)
        settings = {"repository": repository.folder, "http": http, "grpc": grpc, "metrics": metrics, **options}
        with _started([f"--{name}={value}" for name, value in settings.items()]) as process:
            yield Target(f"127.0.0.1:{grpc}", f"127.0.0.1:{http}", process.pid, find_key(grpc))


@contextlib.contextmanager
def _started(options: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """Runs `i2i-rt serve`; it is ready inside, and has ended after."""
    command = [sys.executable, "-m", "i2i_rt", "serve", *options]
    libc = ctypes.CDLL(None)
    # the server must be of the code that measures it, wherever that lies
    environment = {**os.environ, "PYTHONPATH": str(Path(i2i_rt.__file__).parents[1])}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # should the benchmark be killed
        )
        try:
            assert process.stdout is not None
            if not any(line.startswith("ready") for line in process.stdout):
                process.wait()
                log.seek(0)
                lines = [line for line in log.read().splitlines() if line.strip()]
                raise I2IError(f"the server did not start: {lines[-1] if lines else 'it said nothing'}")
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def free_ports(count: int) -> list[int]:
    """Gives ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
