"""Models that are loaded while requests come: no answer of a version goes out before the version was judged."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from i2i_rt.serving.gateway import versions as versions_module
from i2i_rt.serving.gateway.refused import Refused
from tests.serving.gateway.front import Front, front

NAME, OTHER = "m-translate", "m-image"  # of one bundle


def run(test: Callable[[Front], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with front() as gateway:
            await test(gateway)

    asyncio.run(inside())


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions_module, "SWITCH_S", 0.1)


async def begun(gateway: Front) -> "asyncio.Task[bytes]":
    task = asyncio.create_task(gateway.versions.load(NAME, b""))
    await asyncio.sleep(0.02)
    return task


def judging(gateway: Front, state: Any, seconds: float = 0.0) -> list[str]:
    """Lets the canaries find a state; gives the names that are asked, once they are."""
    asked: list[str] = []

    async def judge(names: Iterable[str]) -> None:
        asked.extend(names)
        await asyncio.sleep(seconds)
        gateway.health.models[NAME].state = state

    gateway.health.judge = judge
    return asked


def test_answers_of_the_old_version_go_out_while_the_new_one_loads() -> None:
    async def test(gateway: Front) -> None:
        gateway.server.seconds = 0.6
        load, started = await begun(gateway), time.monotonic()
        await gateway.versions.release(NAME)
        assert 0.05 < time.monotonic() - started < 0.4 and not load.done()
        await gateway.versions.release("of no model of ours")
        await load
        assert not gateway.versions.are_loading and gateway.server.calls == ["RepositoryModelLoad"]
        await gateway.versions.release(NAME)

    run(test)


@pytest.mark.parametrize("name", [NAME, OTHER])
def test_answers_wait_for_the_canaries_of_the_bundle(name: str) -> None:
    async def test(gateway: Front) -> None:
        gateway.server.seconds = 0.05
        asked = judging(gateway, "good", 0.3)
        load, started = await begun(gateway), time.monotonic()
        await gateway.versions.release(name)
        assert time.monotonic() - started > 0.25
        assert set(asked) == set(gateway.gate.models)
        await load

    run(test)


def test_answers_of_a_version_that_is_wrong_are_refused() -> None:
    async def test(gateway: Front) -> None:
        gateway.server.seconds = 0.05
        judging(gateway, "bad")
        load = await begun(gateway)
        with pytest.raises(Refused, match="m-translate is not ready"):
            await gateway.versions.release(NAME)
        await load

    run(test)


def test_version_that_cannot_be_loaded_holds_nobody_up() -> None:
    async def test(gateway: Front) -> None:
        gateway.server.seconds, gateway.server.failure = 0.05, Refused("INVALID_ARGUMENT", "broken")
        asked = judging(gateway, "bad")
        load = await begun(gateway)
        await gateway.versions.release(NAME)
        with pytest.raises(Refused, match="broken"):
            await load
        assert not asked and not gateway.versions.are_loading

    run(test)


def test_version_is_judged_though_its_client_has_gone() -> None:
    async def test(gateway: Front) -> None:
        gateway.server.seconds = 0.1
        asked = judging(gateway, "good")
        load = await begun(gateway)
        load.cancel()
        await asyncio.wait({load})
        await gateway.versions.release(NAME)
        assert asked and gateway.server.cancelled == 0

    run(test)


def test_loads_of_a_bundle_come_one_after_another() -> None:
    async def test(gateway: Front) -> None:
        gateway.server.seconds = 0.1
        started = time.monotonic()
        await asyncio.gather(gateway.versions.load(NAME, b""), gateway.versions.load(OTHER, b""))
        assert time.monotonic() - started > 0.18

    run(test)
