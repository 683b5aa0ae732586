"""The metrics of the server, and those of the gateway and the canaries behind them, in Prometheus' text form."""

from pathlib import Path
from typing import Any

from i2i_rt.serving.gateway.gate import Gate
from i2i_rt.serving.gateway.http import listen, stop_listening
from i2i_rt.serving.health import Health

TIMEOUT_S = 5.0


class MetricsInterface:
    """Serves `/metrics`.

    Args:
        gate, health: whose figures are added.
        socket: gives the Unix socket of the server's own metrics; None where no server runs.
    """

    def __init__(self, gate: Gate, health: Health, socket: Any) -> None:
        self._gate, self._health, self._socket = gate, health, socket
        self._runner: Any = None

    async def start(self, host: str, port: int) -> None:
        """Listens on a port.

        Raises:
            I2IError: where the port is taken.
        """
        from aiohttp import web

        app = web.Application()
        app.add_routes([web.get("/metrics", self._answer)])
        self._runner = await listen(app, host, port, "--metrics")

    async def stop(self) -> None:
        if self._runner is not None:
            await stop_listening(self._runner, 1.0)

    async def _answer(self, request: Any) -> Any:
        from aiohttp import web

        text = own_metrics(self._gate, self._health) + await _server_metrics(self._socket())
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def own_metrics(gate: Gate, health: Health) -> str:
    """Gives the figures that the server does not know itself."""
    models = health.models.items()
    families: list[tuple[str, str, str, list[tuple[str, float]]]] = [
        ("up", "gauge", "1 where the server takes requests", [("", health.takes_requests)]),
        ("ready", "gauge", "1 where all models answer right", [("", health.is_ready)]),
        ("restarts_total", "counter", "restarts of the server", [("", health.restarts)]),
        ("in_flight", "gauge", "requests that the server has not answered yet", [("", gate.in_flight)]),
        (
            "refused_total",
            "counter",
            "requests that were not answered with a result, by code",
            [(f'code="{code}"', count) for code, count in sorted(gate.refused.items())],
        ),
        (
            "model_ready",
            "gauge",
            "1 where a model's last canary came back right",
            [(f'model="{name}"', health.is_model_ready(name)) for name, _ in models],
        ),
        (
            "canaries_total",
            "counter",
            "canaries sent to a model",
            [(f'model="{name}"', model.canaries) for name, model in models],
        ),
        (
            "canary_failures_total",
            "counter",
            "canaries that came back wrong, or not at all",
            [(f'model="{name}"', model.failures) for name, model in models],
        ),
        (
            "canary_seconds",
            "gauge",
            "the time that a model's last canary took",
            [(f'model="{name}"', round(model.seconds, 6)) for name, model in models],
        ),
    ]
    lines = []
    for name, kind, meaning, samples in families:
        lines += [f"# HELP i2i_rt_{name} {meaning}", f"# TYPE i2i_rt_{name} {kind}"]
        lines += [f"i2i_rt_{name}{f'{{{label}}}' if label else ''} {value:.10g}" for label, value in samples]
    return "\n".join(lines) + "\n"


async def _server_metrics(socket: Path | None) -> str:
    """Asks the server for its metrics; none where it does not answer."""
    import aiohttp

    if socket is None:
        return ""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        connector = aiohttp.UnixConnector(str(socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://server/metrics") as answer,
        ):
            text: str = await answer.text()
            return text
    except (aiohttp.ClientError, OSError, TimeoutError):
        return ""
