"""Encrypted connections, to the real gateway in front of a stand-in of the server."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.errors import I2IError
from i2i_rt.serving.client import AsyncClient, Client, Retry, Tls
from i2i_rt.serving.errors import Unreachable
from i2i_rt.serving.gateway import tls as gateway_tls
from tests.serving.gateway.front import front

FRAMES = np.zeros((1, 8, 8, 3), np.uint8)


def test_client_shows_its_certificate_and_checks_the_servers(certificates: Path) -> None:
    ca, cert, key = (str(certificates / name) for name in ("ca.pem", "client.pem", "client.key"))
    whole, stranger = Tls(ca, cert, key), Tls(ca)
    once = Retry(overloaded=0)

    async def asked(make: Callable[[], AsyncClient]) -> None:
        async with make() as client:
            await client.infer("m-translate", {"frames": FRAMES})

    def ask(url: str, tls: Tls) -> None:
        with Client(url, tls=tls, retry=once, deadline_s=5) as client:
            client.infer("m-translate", {"frames": FRAMES})

    async def test() -> None:
        server = gateway_tls.Tls(certificates / "server.pem", certificates / "server.key", certificates / "ca.pem")
        async with front(tls=server) as gateway:
            for url in (
                f"grpcs://localhost:{gateway.grpc.rpartition(':')[2]}",
                f"https://localhost:{gateway.http.rpartition(':')[2]}",
            ):
                await asyncio.to_thread(ask, url, whole)
                await asked(lambda url=url: AsyncClient(url, tls=whole, deadline_s=5))  # type: ignore[misc]
                for tls in (stranger, Tls()):
                    with pytest.raises(Unreachable):
                        await asyncio.to_thread(ask, url, tls)
                    with pytest.raises(Unreachable):
                        await asked(lambda url=url, tls=tls: AsyncClient(url, tls=tls, deadline_s=5))  # type: ignore[misc]

    asyncio.run(test())


def test_files_that_cannot_be_used_are_a_sentence(certificates: Path) -> None:
    for url in ("grpcs://localhost:1", "https://localhost:1"):
        with pytest.raises(I2IError, match=r"missing\.pem"):
            Client(url, tls=Tls(ca="missing.pem"))
