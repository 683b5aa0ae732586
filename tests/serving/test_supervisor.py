"""The supervisor with a stand-in of the server: what is a restart's reason, what is not, and who is told ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from i2i_rt.errors import I2IError
from i2i_rt.serving import supervisor as supervisor_module
from i2i_rt.serving.gateway.refused import Gone, Refused
from i2i_rt.serving.golden import Canary
from i2i_rt.serving.health import Health
from i2i_rt.serving.server import ServerCrashed, TritonServer
from i2i_rt.serving.supervisor import Supervisor
from tests.serving.gateway.front import MODELS

RIGHT = np.arange(192, dtype=np.uint8).reshape(1, 8, 8, 3)
A, B = "m-translate", "m-styled"


@dataclass
class World:
    """Servers and their models as the supervisor sees them.

    Attributes:
        started: the servers, in order.
        pixels: what each model's answer has in place of the right pixels.
        failures: what each model raises in place of an answer.
        said: what the supervisor told its operator.
    """

    started: list["FakeServer"] = field(default_factory=list)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    failures: dict[str, Refused] = field(default_factory=dict)
    cannot_start: list[str | I2IError] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    cures: bool = True
    seconds: float = 0.0

    def start(self) -> Any:
        if self.started and self.cures:
            self.pixels, self.failures = {}, {}
        self.started.append(FakeServer(self))
        return self.started[-1]

    async def call(self, method: str, data: bytes, *, timeout: float | None = None, model: str = "") -> bytes:
        from tritonclient.grpc import service_pb2 as pb

        await asyncio.sleep(self.seconds)
        name = pb.ModelInferRequest.FromString(data).model_name
        if name in self.failures:
            raise self.failures[name]
        answer = pb.ModelInferResponse()
        answer.outputs.add(name="translated", datatype="UINT8", shape=RIGHT.shape)
        answer.raw_output_contents.append(self.pixels.get(name, RIGHT).tobytes())
        result: bytes = answer.SerializeToString()
        return result

    def connect(self, address: str) -> None:
        pass

    def disconnect(self) -> None:
        return None


class FakeServer:
    def __init__(self, world: World) -> None:
        self.address, self.exit_code, self.end = "unix:/nowhere", None, ""
        self.ended: set[str] = set()
        self._world = world

    def ended_models(self) -> set[str]:
        return self.ended

    def wait_ready(self, timeout_s: float) -> None:
        if self._world.cannot_start:
            reason = self._world.cannot_start.pop(0)
            raise reason if isinstance(reason, I2IError) else I2IError(reason)

    def stop(self) -> None:
        self.end = "stopped"

    def kill(self) -> None:
        self.end = "killed"


@contextlib.asynccontextmanager
async def watched(world: World) -> AsyncIterator[tuple[Supervisor, Health]]:
    """Gives a supervisor that has started and watches."""
    health = Health.of((A, B))
    canaries = [Canary(model, {"frames": RIGHT}, {"translated": RIGHT}) for model in MODELS[:2]]
    stands_in: Any = world
    supervisor = Supervisor(
        world.start, canaries, health, stands_in, start_s=1.0, interval_s=0.05, say=world.said.append
    )
    await supervisor.start()
    task = asyncio.create_task(supervisor.watch())
    try:
        yield supervisor, health
    finally:
        task.cancel()
        await asyncio.wait({task})
        await supervisor.stop()


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def run(test: Callable[[World], Any]) -> World:
    world = World()
    asyncio.run(test(world))
    return world


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "BACKOFF_S", (0.0, 0.05))
    monkeypatch.setattr(supervisor_module, "END_S", 0.01)
    monkeypatch.setattr(supervisor_module, "PROCESS_S", 0.02)


def test_ready_after_right_answers_and_stopped_in_order() -> None:
    async def test(world: World) -> None:
        async with watched(world) as (_, health):
            assert health.is_ready
            await until(lambda: health.models[A].canaries > 3)
        assert len(world.started) == 1 and world.started[0].end == "stopped" and not world.said

    run(test)


def test_wrong_pixels_at_the_start_are_an_error() -> None:
    async def test(world: World) -> None:
        world.pixels[B] = RIGHT[:, ::-1]
        with pytest.raises(I2IError, match=f"{B} does not compute what it should: translated is wrong"):
            async with watched(world):
                pass

    run(test)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"failures": {A: Gone("gone")}}, f"{A}: its process has ended", id="process"),
        pytest.param({"failures": {A: Refused("INTERNAL", "a fault")}}, f"{A}: a fault", id="fault"),
        pytest.param({"pixels": {A: 255 - RIGHT}}, f"{A}: translated is wrong", id="pixels"),
    ],
)
def test_broken_model_is_cured_by_a_new_server(change: dict[str, Any], words: str) -> None:
    async def test(world: World) -> None:
        async with watched(world) as (_, health):
            for name, value in change.items():
                setattr(world, name, value)
            await until(lambda: health.restarts == 1 and health.is_ready)
            assert [server.end for server in world.started] == ["killed", ""]
            assert words in world.said[0] and world.said[0].endswith("the server restarts")
            assert "all models answer right" in world.said[1]

    run(test)


def test_server_that_ends_is_started_again() -> None:
    async def test(world: World) -> None:
        async with watched(world) as (_, health):
            ended: Any = world.started[0]
            ended.exit_code = 137
            await until(lambda: health.restarts == 1 and health.is_ready)
            assert world.said[0] == "the server ended with code 137; the server restarts"

    run(test)


def test_process_that_ended_is_seen_without_a_canary() -> None:
    async def test(world: World) -> None:
        async with watched(world) as (supervisor, health):
            supervisor._interval_s = 60.0
            world.started[0].ended = {A}
            await until(lambda: health.restarts == 1 and health.is_ready)
            assert world.said[0] == f"{A}: its process has ended; the server restarts"

    run(test)


def test_slow_model_is_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "SHARE", 1e9)

    async def test(world: World) -> None:
        async with watched(world) as (_, health):
            await asyncio.sleep(0.3)
            assert health.models[A].canaries <= 2

    run(test)


def test_server_that_does_not_start_is_tried_again() -> None:
    async def test(world: World) -> None:
        async with watched(world) as (_, health):
            world.cannot_start = ["no memory", "no memory"]
            world.failures[A] = Gone("gone")
            await until(lambda: health.restarts == 1 and health.is_ready)
            assert world.said.count("no memory; trying again") == 2 and len(world.started) == 4

    run(test)


def test_server_that_crashes_at_the_first_start_gets_a_second() -> None:
    async def test(world: World) -> None:
        world.cannot_start = [ServerCrashed("what(): lock_exception")]
        async with watched(world) as (_, health):
            assert health.is_ready and world.said == ["what(): lock_exception; trying again"]
            assert [server.end for server in world.started] == ["killed", ""]

    run(test)


@pytest.mark.parametrize("reasons", [["no memory"], [ServerCrashed("once"), ServerCrashed("twice")]])
def test_service_that_cannot_start_says_why(reasons: list[str | I2IError]) -> None:
    async def test(world: World) -> None:
        world.cannot_start = list(reasons)
        with pytest.raises(I2IError, match=str(reasons[-1])):
            async with watched(world):
                pass

    run(test)


def test_model_that_stays_wrong_is_left_out_and_the_others_serve() -> None:
    async def test(world: World) -> None:
        async with watched(world) as (_, health):
            world.cures = False
            world.pixels[A] = 255 - RIGHT
            await until(lambda: health.restarts == 1 and health.takes_requests)
            await asyncio.sleep(0.3)
            assert health.restarts == 1, "a restart that does not help is not repeated"
            assert not health.is_ready and health.is_model_ready(B) and not health.is_model_ready(A)
            assert f"but not {A} (translated is wrong" in world.said[1]
            world.pixels = {}
            await until(lambda: health.is_ready)

    run(test)


@pytest.mark.parametrize(
    "failure",
    [
        Refused("UNAVAILABLE", "Exceeds maximum queue size"),
        Refused("UNAVAILABLE", "Request timeout expired"),
        Refused("UNAVAILABLE", "64 streams are open; end one, or come again later"),
        Refused("DEADLINE_EXCEEDED", "Deadline Exceeded"),
    ],
)
def test_busy_model_is_not_broken_while_it_answers_others(failure: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "HANGING_S", 0.5)

    async def test(world: World) -> None:
        async with watched(world) as (_, health):
            world.failures[A] = failure
            for _ in range(20):
                await asyncio.sleep(0.05)
                health.models[A].seen()
            assert health.is_ready and health.restarts == 0
            await until(lambda: health.restarts == 1)  # now it answers nobody
            assert f"{A}: it gives no answer" in world.said[0]

    run(test)


def test_model_that_passes_on_that_another_is_busy_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "HANGING_S", 0.2)

    async def test(world: World) -> None:
        async with watched(world) as (_, health):
            busy = f"Model {A} - Error when running inference: [request id: <id_unknown>] Exceeds maximum queue size"
            world.failures[B] = Refused("UNAVAILABLE", busy)
            await asyncio.sleep(1.0)
            assert health.is_ready and health.restarts == 0
            world.failures[B] = Refused("UNAVAILABLE", "Exceeds maximum queue size")  # its own
            await until(lambda: health.restarts == 1)

    run(test)


def test_model_that_was_not_asked_for_long_is_not_hanging_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "HANGING_S", 0.3)

    async def test(world: World) -> None:
        async with watched(world) as (_, health):
            health.models[A].answered -= 60.0
            world.failures[A] = Refused("DEADLINE_EXCEEDED", "Deadline Exceeded")
            await asyncio.sleep(0.15)
            assert health.is_ready and health.restarts == 0
            await until(lambda: health.restarts == 1)

    run(test)


def test_unloaded_model_is_no_fault() -> None:
    async def test(world: World) -> None:
        async with watched(world) as (_, health):
            world.failures[A] = Refused("NOT_FOUND", "Request for unknown model")
            await until(lambda: health.models[A].state == "absent")
            await asyncio.sleep(0.2)
            assert health.is_ready and health.restarts == 0 and not health.is_model_ready(A)
            world.failures = {}
            await until(lambda: health.is_model_ready(A))

    run(test)


def test_suspicion_sends_the_canary_at_once() -> None:
    async def test(world: World) -> None:
        async with watched(world) as (supervisor, health):
            supervisor._interval_s = 60.0
            await asyncio.sleep(0.2)
            sent = health.models[A].canaries
            await asyncio.sleep(0.2)
            assert health.models[A].canaries == sent
            health.suspect(A)
            health.suspect("of no model of ours")
            await until(lambda: health.models[A].canaries == sent + 1)

    run(test)


def test_canaries_are_awaited_that_were_sent_after_the_question() -> None:
    async def test(world: World) -> None:
        async with watched(world) as (supervisor, health):
            supervisor._interval_s = 60.0
            await asyncio.sleep(0.2)
            sent = health.models[A].canaries
            await asyncio.wait_for(health.judge([A, "of no model of ours"]), 5)
            assert health.models[A].canaries == sent + 1
            world.pixels[A] = 255 - RIGHT
            await asyncio.wait_for(health.judge([A, B]), 5)
            assert not health.is_model_ready(A)
            await until(lambda: health.is_ready)

    run(test)


def test_nobody_waits_for_canaries_of_a_server_that_restarts() -> None:
    async def test(world: World) -> None:
        async with watched(world) as (supervisor, health):
            supervisor._interval_s = 60.0
            world.seconds = 60.0
            waiting = asyncio.create_task(health.judge([A]))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            ended: Any = world.started[0]
            ended.exit_code = 137
            await asyncio.wait_for(waiting, 5)
            assert not health.takes_requests
            await asyncio.wait_for(health.judge([A]), 5)
            world.seconds = 0.0

    run(test)


def test_fake_has_what_the_server_has() -> None:
    for name in ("wait_ready", "stop", "kill", "ended_models"):
        assert callable(getattr(TritonServer, name)) and callable(getattr(FakeServer, name))
