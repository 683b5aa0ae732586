"""Loading models while the server runs: nobody gets a version's answer before its canary came back right."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from i2i_rt.serving.gateway.gate import Gate
from i2i_rt.serving.gateway.upstream import Upstream
from i2i_rt.serving.health import Health

LOAD_S = 600.0  # that loading a model may take
# The server may use a new version some milliseconds before it says that it is loaded. For as long an answer is
# kept back while a model is loaded: one that is then still loading was given by the old version.
SWITCH_S = 0.05


@dataclass
class Load:
    """A model that is being loaded.

    Attributes:
        is_loaded: set when the server says so, or that it failed.
        is_judged: set when its canary came back after that, and those of the models that ask it.
    """

    is_loaded: asyncio.Event = field(default_factory=asyncio.Event)
    is_judged: asyncio.Event = field(default_factory=asyncio.Event)


class Versions:
    """Loads models, and keeps answers back that may be of a version that nobody has judged."""

    def __init__(self, gate: Gate, upstream: Upstream, health: Health) -> None:
        self._gate, self._upstream, self._health = gate, upstream, health
        self._loads: dict[str, Load] = {}  # by the bundle, whose models ask each other
        self._tasks: set[asyncio.Task[bytes]] = set()

    @property
    def are_loading(self) -> bool:
        return bool(self._loads)

    async def load(self, name: str, data: bytes) -> bytes:
        """Sends the request to load a model, and gives the answer once the model is judged.

        It goes to its end even where its client has gone.

        Raises:
            Refused: with the server's code where it cannot be loaded; the version before it stays.
        """
        task = asyncio.create_task(self._load(name, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _load(self, name: str, data: bytes) -> bytes:
        served = self._gate.models.get(name)
        if served is None:
            return await self._upstream.call("RepositoryModelLoad", data, timeout=LOAD_S)
        while (before := self._loads.get(served.bundle)) is not None:
            await before.is_judged.wait()
        load = self._loads[served.bundle] = Load()
        try:
            answer = await self._upstream.call("RepositoryModelLoad", data, timeout=LOAD_S)
            load.is_loaded.set()
            await self._health.judge(
                other.name for other in self._gate.models.values() if other.bundle == served.bundle
            )
        finally:
            del self._loads[served.bundle]
            load.is_loaded.set()
            load.is_judged.set()
        return answer

    async def release(self, name: str) -> None:
        """Waits until an answer of a model is known to be of a version that answers right.

        Raises:
            Refused: UNAVAILABLE where that version does not.
        """
        served = self._gate.models.get(name)
        load = None if served is None else self._loads.get(served.bundle)
        if load is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SWITCH_S):
                await load.is_loaded.wait()
        if load.is_loaded.is_set():
            await load.is_judged.wait()
            self._gate.require_ready(name)
