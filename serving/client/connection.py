"""Connections to a server: over gRPC or HTTP, for threads or for asyncio. Each takes a call and gives its answer."""

import http.client
import math
import select
import ssl
from threading import Lock
from typing import Any, Protocol

from i2i_rt.errors import MissingDependencyError
from i2i_rt.serving.client import http_codec
from i2i_rt.serving.client.address import Address, Tls
from i2i_rt.serving.client.calls import Answer, Call
from i2i_rt.serving.errors import DeadlineExceeded, ServingError, Unreachable


class Connection(Protocol):
    """For threads; several may call at once."""

    def call(self, call: Call, timeout_s: float) -> Answer:
        """Gives the answer.

        Raises:
            ServingError: what the server said, or that it said nothing.
        """

    def close(self) -> None: ...


class AsyncConnection(Protocol):
    """For asyncio."""

    async def call(self, call: Call, timeout_s: float) -> Answer: ...

    async def close(self) -> None: ...


def connect(address: Address, key: str | None, tls: Tls) -> Connection:
    return GrpcConnection(address, key, tls) if address.is_grpc else HttpConnection(address, key, tls)


def connect_async(address: Address, key: str | None, tls: Tls) -> AsyncConnection:
    return AsyncGrpcConnection(address, key, tls) if address.is_grpc else AsyncHttpConnection(address, key, tls)


class GrpcConnection:
    """One channel of gRPC."""

    def __init__(self, address: Address, key: str | None, tls: Tls) -> None:
        from i2i_rt.serving.client.grpc_codec import CHANNEL_OPTIONS, GrpcCodec, credentials, stub

        self._codec = GrpcCodec(address, key)
        import grpc

        self._error = grpc.RpcError
        if address.is_secure:
            self._channel = grpc.secure_channel(address.target, credentials(tls), CHANNEL_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.target, CHANNEL_OPTIONS)
        self._stub = stub(self._channel)

    def call(self, call: Call, timeout_s: float) -> Answer:
        method, message = self._codec.encode(call)
        try:
            answer = getattr(self._stub, method)(message, timeout=timeout_s, metadata=self._codec.metadata(call))
        except self._error as failure:
            raise self._codec.error(call, failure) from None
        except ValueError:  # what grpc says of a channel that was closed
            raise ServingError("this client is closed; make another one") from None
        return self._codec.decode(call, answer)

    def close(self) -> None:
        self._channel.close()


class AsyncGrpcConnection:
    """One channel of gRPC for asyncio, made when the loop runs."""

    def __init__(self, address: Address, key: str | None, tls: Tls) -> None:
        from i2i_rt.serving.client.grpc_codec import GrpcCodec

        self._address, self._tls = address, tls
        self._codec = GrpcCodec(address, key)
        self._channel: Any = None
        self._stub: Any = None

    async def call(self, call: Call, timeout_s: float) -> Answer:
        import grpc

        if self._stub is None:
            self._open()
        method, message = self._codec.encode(call)
        try:
            answer = await getattr(self._stub, method)(message, timeout=timeout_s, metadata=self._codec.metadata(call))
        except grpc.RpcError as failure:
            raise self._codec.error(call, failure) from None
        except grpc.aio.UsageError:
            raise ServingError("this client is closed; make another one") from None
        return self._codec.decode(call, answer)

    def _open(self) -> None:
        import grpc

        from i2i_rt.serving.client.grpc_codec import CHANNEL_OPTIONS, credentials, stub

        if self._address.is_secure:
            self._channel = grpc.aio.secure_channel(self._address.target, credentials(self._tls), CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(self._address.target, CHANNEL_OPTIONS)
        self._stub = stub(self._channel)

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()


class HttpConnection:
    """Connections of HTTP that are kept open, as many as there are requests at once."""

    def __init__(self, address: Address, key: str | None, tls: Tls) -> None:
        self._address = address
        self._codec = http_codec.HttpCodec(address, key)
        self._context = http_codec.ssl_context(tls) if address.is_secure else None
        self._lock = Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._closed = False

    def call(self, call: Call, timeout_s: float) -> Answer:
        request = self._codec.encode(call)
        connection = self._idle_one() or self._connected(call, timeout_s)
        return self._exchange(connection, call, request, timeout_s)

    def _idle_one(self) -> http.client.HTTPConnection | None:
        """Gives an open connection; those that the server has closed meanwhile can be read from: their end."""
        while True:
            with self._lock:
                if self._closed:
                    raise ServingError("this client is closed; make another one")
                if not self._idle:
                    return None
                connection = self._idle.pop()
            poll = select.poll()
            poll.register(connection.sock, select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()

    def _connected(self, call: Call, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._context is None:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._context)
        try:
            connection.connect()
        except TimeoutError:
            raise DeadlineExceeded(f"{call.subject} at {self._address}: no connection in {timeout_s:.3g} s") from None
        except ssl.SSLError as error:
            raise Unreachable(f"{self._address} has no connection that can be trusted: {error}", taken=False) from None
        except OSError as error:
            raise Unreachable(f"{self._address} cannot be reached: {error.strerror or error}", taken=False) from None
        return connection

    def _exchange(
        self, connection: http.client.HTTPConnection, call: Call, request: http_codec.HttpRequest, timeout_s: float
    ) -> Answer:
        connection.sock.settimeout(timeout_s)
        try:
            connection.request(request.method, request.path, request.body, dict(request.headers))
            response = connection.getresponse()
            body = response.read()
        except TimeoutError:
            connection.close()
            raise DeadlineExceeded(f"{call.subject} at {self._address}: no answer in {timeout_s:.3g} s") from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"{self._address} broke the connection: {error}") from None
        except BaseException:  # half a response is left in it
            connection.close()
            raise
        self._keep(connection, response)
        return self._codec.decode(call, response.status, response.headers, body)

    def _keep(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        with self._lock:
            if not self._closed and not response.will_close:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class AsyncHttpConnection:
    """A session of aiohttp, made when the loop runs."""

    def __init__(self, address: Address, key: str | None, tls: Tls) -> None:
        self._address = address
        self._codec = http_codec.HttpCodec(address, key)
        self._context = http_codec.ssl_context(tls) if address.is_secure else None
        self._session: Any = None
        try:
            import aiohttp
        except ModuleNotFoundError:
            raise MissingDependencyError("aiohttp", "client", "an asynchronous client over HTTP") from None
        self._aiohttp = aiohttp

    async def call(self, call: Call, timeout_s: float) -> Answer:
        aiohttp = self._aiohttp
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=self._context or True))
        request = self._codec.encode(call)
        address = self._address
        url = f"{address.scheme}://{address.target}{request.path}"
        try:
            async with self._session.request(
                request.method,
                url,
                data=request.body,
                headers=request.headers,
                timeout=aiohttp.ClientTimeout(total=math.ceil(timeout_s * 1000) / 1000),
            ) as response:
                body = await response.read()
        except TimeoutError:
            raise DeadlineExceeded(f"{call.subject} at {address}: no answer in {timeout_s:.3g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"{address} cannot be reached: {error}", taken=False) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{address} broke the connection: {error}") from None
        return self._codec.decode(call, response.status, response.headers, body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
