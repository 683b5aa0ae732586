"""Clients of a server: `Client` for threads, `AsyncClient` for asyncio."""

from i2i_rt.serving.client.address import Tls
from i2i_rt.serving.client.client import AsyncClient, Client
from i2i_rt.serving.client.retry import Retry
from i2i_rt.serving.client.steps import ServedStyle
from i2i_rt.serving.client.stream import AsyncStream, Stream

__all__ = ["AsyncClient", "AsyncStream", "Client", "Retry", "ServedStyle", "Stream", "Tls"]
