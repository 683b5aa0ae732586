"""Certificates: who has none is turned away, over gRPC and over HTTP."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from i2i_rt.errors import I2IError
from i2i_rt.serving.gateway.tls import Tls
from tests.serving.gateway.front import front, infer_request

OPENSSL = shutil.which("openssl")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, and certificates of it for the server and for a client."""
    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run([str(OPENSSL), *words], check=True, cwd=folder, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    return folder


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
