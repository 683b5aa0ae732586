"""Workers on Ray: one actor of Ray Data on each device, of this machine or of a cluster.

A worker that dies is started again and given its work again, by Ray. Ray of this machine listens on the loopback
address only, asks for a key that it makes up, sends no statistics of its use, and has no dashboard.
"""

import logging
import os
import pickle
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i_rt import __version__
from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError, MissingDependencyError
from i2i_rt.farm.work import Job, Outcome, Work
from i2i_rt.farm.worker import Worker
from i2i_rt.runtime import backends
from i2i_rt.runtime.machine import cpu_count

MOST_LETTERS = 20
ANSWER_S = 5.0  # that the address of a cluster has to answer
# what gRPC begins with, and is answered with: the preface of HTTP/2, and an empty frame of the type SETTINGS, 4
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
OBJECT_STORE_BYTES = 80 * 2**20  # nearly the least that Ray takes; what travels here are names of files
EVERYWHERE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what a user can do something about comes as an exception
}
LOCAL = {
    "RAY_AUTH_MODE": "token",
    # the switch by which Ray keeps to the loopback address, whatever the system
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


@dataclass(frozen=True)
class Choice:
    """What the workers translate with; or why none can."""

    backend: str = ""
    precision: str = ""
    device: str = "cpu"
    version: str = __version__
    error: str = ""


def choose(bundle: Path, backend: str, precision: str, folder: Path) -> Choice:
    """Chooses as a session on this machine would; runs where the workers do."""
    if not folder.is_dir():
        return Choice(error=f"{socket.gethostname()} has no folder {folder}; all machines of a farm must share it")
    try:
        choice = backends.choose(Bundle.open(bundle), backend, precision)
    except I2IError as error:
        return Choice(error=str(error))
    return Choice(choice.backend.name, choice.precision, choice.backend.device)


class RayWorkers:
    """Runs work on the Ray that this process is connected to."""

    def __init__(self, address: str | None, bundle: Path, backend: str, precision: str, threads: int) -> None:
        import ray

        self._bundle, self._backend, self._precision, self._threads = bundle, backend, precision, threads
        self._gpus = int(ray.cluster_resources().get("GPU", 0))
        cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        self._processes = sum(count // threads for count in cpus)
        self._is_here = address is None
        self._where = self.description = "this machine" if address is None else f"the Ray cluster at {address}"

    def choose(self, folder: Path) -> tuple[str, str]:
        """Chooses the backend and the precision that all workers translate with.

        Raises:
            I2IError: where they cannot, do not see `folder`, or have another version of i2i_rt.
        """
        asked = (self._bundle, self._backend, self._precision, folder)
        choice = choose(*asked) if self._is_here else self._chosen_there(*asked)
        if choice.error:
            raise I2IError(choice.error)
        if choice.version != __version__:
            raise I2IError(f"the workers of {self._where} have i2i-rt {choice.version}, and this is {__version__}")
        self.use(choice.device)
        return choice.backend, choice.precision

    def _chosen_there(self, *asked: Any) -> Choice:
        import ray

        remote = ray.remote(num_gpus=min(self._gpus, 1), num_cpus=1, max_retries=1)(choose)
        try:
            choice: Choice = ray.get(remote.remote(*asked))
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise I2IError(
                f"the workers of {self._where} cannot run i2i_rt ({reason}); "
                f"install i2i-rt {__version__} on all of its machines"
            ) from error
        return choice

    def use(self, device: str) -> None:
        """Plans a worker on each GPU, or on every `threads` CPUs where `device` is "cpu" or there is no GPU.

        Raises:
            I2IError: where there is no room for one.
        """
        if device == "cpu":
            self._gpus = 0
        count = self._gpus or self._processes
        if not count:
            raise I2IError(f"{self._where} has no machine with {self._threads} CPUs; lower --threads")
        each = "a GPU" if self._gpus else "1 thread" if self._threads == 1 else f"{self._threads} threads"
        self.description = f"{self._where}, {count} worker{'s' * (count != 1)} of {each}"

    def run(self, job: Job, work: Sequence[Work]) -> Iterator[Outcome]:
        """Does the work; outcomes come as they are ready."""
        import ray.data

        # a worker takes one piece of work at a time, so that no other waits beside an idle one
        pool = ray.data.ActorPoolStrategy(
            size=min(self._gpus or self._processes, len(work)), max_tasks_in_flight_per_actor=1
        )
        resources = {"num_gpus": 1, "num_cpus": 1} if self._gpus else {"num_cpus": self._threads}
        rows = [{"work": pickle.dumps(piece)} for piece in work]
        outcomes = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _RowWorker, fn_constructor_args=(job,), compute=pool, **resources
        )
        for row in outcomes.iter_rows():
            yield pickle.loads(row["outcome"])


class _RowWorker:
    """A worker as Ray Data calls it."""

    def __init__(self, job: Job) -> None:
        self._worker = Worker(job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": pickle.dumps(self._worker(pickle.loads(row["work"])))}


@contextmanager
def connected(address: str | None, bundle: Path, *, backend: str, precision: str, threads: int) -> Iterator[RayWorkers]:
    """Starts Ray on this machine, or connects to a cluster; afterwards nothing of it is left here.

    Args:
        address: of a cluster, "HOST:PORT", "ray://HOST:PORT" or "auto"; None starts Ray here.
        bundle: what the workers translate with.
        backend: a name, or "auto".
        precision: a name, or "auto".
        threads: CPU threads, and CPUs, of a worker that has no GPU.

    Raises:
        MissingDependencyError: where Ray is not installed.
        I2IError: where no cluster answers at the address.
    """
    os.environ.update(EVERYWHERE)
    if address is None:
        os.environ.update({**LOCAL, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError("ray[data]", "farm", "'i2i-rt farm'") from error
    if address is not None:
        _check_address(address)
    import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    terminate = signal.getsignal(signal.SIGTERM)
    folder = folder_for_ray()
    try:
        with _quiet():
            if address is None:
                _start_here(ray, folder)
            else:
                _join(ray, address)
        signal.signal(signal.SIGTERM, terminate)  # Ray has put its own in its place, which aborts
        yield RayWorkers(address, bundle, backend, precision, threads)
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def folder_for_ray() -> str:
    """Makes a folder for Ray's sockets and logs, and removes those of processes that were killed."""
    # the names of sockets may have 107 letters, and Ray takes most of them
    parent = tempfile.gettempdir() if len(tempfile.gettempdir()) < MOST_LETTERS else "/tmp"
    for old in Path(parent).glob("i2i-*-*"):
        pid = old.name.split("-")[1]
        if pid.isdecimal() and old.is_dir() and old.stat().st_uid == os.getuid() and not _runs(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"i2i-{os.getpid()}-", dir=parent)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Drops what Ray's own part writes to stderr, past Python: that it took its log level from the environment."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _start_here(ray: Any, folder: str) -> None:
    try:
        ray.init(
            num_cpus=cpu_count(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            configure_logging=False,
            _temp_dir=folder,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise I2IError(f"Ray cannot be started here: {_first_line(error)}") from error


def _check_address(address: str) -> None:
    """Finds out whether anything answers: Ray itself would wait for minutes."""
    if address == "auto":
        return
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdecimal():
        raise I2IError(f"--ray is {address!r}; it must be HOST:PORT, ray://HOST:PORT or auto")
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
            connection.sendall(HTTP2_GREETING)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise I2IError(f"no Ray cluster answers at {address}: {reason}") from error
    if answer[3:4] != HTTP2_GREETING[-6:-5]:
        raise I2IError(f"what answers at {address} is no Ray cluster: it does not speak gRPC")


def _join(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as error:  # Ray has no class for it: no cluster, another version, another key
        raise I2IError(f"no Ray cluster can be joined at {address}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
