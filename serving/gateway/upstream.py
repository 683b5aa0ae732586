"""The way from the gateway to the server that runs now."""

import re
from collections.abc import AsyncIterator
from typing import Any

from i2i_rt.serving.gateway.refused import Gone, Refused
from i2i_rt.serving.health import Health
from i2i_rt.serving.server import MESSAGE_OPTIONS

SERVICE = "/inference.GRPCInferenceService/"
DEADLINE_S = 60.0  # of requests whose clients name none
# how gRPC words that a connection broke or cannot be made
BROKEN = ("Connection reset", "failed to connect", "Socket closed", "Stream removed", "Broken pipe", "GOAWAY")


class Upstream:
    """Calls of the server by the names of their methods, on serialised messages; none while there is no server."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._channel: Any = None
        self._methods: dict[str, Any] = {}

    def connect(self, address: str) -> None:
        """Sends calls to a server from now on."""
        import grpc

        self._channel = grpc.aio.insecure_channel(address, options=[*MESSAGE_OPTIONS, ("grpc.enable_retries", 0)])
        self._methods = {}

    def disconnect(self) -> Any:
        """Refuses calls from now on; those in flight end with the server. Gives the channel, to be closed then."""
        channel, self._channel = self._channel, None
        self._methods = {}
        return channel

    async def call(self, method: str, data: bytes, *, timeout: float | None = None, model: str = "") -> bytes:
        """Sends one message and gives the answer.

        Raises:
            Refused: with the server's code, or UNAVAILABLE where there is no server.
        """
        import grpc

        callable_ = self._methods.get(method)
        if callable_ is None:
            callable_ = self._methods[method] = self._open().unary_unary(SERVICE + method)
        try:
            answer: bytes = await callable_(data, timeout=DEADLINE_S if timeout is None else timeout)
        except grpc.aio.AioRpcError as error:
            raise self._refused(error, model) from None
        return answer

    async def stream(
        self, method: str, messages: AsyncIterator[bytes], *, timeout: float | None
    ) -> AsyncIterator[bytes]:
        """Opens a stream of messages both ways and gives the answers, an asynchronous iterator.

        Raises:
            Refused: where there is no server, and by the iterator with the server's code.
        """
        import grpc

        call = self._open().stream_stream(SERVICE + method)(messages, timeout=timeout)
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise self._refused(error, "") from None
        finally:
            call.cancel()

    def _open(self) -> Any:
        if self._channel is None:
            raise Gone("the server is starting; try again")
        return self._channel

    def _refused(self, error: Any, model: str) -> Refused:
        code, words = error.code().name, error.details() or ""
        if "Stub process" in words and "not healthy" in words:
            self._health.suspect(model)
            return Gone(f"the process of {model} has ended")
        if model in self._health.models and is_passed_on(words, model):
            self._health.models[model].seen()
        if code == "UNAVAILABLE" and any(broken in words for broken in BROKEN):
            return Gone("the server has gone and restarts")
        return Refused(code, words)


def is_passed_on(words: str, model: str) -> bool:
    """Says whether an error is what another model told the one that was asked, whose own process lives then."""
    match = re.match(r"Model (\S+) - ", words)
    return match is not None and match[1] != model
