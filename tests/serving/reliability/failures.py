"""Processes that end, servers that are stopped, and versions of models that are pushed."""

import contextlib
import http.client
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from i2i_rt.serving.client import Client
from i2i_rt.serving.errors import ServingError
from i2i_rt.serving.supervisor import STEADY_S
from tests.serving.conftest import Served, free_ports
from tests.serving.reliability.case import Case, Seen, one
from tests.serving.reliability.load import slow
from tests.serving.reliability.target import (
    Target,
    model_processes,
    regions,
    request,
    server_process,
    start_service,
    translated,
)

BACK_S = 15.0  # in which a server is back that had to be started again
GONE_S = 15.0  # in which nothing of a service is left that was killed itself
MODEL = "cut-translate"
BROKEN_MODEL = "raise RuntimeError('this version was never tried')\n"
WRONG_MODEL = """
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "code"))

from i2i_rt.serving.backend.stage import StageModel


class TritonPythonModel(StageModel):
    def answer(self, inputs, request):
        return {name: 255 - array for name, array in super().answer(inputs, request).items()}
"""


@dataclass
class Load:
    """What clients saw that asked all the time.

    Attributes:
        answers: how many they got; all of them right.
        codes: of what they got in place of an answer, if they do not ask again by themselves.
        longest_s: that one of them waited for an answer.
        wrong: answers that were not right.
    """

    answers: int = 0
    codes: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    wrong: int = 0

    @property
    def note(self) -> str:
        return f"{self.answers} right answers, the longest after {self.longest_s:.1f} s"


@contextlib.contextmanager
def raw_load(target: Target, model: str = MODEL, clients: int = 2) -> Iterator[Load]:
    """Clients that take every answer as it is."""
    data = request(model, {"frames": target.frames}).SerializeToString()

    def ask(load: Load) -> None:
        answer = target.ask(data)
        load.longest_s = max(load.longest_s, answer.seconds)
        if answer.code != "OK":
            load.codes.append(answer.code)
            time.sleep(0.05)
        elif np.array_equal(translated(answer), target.right):
            load.answers += 1
        else:
            load.wrong += 1

    with _asking(ask, clients) as load:
        yield load


@contextlib.contextmanager
def patient_load(target: Target, clients: int = 3) -> Iterator[Load]:
    """Clients of ours, which ask again while a server restarts."""
    url = f"grpc://127.0.0.1:{target.served.grpc}"
    with Client(url, bundle="cut", key=target.key, deadline_s=8 * BACK_S) as client:

        def ask(load: Load) -> None:
            started = time.monotonic()
            try:
                found = client.translate(target.frames)
            except ServingError as error:
                load.codes.append(f"{type(error).__name__}: {error}")
                return
            load.longest_s = max(load.longest_s, time.monotonic() - started)
            if np.array_equal(found, target.right):
                load.answers += 1
            else:
                load.wrong += 1

        ask(Load())
        with _asking(ask, clients) as load:
            yield load


