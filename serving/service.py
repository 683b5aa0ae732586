"""A service: the server, who watches it, and the gateway in front of both, in one process."""

import asyncio
import contextlib
import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from i2i_rt.bundle import Bundle
from i2i_rt.serving import execution, keys
from i2i_rt.serving.config import read_config
from i2i_rt.serving.execution import Execution
from i2i_rt.serving.gateway.gate import Gate
from i2i_rt.serving.gateway.http import HttpInterface
from i2i_rt.serving.gateway.metrics import MetricsInterface
from i2i_rt.serving.gateway.rpc import RpcInterface
from i2i_rt.serving.gateway.tls import Tls
from i2i_rt.serving.gateway.upstream import Upstream
from i2i_rt.serving.gateway.versions import Versions
from i2i_rt.serving.golden import Canary, canary_of
from i2i_rt.serving.health import Health
from i2i_rt.serving.installation import Installation
from i2i_rt.serving.repository import Repository
from i2i_rt.serving.server import TritonServer
from i2i_rt.serving.supervisor import Supervisor

CLOSING_S = 1.0  # for answers to be sent
LOG_FILE = "server.log"


@dataclass(frozen=True)
class Options:
    """How a repository is served.

    Attributes:
        host: the address to listen on.
        http, grpc, metrics: the ports.
        canary_interval_s: between two canaries of a model.
        max_in_flight: requests at a time; more are refused at once.
        drain_s: how long requests may go on when the service ends.
        key: the administrator's; None: one is drawn and put where this user's clients find it.
        tls: certificates; None: none.
    """

    host: str = "127.0.0.1"
    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002
    canary_interval_s: float = 2.0
    max_in_flight: int = 64
    drain_s: int = 20
    key: str | None = None
    tls: Tls | None = None


class Service:
    """Serves a repository until it is told to stop.

    Args:
        repository: what is served.
        installation: the server.
        options: how.
        say: is told of what an operator should know, line by line.
    """

    def __init__(
        self, repository: Repository, installation: Installation, options: Options, say: Callable[[str], None]
    ) -> None:
        self._options, self._say = options, say
        self._health = Health.of(model.name for model in repository.models)
        self._upstream = Upstream(self._health)
        self._folder = keys.run_folder(options.grpc)
        self._canaries = canaries(repository)
        start = functools.partial(
            TritonServer,
            repository.models_folder,
            installation=installation,
            log=self._folder / LOG_FILE,
            drain_s=options.drain_s,
            arguments=repository.options.arguments,
        )
        self._supervisor = Supervisor(
            start,
            self._canaries,
            self._health,
            self._upstream,
            start_s=repository.options.start_s,
            interval_s=options.canary_interval_s,
            say=say,
        )
        self._models = repository.models

    async def run(self, ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Serves; `ready` is called once every model answered right, and the end begins when `stop` is set.

        Raises:
            I2IError: where a port is taken, the server does not start, or a model's answer is wrong.
        """
        options = self._options
        key = options.key or secrets.token_urlsafe(32)
        gate = Gate(self._models, self._health, key, max_in_flight=options.max_in_flight)
        versions = Versions(gate, self._upstream, self._health)
        rpc = RpcInterface(gate, self._upstream, self._health, versions)
        http = HttpInterface(gate, self._upstream, self._health, versions)
        metrics = MetricsInterface(gate, self._health, self._metrics_socket)
        work: asyncio.Task[None] | None = None
        try:
            # the ports first: who starts a second service on them must know before minutes of loading
            await rpc.start(options.host, options.grpc, options.tls)
            await http.start(options.host, options.http, options.tls)
            await metrics.start(options.host, options.metrics)
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._folder / LOG_FILE).unlink(missing_ok=True)
            if options.key is None:
                keys.write_key(self._folder, key)
            work = asyncio.create_task(self._work(ready))
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if work.done():
                work.result()
        finally:
            self._health.is_draining = True
            # the ports stay open meanwhile: who comes now is told so, where a closed port would tell them nothing
            await gate.until_empty(options.drain_s)
            await asyncio.gather(rpc.stop(CLOSING_S), http.stop(CLOSING_S))
            if work is not None:
                work.cancel()
                await asyncio.wait({work})
                (self._folder / keys.KEY_FILE).unlink(missing_ok=True)
            await self._supervisor.stop()
            await metrics.stop()
        # after an end in order nobody wants to know more; else the log stays
        (self._folder / LOG_FILE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    async def _work(self, ready: Callable[[], None]) -> None:
        await self._supervisor.start()
        ready()
        await self._supervisor.watch()

    def _metrics_socket(self) -> Path | None:
        server = self._supervisor.server
        return None if server is None else server.metrics_socket


def canaries(repository: Repository) -> list[Canary]:
    """Gives the canaries of a repository's models, those that have one.

    Raises:
        BundleError: where a bundle is missing, or has no golden cases.
    """
    bundles: dict[str, Bundle] = {}
    for model in repository.models:
        config = read_config(repository.models_folder / model.name)
        if execution.PARAMETER in config.parameters:  # those that the server runs itself have none
            run = Execution.from_text(config.parameters[execution.PARAMETER].string_value)
            bundles[model.bundle] = Bundle.open(repository.folder / run.bundle)
    found = (canary_of(model, bundles[model.bundle]) for model in repository.models if model.bundle in bundles)
    return [canary for canary in found if canary is not None]
