"""Certificates: who has none is turned away, over gRPC and over HTTP."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from i2i_rt.errors import I2IError
from i2i_rt.serving.gateway.tls import Tls
from tests.serving.gateway.front import front, infer_request


def test_clients_need_a_certificate(certificates: Path) -> None:
    import aiohttp
    import grpc

    def read(name: str) -> bytes:
        return (certificates / name).read_bytes()

    async def infer(address: str, credentials: Any) -> str:
        channel = (
            grpc.aio.insecure_channel(address)
            if credentials is None
            else grpc.aio.secure_channel(address.replace("127.0.0.1", "localhost"), credentials)
        )
        from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

        async with channel:
            try:
                await GRPCInferenceServiceStub(channel).ModelInfer(infer_request(), timeout=5)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
        return "OK"

    async def status(url: str, context: ssl.SSLContext) -> int:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v2/health/ready", ssl=context) as answer:
            return answer.status

    async def test() -> None:
        tls = Tls(certificates / "server.pem", certificates / "server.key", certificates / "ca.pem")
        async with front(tls=tls) as gateway:
            whole = grpc.ssl_channel_credentials(read("ca.pem"), read("client.key"), read("client.pem"))
            assert await infer(gateway.grpc, whole) == "OK"
            assert await infer(gateway.grpc, grpc.ssl_channel_credentials(read("ca.pem"))) == "UNAVAILABLE"
            assert await infer(gateway.grpc, None) == "UNAVAILABLE"
            context = ssl.create_default_context(cafile=certificates / "ca.pem")
            with pytest.raises(aiohttp.ClientError):
                await status(gateway.http, context)
            context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
            assert await status(gateway.http, context) == 200

    asyncio.run(test())


def test_files_that_cannot_be_used_are_a_sentence(certificates: Path, tmp_path: Path) -> None:
    with pytest.raises(I2IError, match="cannot be used"):
        Tls(certificates / "server.pem", certificates / "client.key").context()
    with pytest.raises(I2IError, match="cannot be used"):
        Tls(tmp_path / "nothing.pem", certificates / "server.key").context()