@contextlib.contextmanager
def _asking(ask: Callable[[Load], None], clients: int) -> Iterator[Load]:
    load, stop = Load(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            ask(load)

    with ThreadPoolExecutor(clients) as pool:
        tasks = [pool.submit(work) for _ in range(clients)]
        try:
            yield load
        finally:
            stop.set()
        for task in tasks:
            task.result()


def _ended_in_request(number: int) -> Callable[[Target], Seen]:
    """A model's process gets a signal while it works on a request."""

    def run(target: Target) -> Seen:
        call = target.begin(slow(target))
        target.wait_in_flight(1)
        (process,) = model_processes(target.served, "patient-translate")
        process.send_signal(number)
        since = time.monotonic()
        code = call.code().name
        seconds = time.monotonic() - since
        assert "has ended" in call.details() or "restarts" in call.details(), call.details()
        return one(code, since=since, note=f"the request was answered after {seconds:.1f} s")

    return run


def _killed_under_load(find: Callable[[Target], psutil.Process]) -> Callable[[Target], Seen]:
    """A process is killed while clients ask that ask again."""

    def run(target: Target) -> Seen:
        with patient_load(target) as load:
            time.sleep(0.5)
            find(target).kill()
            since, before = time.monotonic(), load.answers
            time.sleep(0.3)
            target.wait_right(4 * BACK_S)
            answered = load.answers
            while load.answers < answered + 10:
                assert time.monotonic() - since < 5 * BACK_S
                time.sleep(0.05)
        assert not load.codes and not load.wrong and load.answers > before, load
        return Seen(frozenset(), since=since, note=load.note)

    return run


def _hanging(target: Target) -> Seen:
    """A model's process neither goes on nor ends."""
    (process,) = model_processes(target.served, "patient-translate")
    process.suspend()
    return one(target.ask(slow(target)).code, since=time.monotonic())


def load_model(target: Target, model: str = MODEL) -> str:
    """Lets the server load a model as its folder is now, and gives the code."""
    from tritonclient.grpc.service_pb2 import RepositoryModelLoadRequest

    data = RepositoryModelLoadRequest(model_name=model).SerializeToString()
    return target.ask(data, "RepositoryModelLoad", key=target.key, timeout=60).code


@contextlib.contextmanager
def version(target: Target, code: str | None) -> Iterator[Path]:
    """A second version of a model; None: the same code. In the end it is taken away, and the first loaded again."""
    folder = target.repository.models_folder / MODEL
    shutil.copytree(folder / "1", folder / "2", ignore=shutil.ignore_patterns("__pycache__"))
    if code is not None:
        (folder / "2" / "model.py").write_text(code)
    try:
        yield folder / "2"
    finally:
        shutil.rmtree(folder / "2")
        assert load_model(target) == "OK"


def _broken_version(target: Target) -> Seen:
    """The new version cannot be loaded; the one before it serves on, and the server is ready all the time."""
    with raw_load(target) as load, version(target, BROKEN_MODEL):
        code = load_model(target)
        for _ in range(20):
            assert target.post("/v2/health/ready", method="GET").code == "200"
            time.sleep(0.05)
    assert not load.codes and not load.wrong and load.answers > 10, load
    return one(code, note=load.note)


def _broken_config(target: Target) -> Seen:
    """A config that cannot be read; the model serves on."""
    file = target.repository.models_folder / MODEL / "config.pbtxt"
    before = file.read_text()
    try:
        file.write_text(before + "\nbackends: [")
        with raw_load(target) as load:
            code = load_model(target)
            time.sleep(0.5)
    finally:
        file.write_text(before)
    assert not load.codes and not load.wrong and load.answers, load
    return one(code, note=load.note)


def _wrong_version(target: Target) -> Seen:
    """The new version loads, and gives wrong pixels: nobody gets them, and the model is not ready until it is gone."""
    restarts = target.metric("i2i_rt_restarts_total")
    with raw_load(target) as load:
        with version(target, WRONG_MODEL):
            assert load_model(target) == "OK"
            since = time.monotonic()
            while target.post(f"/v2/models/{MODEL}/ready", method="GET").code == "200":
                assert time.monotonic() - since < 5, "the wrong version was not found"
                time.sleep(0.02)
            found = time.monotonic() - since
            time.sleep(1)
            assert target.ask(request(MODEL, {"frames": target.frames}).SerializeToString()).code == "UNAVAILABLE"
            while target.metric("i2i_rt_restarts_total") == restarts or not target.metric("i2i_rt_up"):
                assert time.monotonic() - since < 4 * BACK_S
                time.sleep(0.05)
        since = time.monotonic()
        target.wait_right(4 * BACK_S)
    assert not load.wrong, f"{load.wrong} wrong answers, {load.answers} right ones"
    return Seen(frozenset(load.codes), since=since, note=f"found after {found:.2f} s")


def _new_version(target: Target) -> Seen:
    from tritonclient.grpc.service_pb2 import ModelInferResponse

    data = request(MODEL, {"frames": target.frames}).SerializeToString()
    with raw_load(target) as load, version(target, None):
        code = load_model(target)
        assert ModelInferResponse.FromString(target.ask(data).content).model_version == "2"
    assert ModelInferResponse.FromString(target.ask(data).content).model_version == "1"
    assert not load.codes and not load.wrong and load.answers, load
    return one(code, note=load.note)


def _reloads(count: int) -> Callable[[Target], Seen]:
    def run(target: Target) -> Seen:
        codes = set()
        with raw_load(target, clients=4) as load:
            for _ in range(count):
                os.utime(target.repository.models_folder / MODEL / "1" / "model.py")
                codes.add(load_model(target))
        assert not load.codes and not load.wrong and load.answers > count, load
        return Seen(frozenset(codes), note=load.note)

    return run


def _unloaded(target: Target) -> Seen:
    """A model that is taken away by the administrator is not found; the server is ready without it."""
    from tritonclient.grpc.service_pb2 import RepositoryModelUnloadRequest

    data = RepositoryModelUnloadRequest(model_name="slow-translate").SerializeToString()
    try:
        assert target.ask(data, "RepositoryModelUnload", key=target.key).code == "OK"
        found = {target.ask(slow(target, "slow-translate")).code}
        time.sleep(3)  # its canary comes meanwhile
        found.add(target.ask(slow(target, "slow-translate")).code)
        assert not target.problem()
    finally:
        assert load_model(target, "slow-translate") == "OK"
    answer = target.ask(slow(target, "slow-translate"))
    assert np.array_equal(translated(answer), target.right), answer
    return Seen(frozenset(found))


def _second_service(target: Target) -> Seen:
    """Another service on the ports of the first one ends with a sentence."""
    served = target.served
    codes = set()
    for place, option in enumerate(("--grpc", "--http", "--metrics")):
        ports = free_ports(3)
        ports[place] = (served.grpc, served.http, served.metrics)[place]
        folder = target.folder / f"second{option}"
        folder.mkdir()
        second = start_service(target.repository, folder, ports=ports)
        codes.add(str(second.process.wait(60)))
        assert f"in use or cannot be opened; choose one with {option}" in second.said(), second.said()
        assert not list(folder.glob("i2i_rt/serving/*/key"))
    return Seen(frozenset(codes))


@contextlib.contextmanager
def another(target: Target, name: str) -> Iterator[Target]:
    """A service of its own, for what the target does not survive."""
    folder = target.folder / name
    folder.mkdir()
    with Target(target.bundles, folder, served=("cut",)) as found:
        yield found


def left_over(pids: list[int], names: tuple[str, ...]) -> list[str]:
    """Gives what is still there of processes and regions of shared memory."""
    alive = [f"process {pid}" for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    return alive + [name for name in names if (Path("/dev/shm") / name).exists()]


def everything(served: Served) -> tuple[list[int], tuple[str, ...]]:
    """Gives the processes and the regions of a service."""
    process = psutil.Process(served.process.pid)
    return [process.pid, *(child.pid for child in process.children(recursive=True))], regions(served)


def _stopped_under_load(target: Target) -> Seen:
    """Requests that were taken are answered, those that come later are told, and nothing is left.

    A connection that is open and idle, and a stream that is not ended, are no reasons to stay.
    """
    with another(target, "stopped") as other, ThreadPoolExecutor(5) as pool:
        idle = http.client.HTTPConnection("127.0.0.1", other.served.http)
        idle.request("GET", "/v2/health/live")
        assert idle.getresponse().read() == b""
        assert other.asked("cut-stream", {"frame": other.frames[0]}, sequence_id=9, sequence_start=True)[0] == "OK"
        work = [pool.submit(other.ask, slow(other)) for _ in range(5)]
        other.wait_in_flight(5)
        pids, names = everything(other.served)
        since = time.monotonic()
        other.served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        late = other.ask(request(MODEL, {"frames": other.frames}).SerializeToString())
        answers = [one.result() for one in work]
        assert other.served.process.wait(30) == 0, other.served.said()
        seconds = time.monotonic() - since
        assert "stopping" in late.words, late
        for answer in answers:
            assert answer.code == "OK" and np.array_equal(translated(answer), other.right), answer
        assert not left_over(pids, names), left_over(pids, names)
        assert not other.served.key_file.exists()
        idle.close()
    return Seen(frozenset({late.code, *(answer.code for answer in answers)}), note=f"ended after {seconds:.1f} s")


def _service_killed(target: Target) -> Seen:
    """The process of `i2i-rt serve` itself is killed: nothing of it is left, and another one starts in its place."""
    with another(target, "killed") as other:
        pids, names = everything(other.served)
        call = other.begin(slow(other))
        other.wait_in_flight(1)
        other.served.process.kill()
        since = time.monotonic()
        code = call.code().name
        while left_over(pids, names):
            assert time.monotonic() - since < GONE_S, left_over(pids, names)
            time.sleep(0.05)
        seconds = time.monotonic() - since
        ports = (other.served.grpc, other.served.http, other.served.metrics)
        again = start_service(other.repository, other.folder, ports=ports)
        try:
            again.wait_for("ready in")
        finally:
            assert again.stop() == 0, again.said()
    return one(code, note=f"nothing was left after {seconds:.1f} s")


def steady(run: Callable[[Target], Seen]) -> Callable[[Target], Seen]:
    """Waits until earlier restarts no longer delay the next one."""

    def waited(target: Target) -> Seen:
        time.sleep(STEADY_S)
        return run(target)

    return waited


def one_process(model: str) -> Callable[[Target], psutil.Process]:
    return lambda target: model_processes(target.served, model)[0]


UNAVAILABLE, OK, BAD = frozenset({"UNAVAILABLE"}), frozenset({"OK"}), frozenset({"INVALID_ARGUMENT"})
CASES = (
    Case(
        "a model's process is killed in a request",
        UNAVAILABLE,
        _ended_in_request(signal.SIGKILL),
        restarts=1,
        within_s=BACK_S,
    ),
    Case(
        "a model's process is killed, clients ask again",
        frozenset(),
        _killed_under_load(one_process(MODEL)),
        restarts=1,
        within_s=BACK_S,
    ),
    Case(
        "the server is killed, clients ask again",
        frozenset(),
        _killed_under_load(lambda target: server_process(target.served)),
        restarts=1,
        within_s=BACK_S,
    ),
    Case("a version that cannot be loaded", BAD, _broken_version),
    Case("a config that cannot be read", frozenset({"INTERNAL"}), _broken_config),
    Case("a version that gives wrong pixels", UNAVAILABLE, _wrong_version, restarts=1, within_s=BACK_S),
    Case("a good new version", OK, _new_version),
    Case("a model is loaded 3 times under load", OK, _reloads(3)),
    Case("a model is loaded 20 times under load", OK, _reloads(20), is_long=True),
    Case("a model is unloaded", frozenset({"NOT_FOUND"}), _unloaded),
    Case("a second service on the same ports", frozenset({"2"}), _second_service),
    Case("SIGTERM under load", frozenset({"OK", "UNAVAILABLE"}), _stopped_under_load),
    Case("the service itself is killed", UNAVAILABLE, _service_killed),
    Case(
        "a model's process crashes in a request",
        UNAVAILABLE,
        steady(_ended_in_request(signal.SIGSEGV)),
        restarts=1,
        within_s=BACK_S,
        is_long=True,
    ),
    Case("a model's process hangs", UNAVAILABLE, steady(_hanging), restarts=1, within_s=60.0, is_long=True),
)
