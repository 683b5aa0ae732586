"""Keeps a server that answers right: starts it, asks every model by its canary, and starts it again where one ends.

The server does not start a model's process again that has ended, and goes on calling itself healthy; the cure is a new
server. No request is passed to a model before its canary came back right.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from i2i_rt.errors import I2IError
from i2i_rt.serving.gateway.refused import Gone, Refused
from i2i_rt.serving.gateway.upstream import Upstream, is_passed_on
from i2i_rt.serving.golden import Canary
from i2i_rt.serving.health import Health
from i2i_rt.serving.server import ServerCrashed, TritonServer

FIRST_TIMEOUT_S = 120.0  # what runs first may be compiled first
CANARY_TIMEOUT_S = 10.0
HANGING_S = 30.0  # without an answer to anybody: a model that is only busy answers in between
BACKOFF_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # before each restart in a row
PROCESS_S = 0.3  # between two looks at the processes
SHARE = 20  # a model whose canary takes long is asked less often: no more than a twentieth of the time is spent on it
LONGEST_INTERVAL_S = 60.0
END_S = 0.5  # for the end of the server's process to be seen
STEADY_S = 60.0  # after which restarts are counted from the beginning


@dataclass(frozen=True)
class Finding:
    """What a canary found: that its model answers right, is busy, is gone, or else what is wrong.

    `is_passed_on`: what was found is another model's; the one that was asked lives.
    """

    problem: str = ""
    is_busy: bool = False
    is_passed_on: bool = False
    is_absent: bool = False
    is_dead: bool = False


class Supervisor:
    """Runs a server and watches it.

    Args:
        start: starts a server, which is then waited for.
        canaries: a request for each model, by which it is judged.
        health: where the findings are kept.
        upstream: gets the address of each new server.
        start_s: that a server may take to load its models.
        interval_s: between two canaries of a model.
        say: is told of what an operator should know.
    """

    def __init__(
        self,
        start: Callable[[], TritonServer],
        canaries: Sequence[Canary],
        health: Health,
        upstream: Upstream,
        *,
        start_s: float,
        interval_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._start, self._upstream, self._health = start, upstream, health
        self._start_s, self._interval_s, self._say = start_s, interval_s, say
        self._canaries = {canary.model.name: canary for canary in canaries}
        self._requests = {canary.model.name: canary.request().SerializeToString() for canary in canaries}
        self._server: TritonServer | None = None
        # when each model that was found busy was first asked in vain
        self._busy_since: dict[str, float] = {}
        self._wake = {name: asyncio.Event() for name in self._canaries}
        # cleared by who waits for a canary, and set by the first one that was sent after that
        self._judged = {name: asyncio.Event() for name in self._canaries}
        health.suspect, health.judge = self._suspect, self._judge_now

    @property
    def server(self) -> TritonServer | None:
        """The server that runs now."""
        return self._server

    async def start(self) -> None:
        """Starts the server, and waits until every model answered right.

        Raises:
            I2IError: where it does not start, or a model's answer is wrong.
        """
        try:
            await self._launch()
        except ServerCrashed as error:
            # a release that aborts at one start in hundreds starts the next time
            self._say(f"{error}; trying again")
            await self._take_down()
            await self._launch()
        for name, model in self._health.models.items():
            if model.state == "bad":
                raise I2IError(f"{name} does not compute what it should: {model.reason}")

    async def watch(self) -> None:
        """Watches until it is cancelled, and starts the server again when it has to be."""
        in_a_row = 0
        while True:
            started = time.monotonic()
            reason = await self._until_broken()
            if time.monotonic() - started > STEADY_S:
                in_a_row = 0
            self._health.restarts += 1
            self._say(f"{reason}; the server restarts")
            await self._take_down()
            while True:
                await asyncio.sleep(BACKOFF_S[min(in_a_row, len(BACKOFF_S) - 1)])
                in_a_row += 1
                begun = time.monotonic()
                try:
                    await self._launch()
                    break
                except I2IError as error:
                    self._say(f"{error}; trying again")
                    await self._take_down()
            bad = [f"{name} ({model.reason})" for name, model in self._health.models.items() if model.state == "bad"]
            state = f"but not {', '.join(bad)}" if bad else "all models answer right"
            self._say(f"the server is back after {time.monotonic() - begun:.1f} s, {state}")

    async def stop(self) -> None:
        """Ends the server once its requests are answered."""
        await self._end(at_once=False)

    def _suspect(self, name: str) -> None:
        if name in self._wake:
            self._wake[name].set()

    async def _judge_now(self, names: Iterable[str]) -> None:
        if not self._health.takes_requests:
            return  # all models are judged when the server is back
        known = [name for name in names if name in self._canaries]
        for name in known:
            self._judged[name].clear()
            self._wake[name].set()
        for name in known:
            await self._judged[name].wait()

    async def _launch(self) -> None:
        for model in self._health.models.values():
            model.state, model.reason = "waiting", "it has not answered yet"
        self._server = server = self._start()
        await asyncio.to_thread(server.wait_ready, self._start_s)
        self._upstream.connect(server.address)
        for name in self._canaries:
            await self._judge(name, FIRST_TIMEOUT_S)
        for name in self._health.models.keys() - self._canaries.keys():
            self._health.models[name].good()  # nothing was recorded for it, so the server's word must do
        self._health.went_up()

    async def _take_down(self) -> None:
        if self._health.is_up:
            self._health.went_down()
        for judged in self._judged.values():  # who waits learns from the server's state
            judged.set()
        # its requests cannot be waited for: those of an ended model never end
        await self._end(at_once=True)

    async def _end(self, *, at_once: bool) -> None:
        channel = self._upstream.disconnect()
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.kill if at_once else server.stop)
        if channel is not None:
            await channel.close()

    async def _until_broken(self) -> str:
        """Watches all models and the server's process; gives the reason when one is broken."""
        tasks = [asyncio.create_task(self._watch_process())]
        for place, name in enumerate(self._canaries):
            delay = self._interval_s * place / len(self._canaries)
            tasks.append(asyncio.create_task(self._watch_model(name, delay)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # where the server itself has ended, a canary may have noticed first
            ended, _ = await asyncio.wait(tasks[:1], timeout=END_S)
            return (ended or done).pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_process(self) -> str:
        server = self._server
        assert server is not None
        before: set[str] = set()
        while server.exit_code is None:
            ended = server.ended_models()
            # a process that was told to end is seen for a moment too
            if ended & before:
                return f"{', '.join(sorted(ended))}: its process has ended"
            before = ended
            await asyncio.sleep(PROCESS_S)
        return f"the server ended with code {server.exit_code}"

    async def _watch_model(self, name: str, delay_s: float) -> str:
        """Gives the reason when a model that answered right no longer does."""
        wake = self._wake[name]
        wait_s = delay_s
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), wait_s)
            wake.clear()
            model = self._health.models[name]
            was_good, is_awaited = model.state == "good", not self._judged[name].is_set()
            is_busy = await self._judge(name)
            if is_awaited:
                self._judged[name].set()
            if was_good and model.state == "bad":
                return f"{name}: {model.reason}"
            # how long a model takes that is busy says nothing of it, and whether it hangs must be known soon
            wait_s = self._interval_s
            if not is_busy:
                wait_s = min(max(wait_s, SHARE * model.seconds), LONGEST_INTERVAL_S)

    async def _judge(self, name: str, timeout_s: float = CANARY_TIMEOUT_S) -> bool:
        """Sends a model's canary and keeps the finding; what may be a single failure is asked once more.

        Returns:
            whether it was found busy.
        """
        model, asked = self._health.models[name], time.monotonic()
        finding = await self._ask(name, timeout_s)
        if finding.problem and not finding.is_dead:
            finding = await self._ask(name, timeout_s)
        if finding.is_passed_on:
            model.seen()
        if finding.is_absent:
            model.state, model.reason = "absent", "it was unloaded"
        elif finding.is_busy:
            since = self._busy_since.get(name, asked)
            self._busy_since[name] = since = asked if model.answered > since else since
            if model.state == "waiting" or time.monotonic() - since > HANGING_S:
                model.bad("it gives no answer")
        elif finding.problem:
            model.bad(finding.problem)
        else:
            model.good()
        return finding.is_busy

    async def _ask(self, name: str, timeout_s: float) -> Finding:
        from tritonclient.grpc.service_pb2 import ModelInferResponse

        canary, model = self._canaries[name], self._health.models[name]
        model.canaries += 1
        started = time.perf_counter()
        try:
            answer = await self._upstream.call("ModelInfer", self._requests[name], timeout=timeout_s)
        except Refused as refused:
            finding = replace(_judged(refused), is_passed_on=is_passed_on(str(refused), name))
        else:
            finding = Finding(canary.problem(ModelInferResponse.FromString(answer)) or "")
        model.seconds = time.perf_counter() - started
        model.failures += bool(finding.problem)
        return finding


def _judged(refused: Refused) -> Finding:
    """Says what an error in place of an answer means."""
    words = str(refused)
    if isinstance(refused, Gone):
        return Finding("its process has ended", is_dead=True)
    if refused.code == "NOT_FOUND" or "no available versions" in words:
        return Finding(is_absent=True)
    # a full queue or too many streams, which whoever refuses tells as such
    return Finding(is_busy=True) if refused.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED") else Finding(words)
